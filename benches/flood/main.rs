//! What floods cost a gateway's processor beside ordinary requests: `cargo bench --bench flood`.
//!
//! A gateway with the built-in origin runs on threads of its own, whose processor time is read. Its clients
//! are quinn-proto's state machine and a socket, so that they send what no client would: requests that are
//! reset as soon as they are under way, and pings without end.

mod client;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use wayhold::Gateway;
use wayhold::config::{self, Sources};
use wayhold::sys::processor::{self, ProcessorClock};

use self::client::{Client, Left};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The gateway's threads.
static THREADS: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// How often each is measured; the median counts.
const ROUNDS: usize = 9;
const REQUESTS: u64 = 1000;
/// Fewer than a connection is closed for.
const RESETS: u64 = 190;
const PINGS: u64 = 20_000;
/// So many that the connection is closed long before the last.
const FLOOD: u64 = 5000;

struct Node {
    _runtime: Runtime,
    address: SocketAddr,
    directory: PathBuf,
}

impl Node {
    fn start() -> Result<Self> {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(1).enable_all();
        builder.on_thread_start(|| {
            let mut threads = THREADS.lock().expect("no holder panics");
            threads.push(processor::thread_id());
        });
        let runtime = builder.build()?;
        let name = format!("wayhold-flood-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory)?;
        let file = directory.join("wayhold.toml");
        let text = "state_dir = \"state\"\nadmin.listen = \"off\"\nlog.access = false\nworkers = 1\n\
                    listen = [{ addr = \"127.0.0.1:0\" }]\n";
        fs::write(&file, text)?;
        let sources = Sources {
            file: Some(file),
            environment: vec![],
            settings: vec![],
        };
        let config = config::load(&sources).map_err(|errors| errors.to_string())?;
        let gateway = runtime.block_on(async { Gateway::builder().config(config).bind() })?;
        let address = gateway.local_addresses()[0];
        runtime.spawn(gateway.serve(std::future::pending()));
        Ok(Self {
            _runtime: runtime,
            address,
            directory,
        })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.directory));
    }
}

/// Processor time of the gateway so far.
fn spent() -> Duration {
    let threads = THREADS.lock().expect("no holder panics");
    let times = threads.iter().filter_map(|thread| {
        let clock = ProcessorClock::of_thread(*thread).ok()?;
        clock.read().ok()
    });
    times.sum()
}

/// Processor time of a gateway for each of what a client does.
fn each(node: &Node, count: u64, act: impl Fn(&mut Client) -> Result<()>) -> Result<f64> {
    let mut client = Client::connect(node.address)?;
    let before = spent();
    act(&mut client)?;
    // Behind everything else.
    client.requests(1)?;
    let micros = spent().saturating_sub(before).as_secs_f64() * 1e6;
    #[expect(clippy::cast_precision_loss, reason = "a count of thousands")]
    Ok(micros / count as f64)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[expect(clippy::print_stdout, reason = "it is the benchmark's output")]
fn main() -> Result<()> {
    let node = Node::start()?;
    let (mut requests, mut resets, mut pings) = (vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        requests.push(each(&node, REQUESTS, |client| client.requests(REQUESTS))?);
        resets.push(each(&node, RESETS, |client| {
            client.resets(RESETS).map(drop)
        })?);
        pings.push(each(&node, PINGS, |client| client.pings(PINGS))?);
    }
    let request = median(requests);
    println!("processor time of the gateway, median of {ROUNDS} rounds:");
    for (name, each) in [
        ("an ordinary request", request),
        ("a request that is reset", median(resets)),
        ("a packet with a PING", median(pings)),
    ] {
        println!(
            "{name:>24}: {each:6.1} us, {:4.2} of a request",
            each / request
        );
    }
    let mut client = Client::connect(node.address)?;
    let (before, begun) = (spent(), now());
    let left = client.resets(FLOOD)?;
    let (took, micros) = (
        begun.elapsed(),
        spent().saturating_sub(before).as_secs_f64() * 1e6,
    );
    match left {
        Left::Closed { code, after } => println!(
            "a flood was closed with {code:#x} after {after} resets and {took:.0?}; \
             it cost {micros:.0} us, {:.0} ordinary requests",
            micros / request
        ),
        Left::Open => println!("a flood of {FLOOD} resets was not closed"),
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a benchmark times")]
fn now() -> Instant {
    Instant::now()
}

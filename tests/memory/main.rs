//! What one hostile connection can make a gateway hold.
//!
//! The gateway's threads are its own, and every block that they ask for and give back is counted. Client
//! and backend run on others.

#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(
    clippy::print_stdout,
    reason = "what it measured belongs into a document"
)]

mod backend;
mod client;

use std::fs;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use http::{Request, Response};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use wayhold::Gateway;
use wayhold::client::Trust;
use wayhold::config::{self, Sources};
use wayhold::request::{Body, ClientFacts, Handler, RequestError};
use wayhold::sys::allocation::{Allocations, CountingAllocator};
use wayhold::sys::processor;
use wayhold::telemetry::{Metrics, Transport};

use self::backend::Backend;
use self::client::{Attack, Hostile};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// The gateway's threads.
static THREADS: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// What a connection may cost, and each of its streams.
const CONNECTION: i64 = 2 << 20;
const STREAM: i64 = 64 << 10;

/// A gateway before a backend.
struct Stage {
    runtime: Runtime,
    address: SocketAddr,
    metrics: Metrics,
    backend: Backend,
    directory: TempDir,
}

/// Neither reads nor answers.
struct Unmoved;

impl Handler for Unmoved {
    async fn handle(
        &self,
        request: Request<Body>,
        _client: ClientFacts,
    ) -> Result<Response<Body>, RequestError> {
        let _held = request;
        std::future::pending().await
    }
}

impl Stage {
    fn start(attack: Attack) -> Self {
        THREADS.lock().unwrap().clear();
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(2).enable_all();
        builder.on_thread_start(|| THREADS.lock().unwrap().push(processor::thread_id()));
        let runtime = builder.build().unwrap();
        let backend = Backend::start();
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name);
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(file("tls.pem"), made.cert.pem()).unwrap();
        fs::write(file("tls.key"), made.signing_key.serialize_pem()).unwrap();
        let text = format!(
            "state_dir = \"state\"\nadmin.listen = \"off\"\nlog.access = false\nworkers = 1\n\
             timeouts.header = \"10m\"\ntimeouts.body_idle = \"10m\"\ntimeouts.first_byte = \"10m\"\n\
             listen = [{{ addr = \"127.0.0.1:0\", cert = \"tls.pem\", key = \"tls.key\" }}]\n\
             [[route]]\nto = [\"http://{}\"]\n",
            backend.address
        );
        fs::write(file("wayhold.toml"), text).unwrap();
        let sources = Sources {
            file: Some(file("wayhold.toml")),
            environment: vec![],
            settings: vec![],
        };
        let config = config::load(&sources).unwrap_or_else(|errors| panic!("{errors}"));
        let mut gateway = Gateway::builder().config(config);
        if attack.scatters() {
            gateway = gateway.handler(Unmoved);
        }
        let gateway = runtime.block_on(async { gateway.bind().unwrap() });
        let (address, metrics) = (gateway.local_addresses()[0], gateway.metrics());
        runtime.spawn(gateway.serve(std::future::pending()));
        Self {
            runtime,
            address,
            metrics,
            backend,
            directory,
        }
    }

    /// The most that a gateway holds for a hostile connection, beyond what it held before. What is made
    /// once for whoever comes first is in it.
    fn cost(attack: Attack, streams: usize) -> i64 {
        let stage = Self::start(attack);
        let before = settled();
        let trust = Trust::File(stage.directory.path().join("tls.pem"));
        let hostile = Hostile::begin(stage.address, &trust, attack, streams);
        let begun = settled();
        // Nothing of the client runs any more, so nothing is acknowledged.
        stage.backend.open_gate();
        let most = settled().max(begun) - before;
        assert_eq!(stage.open(), 1, "the connection was closed");
        assert_eq!(stage.metrics.panics.get(), 0);
        drop(hostile);
        stage.runtime.shutdown_background();
        most
    }

    fn open(&self) -> i64 {
        let connections = &self.metrics.connections;
        connections.get_or_create(&Transport::QUIC).get()
    }
}

/// What the gateway holds once that no longer grows, and the most that it was until then.
fn settled() -> i64 {
    let (mut most, mut calm) = (i64::MIN, 0);
    while calm < 25 {
        std::thread::sleep(Duration::from_millis(20));
        let now = held();
        // What comes and goes is no growth.
        calm = if now > most + 1000 { 0 } else { calm + 1 };
        most = most.max(now);
    }
    most
}

fn held() -> i64 {
    let threads = THREADS.lock().unwrap();
    threads
        .iter()
        .filter_map(|thread| Allocations::held_by_thread(*thread))
        .sum()
}

#[test]
fn a_hostile_connection_holds_two_mebibytes_and_64_kibibytes_for_each_stream_at_most() {
    let mut over = Vec::new();
    for attack in Attack::ALL {
        for streams in [1, 16, 128] {
            let cost = Stage::cost(attack, streams);
            let bound = CONNECTION + STREAM * i64::try_from(streams).unwrap();
            println!(
                "{attack:?}, {streams} streams: {} KiB of {} KiB",
                cost >> 10,
                bound >> 10
            );
            if cost > bound {
                over.push((attack, streams, cost));
            }
        }
    }
    assert!(over.is_empty(), "{over:?}");
}

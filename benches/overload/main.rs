//! What becomes of requests when more are offered than the backend can serve:
//! `cargo bench --bench overload`.
//!
//! A gateway of its own process stands before a backend that serves sixteen requests at a time in 10 ms
//! each, so 1600 a second. Requests begin at random times that do not depend on the answers, at a
//! quarter, at the whole and at three times of that. What is to be seen is that those which are
//! accepted at three times are about as many and about as quick as before, and that the others are
//! refused at once. A client or a gateway that was short of processor time makes the run void.

#[path = "../proxy/client.rs"]
mod client;
mod load;
#[path = "../proxy/process.rs"]
#[expect(dead_code, reason = "it is the other benchmark's too")]
mod process;
mod slots;

use std::fmt::Write as _;
use std::fs;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use rcgen::generate_simple_self_signed;
use rustls::ClientConfig;
use wayhold::client::Target;

use self::client::{Connection, Version};
use self::load::{Load, Outcome};
use self::process::{Directory, Process, free_port};

type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Error>;

/// Offers more requests than a backend can serve
#[derive(Debug, Parser)]
struct Args {
    /// One round of short runs, which shows that everything works and no more
    #[arg(long)]
    quick: bool,
    /// How often each load has its turn
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// What cargo says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

struct Gateway {
    process: Process,
    target: Target,
    tls: Arc<ClientConfig>,
    _directory: Directory,
}

impl Gateway {
    fn start() -> Result<Self> {
        let backend = slots::start(SLOTS, DELAY)?;
        let directory = Directory::new("overload")?;
        let made = generate_simple_self_signed(["localhost".to_owned()])?;
        let place = directory.path();
        fs::write(place.join("cert.pem"), made.cert.pem())?;
        fs::write(place.join("key.pem"), made.signing_key.serialize_pem())?;
        process::private(&place.join("key.pem"))?;
        let port = free_port()?;
        let place = place.to_string_lossy();
        let text = include_str!("wayhold.toml")
            .replace("@DIR@", &place)
            .replace("@PORT@", &port.to_string())
            .replace("@SLOTS@", &SLOTS.to_string())
            .replace("@BACKEND@", &backend.to_string());
        let file = directory.path().join("wayhold.toml");
        fs::write(&file, text)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_wayhold"));
        command
            .args(["run", "-c"])
            .arg(file)
            .env("TOKIO_WORKER_THREADS", "1")
            .stdout(Stdio::null());
        Ok(Self {
            process: Process::start(&mut command)?,
            target: Target {
                address: ([127, 0, 0, 1], port).into(),
                name: "localhost".into(),
            },
            tls: client::tls(made.cert.der().clone())?,
            _directory: directory,
        })
    }

    /// Connects as soon as the gateway serves.
    async fn connect(&self, version: Version) -> Result<Vec<Arc<Connection>>> {
        let mut connections = Vec::new();
        let mut left = CONNECTING_TRIES;
        while connections.len() < CONNECTIONS {
            match Connection::open(version, &self.target, &self.tls).await {
                Ok(connection) => connections.push(Arc::new(connection)),
                Err(error) if left == 0 => return Err(error),
                Err(_) => {
                    left -= 1;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        Ok(connections)
    }
}

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "it is the benchmark's output")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let (rounds, time) = if args.quick {
        (1, Duration::from_secs(2))
    } else {
        (args.rounds, Duration::from_secs(5))
    };
    let gateway = Gateway::start()?;
    println!(
        "backend: {SLOTS} at a time, {DELAY:?} each, {:.0} a second; {rounds} rounds of {time:?}",
        capacity()
    );
    for version in [Version::Http3, Version::Http2] {
        let connections = gateway.connect(version).await?;
        let mut outcomes = LOADS.map(|_| Outcome::default());
        for _ in 0..rounds {
            for (times, outcome) in LOADS.iter().zip(&mut outcomes) {
                let load = Load {
                    rate: capacity() * times,
                    time,
                };
                let before = gateway.process.spent()?;
                outcome.add(load::offer(load, &gateway.target, &connections).await?);
                outcome.gateway_busy += gateway.process.spent()?.saturating_sub(before);
                // What waits and what is under way has ended by then.
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
        print!("{}", table(version, &mut outcomes));
    }
    Ok(())
}

fn table(version: Version, outcomes: &mut [Outcome; 3]) -> String {
    let mut text = format!(
        "\n{version:?}\n{:>8} {:>10} {:>10} {:>9} {:>9} {:>9} {:>9} {:>12} {:>13} {:>9}\n",
        "offered",
        "asked/s",
        "goodput/s",
        "p50 ms",
        "p99 ms",
        "503",
        "failed",
        "client idle",
        "gateway idle",
        "late p99"
    );
    for (times, outcome) in LOADS.iter().zip(outcomes.iter_mut()) {
        writeln!(
            text,
            "{:>7.2}x {:>10.0} {:>10.0} {:>9.1} {:>9.1} {:>8.1}% {:>9} {:>11.0}% {:>12.0}% {:>9.1}",
            times,
            outcome.asked(),
            outcome.goodput(),
            outcome.accepted.at(0.50),
            outcome.accepted.at(0.99),
            outcome.refused_share() * 100.0,
            outcome.failed,
            outcome.client_idle() * 100.0,
            outcome.gateway_idle() * 100.0,
            outcome.late.at(0.99),
        )
        .expect("a string takes everything");
    }
    text + &verdicts(outcomes)
}

fn verdicts(outcomes: &mut [Outcome; 3]) -> String {
    let idle = outcomes
        .iter()
        .map(|outcome| outcome.client_idle().min(outcome.gateway_idle()))
        .fold(1.0, f64::min);
    if idle < LEAST_IDLE {
        return format!(
            "VOID: client or gateway was idle for only {:.0} % of a core; {:.0} % are needed\n",
            idle * 100.0,
            LEAST_IDLE * 100.0
        );
    }
    let [unloaded, whole, over] = outcomes;
    if over.asked() < capacity() * LOADS[2] * LEAST_ASKED {
        return format!(
            "VOID: only {:.0} requests a second began; the machine was too busy\n",
            over.asked()
        );
    }
    let peak = whole.goodput().max(over.goodput());
    let kept = over.goodput() / peak;
    let slower = over.accepted.at(0.99) / unloaded.accepted.at(0.99);
    let word = |met| if met { "MET" } else { "NOT MET" };
    format!(
        "{}: goodput at three times is {:.0} % of the peak and {:.0} % of what the backend can serve; \
         90 % of the peak are wanted\n\
         {}: p99 of the accepted at three times is {slower:.1} of the unloaded; less than 3 is wanted\n",
        word(kept >= 0.9),
        kept * 100.0,
        over.goodput() / capacity() * 100.0,
        word(slower < 3.0),
    )
}

fn capacity() -> f64 {
    f64::from(SLOTS) / DELAY.as_secs_f64()
}

const SLOTS: u32 = 16;
const DELAY: Duration = Duration::from_millis(10);
/// What is offered, as a multiple of what the backend can serve.
const LOADS: [f64; 3] = [0.25, 1.0, 3.0];
const CONNECTIONS: usize = 16;
const CONNECTING_TRIES: u32 = 100;
const LEAST_IDLE: f64 = 0.3;
/// The part of what was to begin that has to.
const LEAST_ASKED: f64 = 0.9;

//! What a proxied request costs a gateway's processor, beside other gateways on this machine:
//! `cargo bench --bench proxy`.
//!
//! Each gateway runs as a process of its own with the configuration under `configs`, in front of one
//! backend, and the same client does the same with all of them by turns. What counts is the processor
//! time of the gateway's processes, in user space and in the kernel; the client's and the backend's is
//! not in it. `docs/bench.md` says what that means and what it does not.

mod backend;
mod client;
mod gateway;
mod process;
mod report;
mod row;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use rcgen::generate_simple_self_signed;
use rustls::ClientConfig;
use wayhold::client::Target;

use self::client::{Connection, Version};
use self::gateway::{Found, Identity, Kind, Running};
use self::report::Samples;
use self::row::Row;

type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Error>;

/// Measures the processor time of gateways
#[derive(Debug, Parser)]
struct Args {
    /// Two rounds, which show that everything works and no more
    #[arg(long)]
    quick: bool,
    /// How often each gateway has its turn at each row
    #[arg(long, default_value_t = 11)]
    rounds: usize,
    /// Measure only this gateway beside wayhold; can be repeated
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Only rows with this in their name, such as "h3" or "download"
    #[arg(long, value_name = "TEXT")]
    row: Option<String>,
    /// Another build of wayhold, to set beside this one under a name; can be repeated
    #[arg(long, value_name = "NAME=FILE", value_parser = build)]
    build: Vec<(String, PathBuf)>,
    /// What cargo says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "it is the benchmark's output")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let mut rows = Row::all();
    if let Some(text) = &args.row {
        rows.retain(|row| row.name().contains(text.as_str()));
    }
    let backend = backend::start()?;
    let made = generate_simple_self_signed(["localhost".to_owned()])?;
    let identity = Identity {
        certificate: made.cert.pem(),
        key: made.signing_key.serialize_pem(),
    };
    let tls = client::tls(made.cert.der().clone())?;

    let mut running = Vec::new();
    for found in find(&args) {
        let name = found.name.clone();
        match serving(found.start(backend, &identity)?, &tls).await {
            Ok(gateway) => running.push(gateway),
            Err(error) => println!("{name:<10} left out: {error}"),
        }
    }
    let rounds = if args.quick { 2 } else { args.rounds };
    println!("{rounds} rounds, load {} before", load()?);
    let mut samples = Samples::default();
    for round in 0..=rounds {
        for row in &rows {
            for gateway in &running {
                if row.version == Version::Http3 && !gateway.found.http3 {
                    continue;
                }
                let measured = measure(*row, gateway, &tls).await;
                let measured = measured
                    .map_err(|error| format!("{}, {}: {error}", gateway.found.name, row.name()))?;
                // In the first round caches, pools and allocators fill up.
                for sample in measured.into_iter().filter(|_| round > 0) {
                    samples.add(*row, &gateway.found.name, sample);
                }
            }
        }
    }
    let gateways: Vec<_> = running
        .iter()
        .map(|gateway| gateway.found.clone())
        .collect();
    print!("{}", samples.tables(&rows, &gateways));
    print!("{}", samples.verdict(&rows, &gateways));
    println!("load {} after", load()?);
    Ok(())
}

fn build(text: &str) -> std::result::Result<(String, PathBuf), String> {
    let parts = text.split_once('=');
    let (name, file) = parts.ok_or("a name, = and a file are wanted")?;
    Ok((name.to_owned(), file.into()))
}

/// Finds the gateways of this machine, and says which are missing.
#[expect(clippy::print_stdout, reason = "it is the benchmark's output")]
fn find(args: &Args) -> Vec<Found> {
    let mut found = vec![gateway::WAYHOLD.at("wayhold", env!("CARGO_BIN_EXE_wayhold").into())];
    for (name, program) in &args.build {
        found.push(gateway::WAYHOLD.at(name, program.clone()));
    }
    let wanted =
        |kind: &Kind| args.only.is_empty() || args.only.iter().any(|name| name == kind.name);
    for kind in gateway::OTHERS.into_iter().filter(wanted) {
        match kind.find() {
            Some(gateway) => found.push(gateway),
            None => println!(
                "{:<10} skipped: not found; package {}",
                kind.name, kind.package
            ),
        }
    }
    for gateway in &found {
        let versions = if gateway.http3 {
            "h3, h2"
        } else {
            "h2 only: built without HTTP/3"
        };
        println!("{:<10} {} ({versions})", gateway.name, gateway.version);
    }
    found
}

/// Waits until a gateway serves by all the versions that it has.
async fn serving(mut gateway: Running, tls: &ClientConfig) -> Result<Running> {
    let begun = now();
    let target = target(&gateway);
    let mut versions = vec![Version::Http2];
    if gateway.found.http3 {
        versions.push(Version::Http3);
    }
    for version in versions {
        while let Err(error) = Connection::open(version, &target, tls).await {
            if let Some(status) = gateway.process.ended()? {
                return Err(format!("{status}: {}", gateway.last_words()).into());
            }
            if begun.elapsed() > STARTING {
                return Err(error);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(gateway)
}

/// A round of one row at one gateway: processor time of each operation.
async fn measure(row: Row, gateway: &Running, tls: &ClientConfig) -> Result<Vec<Duration>> {
    let target = target(gateway);
    let connection = Arc::new(Connection::open(row.version, &target, tls).await?);
    let (samples, count) = row.plan();
    row::run(row, count.div_ceil(4), &connection, (&target, tls)).await?;
    let mut measured = Vec::new();
    let mut before = settled(gateway).await?;
    for _ in 0..samples {
        row::run(row, count, &connection, (&target, tls)).await?;
        let after = settled(gateway).await?;
        measured.push(after.saturating_sub(before) / count);
        before = after;
    }
    Ok(measured)
}

/// The processor time of a gateway as soon as it has done what there was to do.
async fn settled(gateway: &Running) -> Result<Duration> {
    let mut before = gateway.process.spent()?;
    for _ in 0..SETTLING_LOOKS {
        tokio::time::sleep(SETTLING_PAUSE).await;
        let after = gateway.process.spent()?;
        if after.saturating_sub(before) < SETTLED {
            return Ok(after);
        }
        before = after;
    }
    Ok(before)
}

fn target(gateway: &Running) -> Target {
    Target {
        address: gateway.address,
        name: "localhost".into(),
    }
}

/// The load of the machine over the last minute (proc(5)).
fn load() -> Result<String> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').next().unwrap_or_default().to_owned())
}

#[expect(clippy::disallowed_methods, reason = "a benchmark times")]
fn now() -> Instant {
    Instant::now()
}

const STARTING: Duration = Duration::from_secs(10);
/// Acknowledgments and the ends of connections follow the last byte a little later.
const SETTLING_PAUSE: Duration = Duration::from_millis(3);
const SETTLING_LOOKS: usize = 20;
const SETTLED: Duration = Duration::from_micros(30);

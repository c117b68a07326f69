use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::ValueEnum;
use http::Uri;
use tokio_util::sync::CancellationToken;
use wayhold::bench::dial::KeyLogFile;
use wayhold::bench::plan::{Filter, Plan, Subject, Suite};
use wayhold::bench::results::{self, Results, Run, names};
use wayhold::bench::run::{self, Bed, Options, Outcome};
use wayhold::bench::statistics::{noise, records};
use wayhold::bench::{Layer, Mode, Record, report};
use wayhold::sys::process::{Interrupt, set_interrupt};
use wayhold::testbed::emulator::Network;
use wayhold::testbed::lab::{Enclosure, enclose};

use super::circumstances::{describe, lateness};
use super::target;
use super::watch::Follower;
use crate::command::complain;

/// Arguments of `wayhold bench handshake` and `wayhold bench migrate`.
///
/// The gateway and its client run in network namespaces of their own, with an emulated link between
/// them. No privilege is needed where the system allows that to everybody.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 done, 1 something could not be measured or the run was interrupted, 2 wrong usage")]
pub(super) struct Args {
    /// How much to measure: smoke (10 s), default (3 min) or full
    #[arg(long, value_name = "SUITE", default_value = "default")]
    suite: Suite,
    /// Leave only scenarios with this value of a factor, such as mode=quic-full; can be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    only: Vec<Filter>,
    /// Write the results to this directory
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// What is between the two sides
    #[arg(long, value_enum, default_value_t = Between::Link, conflicts_with = "target")]
    layer: Between,
    /// Measure this server in place of the gateway: an https URL
    #[arg(long, value_name = "URL")]
    pub(super) target: Option<Uri>,
    /// Trust the certificates in this PEM file in place of the system's
    #[arg(long, value_name = "FILE", requires = "target")]
    ca: Option<PathBuf>,
    /// The process of the target on this machine, to read its processor time
    #[arg(long, value_name = "PID", requires = "target")]
    server_pid: Option<u32>,
    /// What order and losses follow from; drawn and shown if it is not given
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Take so many samples of each scenario
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    samples: Option<u32>,
    /// Keep samples with packets that the emulator delivered so late, in microseconds
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub(super) lateness: u64,
    /// Write the packets of all samples to this file
    #[arg(long, value_name = "FILE", conflicts_with = "target")]
    pcap: Option<PathBuf>,
    /// Write the secrets of all connections to this file, for those who read the packets
    #[arg(long, value_name = "FILE")]
    keylog: Option<PathBuf>,
    /// Print the records as JSON, one a line
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Between {
    /// An emulated link between network namespaces
    Link,
    /// This machine's loopback interface
    Loopback,
}

pub(super) fn main(args: &Args, subject: Subject) -> anyhow::Result<ExitCode> {
    let layer = args.layer();
    let mut plan = args.suite.plan(subject, layer).only(&args.only)?;
    if let Some(samples) = args.samples {
        plan = plan.with_samples(samples);
    }
    if layer == Layer::Link {
        // The process inside ends in order when it is interrupted, and this one waits for it.
        set_interrupt(Interrupt::Ignored);
        match enclose(INSIDE).context(WITHOUT_NAMESPACES)? {
            Enclosure::Ended(status) => {
                let code = status.code().and_then(|code| u8::try_from(code).ok());
                return Ok(code.map_or(ExitCode::FAILURE, ExitCode::from));
            }
            Enclosure::Inside => set_interrupt(Interrupt::Default),
        }
    }
    let mut bed = args.bed(&plan)?;
    let seed = args.seed.map_or_else(draw, Ok)?;
    let mut run = describe(args, &plan, &bed, seed)?;
    let options = Options {
        seed,
        tolerance: Duration::from_micros(args.lateness),
        key_log: args.key_log()?,
        stop: on_interrupt()?,
    };
    let mut follower = Follower::new(&run, args.out.as_deref(), args.pcap.as_deref())?;
    let began = now();
    let outcome = run::run(&plan, &mut bed, &options, &mut follower)?;
    let captured = follower.end();
    run.seconds = began.elapsed().as_secs_f64();
    let succeeded = conclude(args, run, &outcome, follower)?;
    captured?;
    Ok(if succeeded {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

impl Args {
    pub(super) fn layer(&self) -> Layer {
        match (&self.target, self.layer) {
            (Some(_), _) => Layer::Target,
            (None, Between::Link) => Layer::Link,
            (None, Between::Loopback) => Layer::Loopback,
        }
    }

    fn bed(&self, plan: &Plan) -> anyhow::Result<Bed> {
        if let Some(url) = &self.target {
            let target = target::find(url, self.ca.as_deref(), self.server_pid)?;
            return Ok(Bed::Target(target));
        }
        let network = match self.layer {
            Between::Loopback => None,
            Between::Link => {
                let flips = plan
                    .scenarios()
                    .any(|scenario| scenario.mode == Mode::QuicFlip);
                let mtu = plan.scenarios().map(|scenario| scenario.mtu).max();
                let network = Network::new(1 + usize::from(flips), mtu.unwrap_or(MTU));
                Some(Arc::new(network.context(WITHOUT_NAMESPACES)?))
            }
        };
        Ok(Bed::gateways(network)?)
    }

    fn key_log(&self) -> anyhow::Result<Option<Arc<KeyLogFile>>> {
        let Some(path) = &self.keylog else {
            return Ok(None);
        };
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Some(Arc::new(KeyLogFile::new(file))))
    }
}

/// Writes, shows and judges what was measured.
#[expect(clippy::print_stdout, reason = "this is the command's output")]
fn conclude(
    args: &Args,
    mut run: Run,
    outcome: &Outcome,
    follower: Follower,
) -> anyhow::Result<bool> {
    let records = records(&outcome.measured, run.seed);
    run.partial = outcome.stopped.is_some();
    run.emulator = outcome
        .lateness
        .map(|measured| lateness(measured, args.lateness));
    run.machine.load_after = results::load();
    for (index, reason) in &outcome.given_up {
        let mode = run.scenarios[*index].mode;
        let gap = format!("{mode} could not be measured: {reason}");
        complain(&anyhow::Error::msg(gap.clone()));
        run.doubts.push(gap);
    }
    if let Some(reason) = &outcome.stopped {
        let gap = format!("the run ended early: {reason}");
        complain(&anyhow::Error::msg(gap.clone()));
        run.doubts.push(gap);
    }
    run.noise = noise(&records);
    let mut written = Ok(());
    if let (Some(mut writer), Some(directory)) = (follower.writer, &args.out) {
        written = (|| {
            records
                .iter()
                .try_for_each(|record| writer.record(record))?;
            outcome
                .drawings
                .iter()
                .try_for_each(|drawing| writer.trace(drawing))?;
            writer.finish(&run)?;
            page(directory)
        })();
    }
    if args.json {
        for record in &records {
            println!("{}", serde_json::to_string(record)?);
        }
    } else {
        let path = args.out.clone().unwrap_or_default();
        print!("{}", report::text(&[shown(path, run, records)]));
    }
    written?;
    Ok(outcome.stopped.is_none() && outcome.given_up.is_empty())
}

fn page(directory: &Path) -> anyhow::Result<()> {
    let results = results::read(directory)?;
    let path = directory.join(names::REPORT);
    std::fs::write(&path, report::page(&[results]))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// What is shown is the same with and without a directory.
fn shown(path: PathBuf, run: Run, records: Vec<Record>) -> Results {
    Results {
        path,
        run: Some(run),
        records,
        samples: Vec::new(),
        traces: Vec::new(),
        gaps: Vec::new(),
    }
}

/// Is cancelled by Ctrl-C. The second one ends the process, as the first does without this.
fn on_interrupt() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let told = stop.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut interrupts = runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        signal(SignalKind::interrupt())
    })?;
    thread::Builder::new()
        .name("interrupt".into())
        .spawn(move || {
            runtime.block_on(interrupts.recv());
            told.cancel();
            set_interrupt(Interrupt::Default);
        })?;
    Ok(stop)
}

fn draw() -> io::Result<u64> {
    let mut bytes = [0; 4];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_unspecified| io::Error::other("no random bytes"))?;
    Ok(u32::from_ne_bytes(bytes).into())
}

#[expect(clippy::disallowed_methods, reason = "a run says how long it took")]
fn now() -> Instant {
    Instant::now()
}

/// Tells the process in the namespaces from the one that made them.
const INSIDE: &str = "WAYHOLD_BENCH_INSIDE";
const WITHOUT_NAMESPACES: &str = "an emulated link needs network namespaces; --layer loopback needs none, \
    and counts no packets and no round trips";
const MTU: u16 = 1500;

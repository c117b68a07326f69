use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use http::Uri;
use wayhold::bench::load::{self, LoadPlan, LoadReport, Node, NodeProcess, Step};
use wayhold::bench::results::{self, RawSample, Run, Setting, Writer};
use wayhold::bench::statistics::records;
use wayhold::bench::{Layer, Mode, Record, Scenario};
use wayhold::sys::process::raise_open_files;

use super::{circumstances, target};

/// Arguments of `wayhold bench load`.
///
/// Handshakes begin at fixed times, whether or not those before them are done, and latency counts from
/// there. A step that the client or the machine cannot keep up with gets no figures. The gateway is a
/// process of its own with one worker, on loopback.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 done, 1 nothing could be measured or an attempt failed, 2 wrong usage")]
pub(super) struct Args {
    /// What clients do, such as quic-full,tcp-full
    #[arg(
        long,
        value_name = "MODE",
        value_delimiter = ',',
        default_value = "quic-full,tcp-full"
    )]
    modes: Vec<Mode>,
    /// Handshakes begun in a second, step by step
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "50,100,200,400,800", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rates: Vec<u32>,
    /// How long each step takes
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
    /// Idle connections at which the node's memory is read; `0` leaves that out
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "100,1000,10000", value_parser = clap::value_parser!(u32).range(0..=100_000))]
    connections: Vec<u32>,
    /// Load this server in place of the gateway: an https URL
    #[arg(long, value_name = "URL")]
    target: Option<Uri>,
    /// Trust the certificates in this PEM file in place of the system's
    #[arg(long, value_name = "FILE", requires = "target")]
    ca: Option<PathBuf>,
    /// The process of the target on this machine, to read its processor time and memory
    #[arg(long, value_name = "PID", requires = "target")]
    server_pid: Option<u32>,
    /// Write the results to this directory, with the latencies as `latency.hlog`
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print the records as JSON, one a line
    #[arg(long)]
    json: bool,
}

pub(super) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    let plan = args.plan()?;
    let most = plan.connections.iter().max().copied().unwrap_or_default();
    let files = u64::from(most) + u64::from(args.rates.iter().max().copied().unwrap_or_default());
    raise_open_files(2 * files + SPARE_FILES).context("the system allows too few open files")?;
    let process = match &args.target {
        Some(_) => None,
        None => Some(start(&plan)?),
    };
    let target = match &args.target {
        Some(url) => Some(find(url, args)?),
        None => None,
    };
    let Some(node) = target
        .as_ref()
        .or_else(|| process.as_ref().map(NodeProcess::node))
    else {
        bail!("there is no node");
    };
    let mut run =
        circumstances::begun(plan.scenarios.clone(), 0, results::machine(), setting(args));
    let mut writer = args
        .out
        .as_deref()
        .map(|out| Writer::create(out, &run))
        .transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let report = runtime.block_on(load::run(&plan, node, say))?;
    run.scenarios = report
        .measured
        .iter()
        .map(|measured| measured.scenario.clone())
        .collect();
    run.partial = false;
    for refused in &report.refused {
        run.doubts.push(format!(
            "{} at {}: {}",
            refused.mode, refused.step, refused.reason
        ));
    }
    let records = records(&report.measured, run.seed);
    let written = writer
        .take()
        .zip(args.out.as_deref())
        .map_or(Ok(()), |(writer, out)| {
            write(writer, (out, args.seconds), &run, (&report, &records))
        });
    show(args, &report, &records)?;
    written?;
    let failed = records.iter().any(|record| !record.failures.is_empty());
    Ok(if failed || records.is_empty() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

impl Args {
    fn plan(&self) -> anyhow::Result<LoadPlan> {
        let layer = match self.target {
            Some(_) => Layer::Target,
            None => Layer::Loopback,
        };
        let known = self.modes.iter().all(|mode| MODES.contains(mode));
        let names = MODES.map(Mode::name).join(", ");
        ensure!(known, "a load is made of {names}");
        let rising = |steps: &[u32]| steps.is_sorted_by(|a, b| a < b);
        ensure!(rising(&self.rates), "the rates do not rise");
        ensure!(
            rising(&self.connections),
            "the numbers of connections do not rise"
        );
        let memory = self.target.is_none() || self.server_pid.is_some();
        let connections = match self.connections[..] {
            [0] => Vec::new(),
            _ if !memory => Vec::new(),
            [_] => bail!("a slope needs two numbers of connections"),
            _ => self.connections.clone(),
        };
        let scenarios = self.modes.iter().map(|mode| Scenario {
            rtt_ms: 0,
            ..Scenario::of(layer, *mode)
        });
        Ok(LoadPlan {
            scenarios: scenarios.collect(),
            rates: self.rates.clone(),
            seconds: self.seconds,
            connections,
        })
    }
}

/// Starts the gateway as `wayhold run` does.
fn start(plan: &LoadPlan) -> anyhow::Result<NodeProcess> {
    let program = std::env::current_exe()?;
    let certificate = plan.scenarios.first().map(|scenario| scenario.certificate);
    let certificate = certificate.context("there is no mode")?;
    Ok(NodeProcess::start(&program, certificate)?)
}

fn find(url: &Uri, args: &Args) -> anyhow::Result<Node> {
    let found = target::find(url, args.ca.as_deref(), args.server_pid)?;
    Ok(Node {
        address: found.address,
        name: found.name,
        authority: found.authority,
        path: found.path,
        roots: found.roots,
        pid: found.process,
    })
}

fn setting(args: &Args) -> Setting {
    Setting {
        network: match args.target {
            Some(_) => "as it is, up to the target".into(),
            None => {
                "the loopback interface; a node with one worker, in a process of its own".into()
            }
        },
        target: args.target.as_ref().map(ToString::to_string),
        provider: circumstances::PROVIDER.into(),
        congestion: BTreeMap::new(),
        initial_window: BTreeMap::new(),
        offload: BTreeMap::new(),
    }
}

fn write(
    mut writer: Writer,
    (out, seconds): (&Path, u32),
    run: &Run,
    (report, records): (&LoadReport, &[Record]),
) -> anyhow::Result<()> {
    for (scenario, measured) in report.measured.iter().enumerate() {
        for taken in &measured.taken {
            writer.sample(&RawSample {
                scenario,
                block: taken.block,
                sample: taken.sample.clone(),
            })?;
        }
    }
    for record in records {
        writer.record(record)?;
    }
    let path = out.join(HISTOGRAMS);
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    report
        .write_histograms(seconds, file)
        .with_context(|| format!("cannot write {}", path.display()))?;
    writer.finish(run)?;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "this is the command's output")]
fn show(args: &Args, report: &LoadReport, records: &[Record]) -> anyhow::Result<()> {
    if args.json {
        for record in records {
            println!("{}", serde_json::to_string(record)?);
        }
    } else {
        print!("{}", report.table(records));
    }
    Ok(())
}

#[expect(clippy::print_stderr, reason = "this tells people what goes on")]
fn say(step: Step) {
    match step {
        Step::Rate(mode, rate) => eprintln!("{mode}: {rate} a second"),
        Step::Connections(mode, count) => eprintln!("{mode}: {count} idle connections"),
    }
}

/// Those for which clients need nothing from before: what a visit costs the node would count too.
const MODES: [Mode; 2] = [Mode::QuicFull, Mode::TcpFull];
const SPARE_FILES: u64 = 256;
const HISTOGRAMS: &str = "latency.hlog";

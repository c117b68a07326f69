//! `wayhold bench floor`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use wayhold::bench::floor::{ClientSearch, FloorPlan};
use wayhold::bench::results::{self, RawSample, Run, WriteError, Writer};
use wayhold::bench::statistics::{Measured, Taken};
use wayhold::bench::{Certificate, KeyExchange, Metric, Mode, Record, statistics};

use super::circumstances::without_network;
use crate::command::Exit;

/// Arguments of `wayhold bench floor`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The handshakes, separated by commas: crypto, tls-full, tls-resumed, tls-0rtt, quic-full,
    /// quic-retry, quic-resumed, quic-0rtt; default all
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    mode: Vec<Mode>,
    /// What the node proves itself with, separated by commas: ecdsa-p256, rsa-2048, ed25519, long-chain,
    /// ml-dsa-44, ml-dsa-65
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "ecdsa-p256"
    )]
    certificate: Vec<Certificate>,
    /// How the two sides agree on a secret, separated by commas: x25519, secp256r1, x25519mlkem768,
    /// hello-retry-request
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "x25519"
    )]
    key_exchange: Vec<KeyExchange>,
    /// How the client of QUIC searches for a larger MTU: `gateway`, as the gateway does; `quinn`, with four
    /// probes; or `off`
    #[arg(long, value_name = "NAME", default_value = "gateway")]
    client_search: ClientSearch,
    /// How often each of them has its turn
    #[arg(long, value_name = "N", default_value_t = FloorPlan::default().blocks)]
    blocks: u32,
    /// Handshakes in one turn
    #[arg(long, value_name = "N", default_value_t = FloorPlan::default().samples)]
    samples: u32,
    /// What confidence intervals are drawn by
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Write the results to this directory
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print one JSON record for each row in place of the table
    #[arg(long)]
    json: bool,
}

pub(crate) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    let mut plan = FloorPlan {
        certificates: args.certificate.clone(),
        key_exchanges: args.key_exchange.clone(),
        client_search: args.client_search,
        blocks: args.blocks,
        samples: args.samples,
        ..FloorPlan::default()
    };
    if !args.mode.is_empty() {
        plan.modes.clone_from(&args.mode);
    }
    let style = ProgressStyle::with_template("{bar:40} {percent} %")?;
    let bar = ProgressBar::new(1000).with_style(style);
    let mut run = without_network(args.seed);
    let began = now();
    let measured = plan.run(|share| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of 1000 steps"
        )]
        bar.set_position((share * 1000.0) as u64);
        true
    });
    bar.finish_and_clear();
    let seconds = began.elapsed().as_secs_f64();
    let measured = measured?;
    let records = statistics::records(&measured, args.seed);
    if let Some(directory) = &args.out {
        run.partial = false;
        run.seconds = seconds;
        run.machine.load_after = results::load();
        run.scenarios = measured.iter().map(|it| it.scenario.clone()).collect();
        write(directory, &run, &measured, &records)?;
    }
    let mut out = io::stdout().lock();
    if args.json {
        for record in &records {
            writeln!(out, "{}", serde_json::to_string(record)?)?;
        }
    } else {
        writeln!(out, "{}", table(&records))?;
    }
    Ok(Exit::Clean.into())
}

fn write(
    directory: &Path,
    run: &Run,
    measured: &[Measured],
    records: &[Record],
) -> Result<(), WriteError> {
    let mut writer = Writer::create(directory, run)?;
    for (scenario, measured) in measured.iter().enumerate() {
        for Taken { block, sample } in &measured.taken {
            writer.sample(&RawSample {
                scenario,
                block: *block,
                sample: sample.clone(),
            })?;
        }
    }
    for record in records {
        writer.record(record)?;
    }
    writer.finish(run)
}

#[expect(clippy::disallowed_methods, reason = "a run says how long it took")]
fn now() -> Instant {
    Instant::now()
}

fn table(records: &[Record]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "mode",
        "certificate",
        "key exchange",
        "node us p10",
        "median",
        "ratio p10",
        "median",
        "allocations",
        "client us p10",
        "median",
        "ratio p10",
        "allocations",
    ]);
    for record in records {
        let p10 = |metric| figure(record.metrics.get(&metric).map(|summary| summary.p10), 1);
        let ratio = |metric| figure(record.metrics.get(&metric).map(|summary| summary.p10), 2);
        let median = |metric, places| {
            figure(
                record.metrics.get(&metric).map(|summary| summary.median),
                places,
            )
        };
        table.add_row([
            record.scenario.mode.to_string(),
            record.scenario.certificate.to_string(),
            record.scenario.key_exchange.to_string(),
            p10(Metric::NodeCpu),
            median(Metric::NodeCpu, 1),
            ratio(Metric::NodeFloorRatio),
            median(Metric::NodeFloorRatio, 2),
            median(Metric::NodeAllocations, 0),
            p10(Metric::ClientCpu),
            median(Metric::ClientCpu, 1),
            ratio(Metric::ClientFloorRatio),
            median(Metric::ClientAllocations, 0),
        ]);
    }
    for column in table.column_iter_mut().skip(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn figure(value: Option<f64>, places: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.places$}"))
}

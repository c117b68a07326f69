//! `wayhold demo`.

use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use wayhold::demo::{Break, DemoError, Plan, Soak, Status, run, storm};
use wayhold::sys::process::map_large_blocks;

use super::signals::Signals;

/// Arguments of `wayhold demo`.
///
/// Three gateway nodes run in processes of their own, and two stateless backends and twelve clients in
/// this one, with a relay of real sockets between clients and nodes. Every 250 ms each client's NAT
/// gives it another port, every eighth time another address too, and every 500 ms the route leads to
/// the next node. Meanwhile one node is drained and comes back, another is upgraded, the fleet gets
/// two new keys, and at the end the third node is killed. The exit code is 0 only if HTTP/3 lost
/// nothing, connected again only where a node had to go, repeated requests only after the kill, and
/// the relay counted the same datagrams as the nodes.
///
/// All connections are made before anything moves: until a handshake is confirmed a client must not
/// move (RFC 9000, section 9), and no server can help one that does. A client that a node sends away
/// tries until its handshake falls between two moves.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// How long to run at least; a slow machine takes longer to reach the minimums
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
    /// Break this on purpose, to see that the demo notices
    #[arg(long = "break", value_enum, value_name = "WHAT")]
    fault: Option<Fault>,
    /// Go on until many requests are answered over HTTP/3, with planned events only: nothing is killed
    #[arg(long, conflicts_with_all = ["seconds", "fault"])]
    soak: bool,
    /// Kill a node that has so many connections, and measure how they come back
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "1000", conflicts_with_all = ["seconds", "fault", "soak"], value_parser = clap::value_parser!(u16).range(1..=4000))]
    storm: Option<u16>,
    /// How many requests a soak takes
    #[arg(long, value_name = "N", default_value_t = 100_000, requires = "soak")]
    requests: u64,
    /// How many soaks to run, one after the other; with `--json` each prints an object on a line
    #[arg(long, value_name = "N", default_value_t = 1, requires = "soak", value_parser = clap::value_parser!(u64).range(1..=1000))]
    runs: u64,
    /// When a soak ends, in seconds, whether or not all are answered
    #[arg(long, value_name = "N", default_value_t = 900, requires = "soak", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    limit: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Fault {
    /// Nodes take each other's connection IDs for their own
    Steer,
    /// Nodes answer for each other's connections
    Validate,
    /// The relay claims flips that it does not make
    Relay,
}

pub(crate) fn main(args: Args) -> anyhow::Result<ExitCode> {
    let fault = args.fault.map(|fault| match fault {
        Fault::Steer => Break::Steer,
        Fault::Validate => Break::Validate,
        Fault::Relay => Break::Relay,
    });
    let program = std::env::current_exe()?;
    if args.storm.is_some() {
        // Each of a thousand clients has 3 MB to receive into. Clearing that where others have left it
        // would take longer than the handshakes, and be counted for those who connect again.
        map_large_blocks();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let mut signals = {
        let _guard = runtime.enter();
        Signals::new()?
    };
    if let Some(connections) = args.storm {
        let storm = storm(program, connections.into());
        let report = runtime.block_on(until_told(&mut signals, storm))?;
        print_problems(&report.logs, &report.problems);
        print_result(&if args.json {
            report.json().to_string()
        } else {
            report.text()
        });
        return Ok(exit_code(report.succeeded()));
    }
    let plan = if args.soak {
        let soak = Soak {
            requests: args.requests,
            limit: Duration::from_secs(args.limit),
        };
        Plan::soak(program, soak)
    } else {
        Plan::new(program, Duration::from_secs(args.seconds), fault)
    };
    let mut succeeded = true;
    for _run in 0..args.runs {
        let bar = progress_bar(&plan)?;
        let run = run(&plan, |status| show(&bar, status));
        let report = runtime.block_on(until_told(&mut signals, run));
        bar.finish_and_clear();
        let report = report?;
        print_problems(&report.logs, &report.problems);
        print_result(&if args.json {
            report.json().to_string()
        } else {
            report.table()
        });
        succeeded &= report.succeeded();
    }
    Ok(exit_code(succeeded))
}

/// Runs something, and drops it at a signal, so that its nodes end as well.
async fn until_told<T>(
    signals: &mut Signals,
    running: impl Future<Output = Result<T, DemoError>>,
) -> anyhow::Result<T> {
    tokio::select! {
        ended = running => Ok(ended?),
        () = signals.next() => anyhow::bail!("a signal ended it"),
    }
}

fn exit_code(succeeded: bool) -> ExitCode {
    if succeeded {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Hidden where standard error is no terminal.
fn progress_bar(plan: &Plan) -> anyhow::Result<ProgressBar> {
    let length = u64::try_from(plan.duration.as_millis())?;
    let style = ProgressStyle::with_template("{bar:30} {msg}")?;
    Ok(ProgressBar::new(length).with_style(style))
}

fn show(bar: &ProgressBar, status: Status) {
    let megabytes = |bytes: u64| bytes / 1_000_000;
    bar.set_position(u64::try_from(status.elapsed.as_millis()).unwrap_or(u64::MAX));
    bar.set_message(format!(
        "{} moves; HTTP/3: {} requests, {} MB down, {} MB up, {} lost; TCP+TLS: {} lost",
        status.moves,
        status.http3.requests,
        megabytes(status.http3.downloaded),
        megabytes(status.http3.uploaded),
        status.http3.lost,
        status.tcp_tls.lost,
    ));
}

#[expect(
    clippy::print_stderr,
    reason = "this is the command's output for people"
)]
fn print_problems(logs: &[String], problems: &[String]) {
    for log in logs {
        eprintln!("{log}");
    }
    for problem in problems {
        eprintln!("problem: {problem}");
    }
}

#[expect(clippy::print_stdout, reason = "this is the command's output")]
fn print_result(result: &str) {
    println!("{result}");
}

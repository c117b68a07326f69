//! `wayhold bench`.

use std::process::ExitCode;

use clap::Subcommand;
use wayhold::bench::plan::Subject;

mod circumstances;
mod compare;
mod floor;
mod load;
mod measure;
mod report;
mod target;
mod watch;

/// Arguments of `wayhold bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Measure what connecting costs
    Handshake(measure::Args),
    /// Measure what moving a connection saves over connecting again
    Migrate(measure::Args),
    /// What handshakes take of a processor without any network: both sides in one thread, and the
    /// cryptographic operations alone beside them
    Floor(floor::Args),
    /// Measure handshakes under load, and the memory of idle connections
    Load(load::Args),
    /// Set two runs against each other
    Compare(compare::Args),
    /// Show the results of runs, and make a page of them
    Report(report::Args),
}

pub(crate) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.action {
        Action::Handshake(args) => measure::main(args, Subject::Handshake),
        Action::Migrate(args) => measure::main(args, Subject::Migrate),
        Action::Floor(args) => floor::main(args),
        Action::Load(args) => load::main(args),
        Action::Compare(args) => compare::main(args),
        Action::Report(args) => report::main(args),
    }
}

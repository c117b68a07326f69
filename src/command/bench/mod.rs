//! `wayhold bench`.

use std::process::ExitCode;

use clap::Subcommand;

mod compare;
mod report;

/// Arguments of `wayhold bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Set two runs against each other
    Compare(compare::Args),
    /// Show the results of runs, and make a page of them
    Report(report::Args),
}

pub(crate) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.action {
        Action::Compare(args) => compare::main(args),
        Action::Report(args) => report::main(args),
    }
}

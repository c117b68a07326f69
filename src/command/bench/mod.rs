//! `wayhold bench`.

use std::process::ExitCode;

use clap::Subcommand;

mod floor;

/// Arguments of `wayhold bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    layer: Layer,
}

#[derive(Debug, Subcommand)]
enum Layer {
    /// What handshakes take of a processor without any network: both sides in one thread, and the
    /// cryptographic operations alone beside them
    Floor(floor::Args),
}

pub(crate) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.layer {
        Layer::Floor(args) => floor::main(args),
    }
}

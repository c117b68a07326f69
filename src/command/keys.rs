//! `wayhold keys`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use wayhold::control::write_key_file;
use wayhold::fleet::{Epoch, FleetKey, Keyring};

/// Arguments of `wayhold keys`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a new key file with mode 0600, for every node of the fleet to have a copy of
    Init {
        /// Where; a file that exists is never replaced
        #[arg(default_value = "fleet.key")]
        path: PathBuf,
    },
}

#[expect(clippy::print_stdout, reason = "this is the command's output")]
pub(crate) fn main(args: Args) -> anyhow::Result<ExitCode> {
    let Action::Init { path } = args.action;
    let mut secret = [0; FleetKey::LEN];
    aws_lc_rs::rand::fill(&mut secret).context("the system has no random bytes")?;
    let keyring = Keyring::new(FleetKey::new(Epoch(0), secret));
    write_key_file(&path, &keyring)?;
    println!("wrote {} with mode 0600", path.display());
    Ok(ExitCode::SUCCESS)
}

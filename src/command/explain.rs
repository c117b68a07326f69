//! `wayhold explain`.

use std::io::{self, Write};
use std::process::ExitCode;

use wayhold::config::{self, Explained};

use super::{ConfigArgs, Exit};

/// Arguments of `wayhold explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 the configuration is right, 1 it is not, 2 wrong usage")]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Leave out what is not set anywhere
    #[arg(long)]
    only_set: bool,
}

pub(crate) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    let explained = match config::explain(&args.config.sources()) {
        Ok(explained) => explained,
        Err(errors) => {
            super::refuse(&errors);
            return Ok(Exit::Failure.into());
        }
    };
    let mut out = io::stdout().lock();
    for one in explained
        .iter()
        .filter(|one| one.origin.is_some() || !args.only_set)
    {
        writeln!(out, "{}", line(one))?;
    }
    Ok(Exit::Clean.into())
}

fn line(one: &Explained) -> String {
    let origin = one.origin.as_ref().map(ToString::to_string);
    let origin = origin.as_deref().unwrap_or("default");
    format!("{} = {}  ({origin})", one.path, one.value)
}

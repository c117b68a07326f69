//! `wayhold drain`, `wayhold undrain`, `wayhold reload` and `wayhold upgrade`.

use std::process::ExitCode;

use wayhold::config;

use super::{ConfigArgs, Exit, operator};

/// Arguments of each of them: where the gateway is.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Finds the gateway by `admin.listen`, so give the configuration it runs with.\n\n\
    Exit codes: 0 done, 1 not done, 2 wrong usage"
)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

/// What the gateway is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Drain,
    Undrain,
    Reload,
    Upgrade,
}

/// Gives an order and says what came of it.
#[expect(clippy::print_stdout, reason = "this is the command's output")]
pub(crate) fn main(args: &Args, order: Order) -> anyhow::Result<ExitCode> {
    let config = match config::load(&args.config.sources()) {
        Ok(config) => config,
        Err(errors) => {
            super::refuse(&errors);
            return Ok(Exit::Failure.into());
        }
    };
    let target = match order {
        Order::Drain => "/drain",
        Order::Undrain => "/undrain",
        Order::Reload => "/reload",
        Order::Upgrade => "/upgrade",
    };
    let answer = operator::ask(&config.admin.listen, "POST", target)?;
    let line = answer.body.trim_end();
    if answer.status == 200 {
        println!("{line}");
        return Ok(Exit::Clean.into());
    }
    Err(anyhow::Error::msg(line.to_owned()))
}

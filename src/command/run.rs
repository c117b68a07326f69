//! `wayhold run`.

use std::io::{self, IsTerminal, Write};
use std::pin::pin;
use std::process::ExitCode;

use anyhow::Context;
use clap::ValueEnum;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};
use wayhold::config::{self, Config, Log, LogFormat, Sources};
use wayhold::sys;
use wayhold::{Fault, Gateway, GatewayError, GatewayHandle};

use super::signals::Signals;
use super::{ConfigArgs, Exit, takeover};

/// Arguments of `wayhold run`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Break this on purpose, as `wayhold demo --break` does
    #[arg(long, hide = true, value_enum)]
    planted_fault: Option<Planted>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Planted {
    NoForwarding,
    LaxValidate,
}

pub(crate) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    let sources = args.config.sources();
    let config = match config::load(&sources) {
        Ok(config) => config,
        Err(errors) => {
            super::refuse(&errors);
            takeover::refuse(&errors.to_string()).context("cannot start the runtime")?;
            return Ok(Exit::Configuration.into());
        }
    };
    let level = start_log(&config.log)?;
    sys::process::forbid_core_dumps().context("cannot forbid core dumps")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let fault = args.planted_fault.map(|planted| match planted {
        Planted::NoForwarding => Fault::NoForwarding,
        Planted::LaxValidate => Fault::LaxValidate,
    });
    let exit = runtime.block_on(serve(config, sources, level, fault));
    // A lookup of a name that still runs on a blocking thread must not hold the process.
    runtime.shutdown_background();
    Ok(exit?.into())
}

async fn serve(
    config: Config,
    sources: Sources,
    level: LogLevel,
    fault: Option<Fault>,
) -> anyhow::Result<Exit> {
    let mut signals = Signals::new().context("cannot watch for signals")?;
    let mut hangups = signal(SignalKind::hangup()).context("cannot watch for signals")?;
    let mut upgrades = signal(SignalKind::user_defined2()).context("cannot watch for signals")?;
    let gateway = match takeover::bind(config, sources, fault).await? {
        Ok(gateway) => gateway,
        Err(error) => return Ok(failed(error)),
    };
    if let Err(error) = announce(&gateway) {
        tracing::warn!(%error, "cannot write to standard output");
    }
    let handle = gateway.handle();
    let reloading = async {
        while hangups.recv().await.is_some() {
            // What came of it is logged; nobody else waits for an answer.
            drop(handle.reload_sources().await);
        }
    };
    let (begin, begun) = oneshot::channel::<()>();
    // The sender is kept until a signal comes, so its end is a signal too.
    let shutdown = async move { drop(begun.await) };
    let mut serving = pin!(gateway.serve(shutdown));
    tokio::select! {
        ended = &mut serving => return Ok(ended.map_or_else(failed, |()| Exit::Clean)),
        () = signals.next() => {}
        () = reloading => {}
        () = takeover::on_signal(&mut upgrades, &handle) => {}
        () = follow_level(&handle, &level) => {}
    }
    tracing::info!("shutting down; a second signal ends at once");
    drop(begin);
    tokio::select! {
        ended = &mut serving => Ok(ended.map_or_else(failed, |()| Exit::Clean)),
        () = signals.next() => Ok(Exit::Forced),
    }
}

/// Sets the log level of each configuration that comes into force.
async fn follow_level(handle: &GatewayHandle, level: &LogLevel) {
    let Ok(mut config) = handle.config() else {
        return;
    };
    while config.changed().await.is_ok() {
        let wanted = config.borrow_and_update().log.level.parse::<Targets>();
        match wanted.map(|filter| level.reload(filter)) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the log level stays as it is"),
            Err(error) => tracing::warn!(%error, "the log level stays as it is"),
        }
    }
}

fn failed(error: GatewayError) -> Exit {
    let exit = match &error {
        GatewayError::Bind { .. } | GatewayError::Admin(_) => Exit::Bind,
        GatewayError::Tls(_)
        | GatewayError::Fleet(_)
        | GatewayError::Roster(_)
        | GatewayError::Cid(_)
        | GatewayError::ServerId
        | GatewayError::NotAMember(_)
        | GatewayError::LinkMtu(_)
        | GatewayError::Inherited(_)
        | GatewayError::Moved { .. }
        | GatewayError::Workers { .. }
        | GatewayError::FixedInstance
        | GatewayError::NoInstances
        | GatewayError::OtherCids
        | GatewayError::OtherPlace(_)
        | GatewayError::Routes(_) => Exit::Configuration,
        GatewayError::GraceExpired(_) => Exit::Forced,
        _ => Exit::Failure,
    };
    // Its message holds its cause already.
    super::complain(&anyhow::Error::msg(error));
    exit
}

/// Tells on standard output where the gateway can be reached.
fn announce(gateway: &Gateway) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for address in gateway.local_addresses() {
        writeln!(out, "listening on {address}")?;
    }
    if let Some(admin) = gateway.admin_address() {
        writeln!(out, "admin on {admin}")?;
    }
    if let Some(certificate) = gateway.development_certificate() {
        let path = certificate.path.display();
        let expires = httpdate::fmt_http_date(certificate.expires);
        writeln!(out, "development certificate {path} until {expires}")?;
    }
    out.flush()
}

/// Writes events to standard error from here on; their level can be changed.
fn start_log(log: &Log) -> anyhow::Result<LogLevel> {
    let filter: Targets = log.level.parse().context("log.level")?;
    let (filter, level) = reload::Layer::new(filter);
    let layer = fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    let layer = match log.format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().with_ansi(false).boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .try_init()?;
    Ok(level)
}

type LogLevel = reload::Handle<Targets, Registry>;

const EXIT_CODES: &str = "\
Exit codes:
  0  ended in order after SIGTERM or SIGINT
  1  failed while starting or running
  2  wrong usage
  3  the configuration was refused
  4  a socket could not be bound
  5  the shutdown's grace ran out, or a second signal came";

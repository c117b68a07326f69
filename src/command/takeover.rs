//! How `wayhold run` takes over from a process before it, and lets another take over.

use std::io;

use tokio::runtime::Builder;
use tokio::signal::unix::Signal;
use wayhold::config::{Config, Sources};
use wayhold::lifecycle::{Inherited, Notifier, Predecessor, Program};
use wayhold::{Fault, Gateway, GatewayBuilder, GatewayError, GatewayHandle};

/// Binds the gateway, on sockets that systemd opened where there are any; if a process started this
/// one to take over from it, on that one's sockets, which are this one's to read from then on.
///
/// # Errors
/// What went wrong between the two processes, and inside of it what is wrong with the gateway.
pub(super) async fn bind(
    config: Config,
    sources: Sources,
    fault: Option<Fault>,
) -> anyhow::Result<Result<Gateway, GatewayError>> {
    let Some(predecessor) = Predecessor::of_this_process() else {
        return Ok(builder(config, sources, fault)
            .inherited(Inherited::from_systemd()?)
            .bind());
    };
    let sockets = predecessor.sockets().await?;
    let gateway = match builder(config, sources, fault).inherited(sockets).bind() {
        Ok(gateway) => gateway,
        Err(error) => {
            predecessor.fail(error.to_string()).await;
            return Ok(Err(error));
        }
    };
    predecessor.prepared(gateway.instance()).await?;
    gateway.take_over();
    predecessor.taken().await;
    Ok(Ok(gateway))
}

/// Tells the process that started this one to take over, if one did, why it cannot.
///
/// # Errors
/// There is no runtime to tell it in.
pub(super) fn refuse(reason: &str) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let Some(predecessor) = Predecessor::of_this_process() else {
            return;
        };
        // It hands over its sockets before it listens.
        if predecessor.sockets().await.is_ok() {
            predecessor.fail(reason.to_owned()).await;
        }
    });
    Ok(())
}

fn builder(config: Config, sources: Sources, fault: Option<Fault>) -> GatewayBuilder {
    let mut builder = Gateway::builder()
        .config(config)
        .sources(sources)
        .notifier(Notifier::from_environment());
    if let Some(fault) = fault {
        builder = builder.fault(fault);
    }
    match Program::of_this_process() {
        Some(program) => builder.program(program),
        None => builder,
    }
}

/// Lets a new process take over at each SIGUSR2, for as long as signals come.
pub(super) async fn on_signal(signal: &mut Signal, handle: &GatewayHandle) {
    while signal.recv().await.is_some() {
        // What came of it is logged; nobody else waits for an answer.
        drop(handle.upgrade().await);
    }
}

use std::convert::Infallible;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval};

use super::hand_over::Upgraded;
use super::handle::{Applied, GatewayHandle};
use super::reload::{ReloadError, Reloader};
use super::shared::Shared;
use crate::config::Config;
use crate::edge::Phase;
use crate::lifecycle::{State, UpgradeError, Watched};
use crate::sys::process::monotonic_micros;
use crate::telemetry::ReloadOutcome;

/// Does what the handles ask for, one at a time, and notices certificates that change on disk.
///
/// It alone holds what can be changed of the listeners, so that nothing changes once it is gone.
#[derive(Debug)]
pub(super) struct Conductor {
    shared: Arc<Shared>,
    orders: mpsc::Receiver<Order>,
    reloader: Arc<Reloader>,
    watched: Watched,
}

/// What a handle asks for, and where the answer goes.
#[derive(Debug)]
pub(super) enum Order {
    Drain(oneshot::Sender<()>),
    Undrain(oneshot::Sender<()>),
    Upgrade(oneshot::Sender<Result<Upgraded, UpgradeError>>),
    /// Without a configuration the sources are read.
    Reload {
        config: Option<Box<Config>>,
        reply: oneshot::Sender<Result<Applied, ReloadError>>,
    },
}

impl Conductor {
    /// Makes it, and the first handle.
    pub(super) fn new(
        shared: Arc<Shared>,
        reloader: Reloader,
        watched: Watched,
    ) -> (Self, GatewayHandle) {
        let (sender, orders) = mpsc::channel(ORDERS);
        let handle = GatewayHandle::new(&shared, sender);
        let conductor = Self {
            shared,
            orders,
            reloader: Arc::new(reloader),
            watched,
        };
        (conductor, handle)
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Begins the ready phase and takes orders until it is dropped. A change of the configuration is
    /// applied whole or not at all whenever that is.
    pub(super) async fn run(&mut self) -> Infallible {
        self.shared.lifecycle.ready(&self.shared.hooks()).await;
        let mut looks = interval(Watched::INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(order) = self.orders.recv() => self.follow(order).await,
                _ = looks.tick(), if self.watched.any() => if self.look().await {
                    tracing::info!("a certificate or key file has changed");
                    let config = Box::new(Config::clone(&self.shared.config()));
                    // Success and failure are logged and counted there.
                    drop(self.reload(Some(config)).await);
                },
            }
        }
    }

    async fn look(&mut self) -> bool {
        let mut watched = std::mem::take(&mut self.watched);
        let looked = spawn_blocking(move || {
            let changed = watched.look();
            (watched, changed)
        });
        let (watched, changed) = joined(looked.await);
        self.watched = watched;
        changed
    }

    async fn reload(&mut self, config: Option<Box<Config>>) -> Result<Applied, ReloadError> {
        let (reloader, old) = (Arc::clone(&self.reloader), self.shared.config());
        let prepared = spawn_blocking(move || reloader.prepare(&old, config));
        let metrics = &self.shared.metrics;
        match joined(prepared.await) {
            Ok(change) => {
                let (config, watched, applied, certificates) = change.apply();
                self.shared.show(certificates);
                self.watched = watched;
                self.shared.config.send_replace(Arc::new(config));
                metrics.reloads.get_or_create(&ReloadOutcome::APPLIED).inc();
                tracing::info!("{applied}");
                Ok(applied)
            }
            Err(error) => {
                metrics.reloads.get_or_create(&ReloadOutcome::REFUSED).inc();
                tracing::error!("reload refused, nothing has changed: {error}");
                Err(error)
            }
        }
    }

    async fn follow(&mut self, order: Order) {
        let (lifecycle, hooks) = (&self.shared.lifecycle, self.shared.hooks());
        match order {
            Order::Drain(reply) => {
                lifecycle.drain(&hooks).await;
                answer(reply, ());
            }
            Order::Undrain(reply) => {
                lifecycle.undrain(&hooks).await;
                answer(reply, ());
            }
            Order::Upgrade(reply) => answer(reply, self.upgrade().await),
            Order::Reload { config, reply } => {
                let notifier = &self.shared.reins.notifier;
                notifier.tell(State::Reloading(monotonic_micros()));
                let reloaded = self.reload(config).await;
                self.shared.reins.notifier.tell(State::Ready);
                answer(reply, reloaded);
            }
        }
    }

    /// Logged here, because a signal asks for it too.
    async fn upgrade(&self) -> Result<Upgraded, UpgradeError> {
        let upgraded = match (&self.shared.program, self.shared.lifecycle.phase()) {
            (None, _) => Err(UpgradeError::NoProgram),
            (Some(program), Phase::Ready) => {
                let limit = self.shared.config().upgrade.timeout;
                self.shared.reins.upgrade(program, limit).await
            }
            _ => Err(UpgradeError::Draining),
        };
        match &upgraded {
            Ok(upgraded) => tracing::info!("{upgraded}"),
            Err(error) => tracing::error!("the upgrade failed, this process goes on: {error}"),
        }
        upgraded
    }
}

/// A blocking task ends with what it makes: nothing cancels it, and a panic goes on here.
fn joined<T>(ended: Result<T, JoinError>) -> T {
    ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

fn answer<T>(reply: oneshot::Sender<T>, answer: T) {
    if reply.send(answer).is_err() {
        tracing::debug!("whoever gave an order did not wait for its end");
    }
}

/// Orders that wait for those before them; whoever gives one more waits to give it.
const ORDERS: usize = 16;

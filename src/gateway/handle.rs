use std::sync::{Arc, Weak};

use tokio::sync::{mpsc, oneshot, watch};

use super::conductor::Order;
use super::hand_over::{HandOver, Upgraded};
use super::shared::Shared;
use super::{ReloadError, status};
use crate::cid::{Cid, ConfigId, DecodeError};
use crate::config::Config;
use crate::edge::Phase;
use crate::fleet::Epoch;
use crate::lifecycle::UpgradeError;
use crate::steer::Location;

/// A hold on a gateway while it serves; all clones are the same.
///
/// What is asked for is done one at a time, to its end even when the future is dropped, and not before
/// [`Gateway::serve`](super::Gateway::serve) runs. A handle keeps no socket open.
#[derive(Clone, Debug)]
pub struct GatewayHandle {
    shared: Weak<Shared>,
    orders: mpsc::Sender<Order>,
}

/// The gateway ends or has ended, and takes no more orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the gateway is ending")]
pub struct GatewayEnded;

/// Why it is not known where packets with a connection ID go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LocateError {
    /// No configuration of this gateway reads the ID.
    #[error(transparent)]
    Unreadable(#[from] DecodeError),
    /// There is nobody to ask.
    #[error(transparent)]
    Ended(#[from] GatewayEnded),
}

/// What a reload has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applied {
    /// The sections of the configuration that differ from those before, by name. Certificates and
    /// keys are read again in any case.
    pub sections: Vec<&'static str>,
}

impl GatewayHandle {
    pub(super) fn new(shared: &Arc<Shared>, orders: mpsc::Sender<Order>) -> Self {
        Self {
            shared: Arc::downgrade(shared),
            orders,
        }
    }

    /// Sends new clients elsewhere: not ready at once, then `hooks.withdraw` and `hooks.settle`, then
    /// new connections go to peers, and open ones are told to finish. Resolves when all this is
    /// begun; a node that drains already has nothing to do.
    ///
    /// # Errors
    /// [`GatewayEnded`].
    pub async fn drain(&self) -> Result<(), GatewayEnded> {
        self.order(Order::Drain).await
    }

    /// Takes a drain back: new connections are this node's again, and `hooks.announce` is run.
    ///
    /// # Errors
    /// [`GatewayEnded`].
    pub async fn undrain(&self) -> Result<(), GatewayEnded> {
        self.order(Order::Undrain).await
    }

    /// Starts the program that the builder was given and lets it take over; see
    /// [`HandOver::complete`] for what becomes of this gateway.
    ///
    /// # Errors
    /// An [`UpgradeError`] says why this gateway goes on as before.
    pub async fn upgrade(&self) -> Result<Upgraded, UpgradeError> {
        let upgraded = self.order(Order::Upgrade).await;
        upgraded.unwrap_or(Err(UpgradeError::Ending))
    }

    /// Begins to hand over to another gateway, of this process or of one that the caller starts. A
    /// gateway that drains is for its caller not to hand over.
    ///
    /// # Errors
    /// [`UpgradeError`].
    pub fn hand_over(&self) -> Result<HandOver, UpgradeError> {
        let shared = self.shared.upgrade().ok_or(UpgradeError::Ending)?;
        shared.reins.begin()
    }

    /// Runs with this configuration from here on. Everything is read and built first, so it takes
    /// effect as a whole or not at all; open connections and requests under way go on.
    ///
    /// # Errors
    /// A [`ReloadError`] says why nothing has changed.
    pub async fn reload(&self, config: Config) -> Result<Applied, ReloadError> {
        let config = Some(Box::new(config));
        self.order(|reply| Order::Reload { config, reply }).await?
    }

    /// Loads the sources that the builder was given and reloads; without any, reads certificates and
    /// keys again.
    ///
    /// # Errors
    /// As for [`GatewayHandle::reload`].
    pub async fn reload_sources(&self) -> Result<Applied, ReloadError> {
        let config = None;
        self.order(|reply| Order::Reload { config, reply }).await?
    }

    /// The configuration in force, and those that follow it.
    ///
    /// # Errors
    /// [`GatewayEnded`].
    pub fn config(&self) -> Result<watch::Receiver<Arc<Config>>, GatewayEnded> {
        let shared = self.shared.upgrade().ok_or(GatewayEnded)?;
        Ok(shared.config.subscribe())
    }

    /// The phase now; [`Phase::Over`] when the gateway has ended.
    pub fn phase(&self) -> Phase {
        let shared = self.shared.upgrade();
        shared.map_or(Phase::Over, |shared| shared.lifecycle.phase())
    }

    /// What `/status` shows.
    ///
    /// # Errors
    /// [`GatewayEnded`].
    pub fn status(&self) -> Result<serde_json::Value, GatewayEnded> {
        let shared = self.shared.upgrade().ok_or(GatewayEnded)?;
        Ok(status::status(&shared))
    }

    /// Where packets with a connection ID go now.
    ///
    /// # Errors
    /// A [`LocateError`] says why it is not known; the packets are dropped.
    pub fn locate(&self, cid: &Cid) -> Result<Location, LocateError> {
        let shared = self.shared.upgrade().ok_or(GatewayEnded)?;
        Ok(shared.steering.current().locate(cid)?)
    }

    /// How many workers each listener has; 0 when the gateway has ended.
    pub(super) fn workers(&self) -> u16 {
        let shared = self.shared.upgrade();
        shared.map_or(0, |shared| {
            shared.steering.current().slots().workers().get()
        })
    }

    /// The epoch of the fleet's key under which IDs of a configuration are encrypted; none without a
    /// fleet or without encryption.
    pub(super) fn epoch_of(&self, config: ConfigId) -> Option<Epoch> {
        self.shared.upgrade()?.fleet.as_ref()?.epoch_of(config)
    }

    async fn order<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<T>) -> Order,
    ) -> Result<T, GatewayEnded> {
        let (reply, answer) = oneshot::channel();
        let sent = self.orders.send(order(reply)).await;
        sent.map_err(|_ended| GatewayEnded)?;
        answer.await.map_err(|_ended| GatewayEnded)
    }
}

impl std::fmt::Display for Applied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.sections.is_empty() {
            f.write_str("reloaded: files were read again, the configuration is the same")
        } else {
            write!(f, "reloaded: {}", self.sections.join(", "))
        }
    }
}

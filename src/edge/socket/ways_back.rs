//! [`Returns`] as the socket and its poller share them, with their metrics.

use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::time::Instant;

use super::returns::{Departure, Entrance, Returns};
use crate::telemetry::Metrics;

/// The ways back to clients that do not come in where they first did.
#[derive(Debug)]
pub(super) struct WaysBack {
    returns: Mutex<Returns>,
    /// Entries that the metrics know of.
    counted: Mutex<usize>,
    metrics: Metrics,
}

/// What proves that datagrams are of a connection of this endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proven {
    Nothing,
    ItsConnectionId,
    WhoPassedItOn,
}

impl WaysBack {
    pub(super) fn new(returns: Returns, metrics: Metrics) -> Self {
        Self {
            returns: Mutex::new(returns),
            counted: Mutex::default(),
            metrics,
        }
    }

    /// Notes where a client's datagrams came in.
    pub(super) fn note(
        &self,
        now: Instant,
        client: SocketAddr,
        entrance: Entrance,
        proven: Proven,
    ) {
        let mut returns = self.returns.lock().expect("no holder panics");
        match proven {
            Proven::Nothing => returns.renew(now, client, entrance),
            Proven::ItsConnectionId | Proven::WhoPassedItOn => {
                if returns.note(now, client, entrance).is_err() {
                    self.metrics.return_paths_refused.inc();
                }
            }
        }
    }

    /// How a reply to this client leaves that comes from `source`, as quinn has it.
    pub(super) fn departure(&self, client: SocketAddr, source: Option<IpAddr>) -> Departure {
        let returns = self.returns.lock().expect("no holder panics");
        returns.departure(client, source)
    }

    /// Forgets clients that are silent, and brings the metrics up to date.
    pub(super) fn sweep(&self, now: Instant) {
        let entries = self.returns.lock().expect("no holder panics").sweep(now);
        let mut counted = self.counted.lock().expect("no holder panics");
        let gauge = |number| i64::try_from(number).unwrap_or(i64::MAX);
        let change = gauge(entries) - gauge(*counted);
        self.metrics.return_paths.inc_by(change);
        *counted = entries;
    }
}

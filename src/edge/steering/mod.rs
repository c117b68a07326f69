//! What the socket and the tunnel share: the current steering rules, the way to peers, and the
//! counters of both.

mod delivery;
mod judge;
mod waiting;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use arc_swap::ArcSwap;

use super::endpoints::Endpoints;
use super::reading::Reading;
use super::sibling::Siblings;
use super::socket::Injected;
use super::tunnel::Forwarder;
use crate::config::Return;
use crate::fleet::{InstanceId, ResetKey, ResetKeys};
use crate::steer::{DropReason, Intake, Slots, Steer, Tables, Waiting};
use crate::telemetry::{Metrics, Reason};

/// Decides for each datagram and counts the decision.
#[derive(Debug)]
pub(crate) struct Steering {
    steer: ArcSwap<Steer>,
    slots: Slots,
    tables: Mutex<Tables>,
    waiting: Mutex<Waiting<Injected>>,
    /// Whether anything waits, so that nobody takes the lock for nothing.
    any_waits: AtomicBool,
    resets: ArcSwap<ResetKeys>,
    forwarder: OnceLock<Arc<Forwarder>>,
    siblings: OnceLock<Arc<Siblings>>,
    endpoints: OnceLock<Endpoints>,
    returning: Return,
    reading: Reading,
    metrics: Metrics,
    fault: Option<Fault>,
}

/// A defect that is planted on purpose, to show that something notices.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Datagrams of other nodes' connections are taken for this node's own.
    NoForwarding,
    /// A copy of each forwarded datagram also reaches this node's endpoint, which takes every
    /// connection ID for its own.
    LaxValidate,
    /// The same copies reach the endpoint, which accepts only its own connection IDs: harmless.
    StrayCopies,
    /// The kernel chooses among workers by address and not by connection ID, as where programs are
    /// forbidden.
    NoKernelSteering,
}

impl Steering {
    /// Starts with these rules, these keys for the resets of connections whose owner is gone, and no
    /// way to any peer.
    pub(crate) fn new(
        steer: Steer,
        tables: Tables,
        resets: ResetKeys,
        metrics: Metrics,
        fault: Option<Fault>,
    ) -> Self {
        Self {
            slots: *steer.slots(),
            steer: ArcSwap::from_pointee(steer),
            tables: Mutex::new(tables),
            waiting: Mutex::default(),
            any_waits: AtomicBool::new(false),
            resets: ArcSwap::from_pointee(resets),
            forwarder: OnceLock::new(),
            siblings: OnceLock::new(),
            endpoints: OnceLock::new(),
            returning: Return::default(),
            reading: Reading::default(),
            metrics,
            fault,
        }
    }

    /// Sets how answers to clients of forwarded datagrams go.
    #[must_use]
    pub(crate) fn returning(mut self, returning: Return) -> Self {
        self.returning = returning;
        self
    }

    /// Sets the way to the peers, once.
    pub(crate) fn connect(&self, forwarder: Arc<Forwarder>) {
        // A second call would be a second tunnel; the first one stays in use.
        drop(self.forwarder.set(forwarder));
    }

    /// Sets the way to the other processes of this node, once.
    pub(crate) fn join(&self, siblings: Arc<Siblings>) {
        // As for `connect`.
        drop(self.siblings.set(siblings));
    }

    /// Whether this process reads the sockets of its node.
    pub(crate) fn reading(&self) -> &Reading {
        &self.reading
    }

    /// Waits until no other process needs this one to read for it. Cancel safe.
    pub(crate) async fn needed_by_none(&self) {
        if let (Some(siblings), true) = (self.siblings.get(), self.reading.is_on()) {
            siblings.outlived_predecessors().await;
        }
    }

    /// Steers by these live siblings from now on.
    pub(crate) fn set_siblings(&self, siblings: &[InstanceId]) {
        self.follow(|now| now.clone().with_siblings(siblings.iter().copied()));
    }

    /// Sets what becomes of new connections from here on.
    pub(crate) fn set_intake(&self, intake: Intake) {
        self.follow(|now| now.clone().with_intake(intake));
    }

    /// Steers by these rules from now on.
    pub(crate) fn follow(&self, change: impl Fn(&Steer) -> Steer) {
        self.steer.rcu(|steer| change(steer));
    }

    /// The rules that are followed now.
    pub(crate) fn current(&self) -> Arc<Steer> {
        self.steer.load_full()
    }

    /// Makes reset tokens with these keys from now on.
    pub(crate) fn use_resets(&self, resets: ResetKeys) {
        self.resets.store(Arc::new(resets));
    }

    /// The stateless reset token of a connection ID.
    pub(crate) fn reset_token(&self, cid: &[u8]) -> [u8; ResetKey::TOKEN_LEN] {
        self.resets.load().token(cid)
    }

    /// Steers with keys that no fleet has.
    #[cfg(test)]
    pub(crate) fn testing(steer: Steer, metrics: &Metrics) -> Arc<Self> {
        let key = crate::fleet::FleetKey::new(crate::fleet::Epoch(0), [9; 32]);
        let own = steer.view().own().server_id();
        let resets = ResetKeys::new(key, steer.configs().clone(), own);
        let metrics = metrics.clone();
        let steering = Self::new(steer, Tables::new(0), resets, metrics, None);
        steering.reading.resume();
        Arc::new(steering)
    }

    #[cfg(test)]
    pub(crate) fn forwarder(&self) -> Option<&Arc<Forwarder>> {
        self.forwarder.get()
    }

    /// How connection IDs are shared among this process's endpoints, for as long as it lives.
    pub(crate) fn slots(&self) -> &Slots {
        &self.slots
    }

    /// Counts a datagram that was dropped for this reason.
    pub(crate) fn count_drop(&self, reason: &'static str) {
        self.count_drops(reason, 1);
    }

    /// Counts datagrams that were dropped for this reason.
    pub(crate) fn count_drops(&self, reason: &'static str, number: u64) {
        let dropped = &self.metrics.datagrams_dropped;
        dropped.get_or_create(&Reason { reason }).inc_by(number);
    }

    /// Brings the metric of first packets whose way was not kept up to date.
    pub(crate) fn count_refused(&self) {
        let mut tables = self.tables.lock().expect("no holder panics");
        let refused = tables.early.take_refused();
        self.metrics.early_entries_refused.inc_by(refused);
    }

    /// Whether answers to clients of forwarded datagrams go back the same way.
    pub(crate) fn returns_through_ingress(&self) -> bool {
        self.returning == Return::Ingress
    }

    /// Whether copies of foreign datagrams are handed to this node's endpoint.
    pub(crate) fn copies_foreign(&self) -> bool {
        matches!(self.fault, Some(Fault::LaxValidate | Fault::StrayCopies))
    }

    /// Whether the kernel is left to choose among workers as it likes.
    pub(crate) fn ignores_kernel(&self) -> bool {
        self.fault == Some(Fault::NoKernelSteering)
    }

    /// Whether the endpoint takes every connection ID for its own.
    pub(crate) fn accepts_any_cid(&self) -> bool {
        self.fault == Some(Fault::LaxValidate)
    }
}

/// Makes the series of every reason exist, so that a first drop shows as a step.
pub(crate) fn declare_reasons(metrics: &Metrics) {
    for reason in drop_reasons() {
        drop(metrics.datagrams_dropped.get_or_create(&Reason { reason }));
    }
}

/// Every word under which dropped datagrams are counted.
pub(crate) fn drop_reasons() -> impl Iterator<Item = &'static str> {
    let own = DropReason::ALL.map(DropReason::name);
    own.into_iter()
        .chain([
            NO_TUNNEL,
            NO_ENDPOINT,
            QUEUE_FULL,
            EARLY_FULL,
            EARLY_TIMEOUT,
        ])
        .chain(super::sibling::DROP_REASONS)
        .chain(super::socket::DROP_REASONS)
        .chain(super::tunnel::DROP_REASONS)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where steering reads a clock"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}

const NO_TUNNEL: &str = "no_tunnel";
const NO_ENDPOINT: &str = "no_endpoint";
pub(super) const QUEUE_FULL: &str = "queue_full";
const EARLY_FULL: &str = "early_full";
const EARLY_TIMEOUT: &str = "early_timeout";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_drop_reason_is_documented() {
        let fleet = include_str!("../../../docs/fleet.md");
        let operate = include_str!("../../../docs/operate.md");
        let table = fleet.split("## Dropped datagrams").nth(1).unwrap();
        let list = operate
            .split("Reasons of `wayhold_datagrams_dropped_total`")
            .nth(1);
        let list = list.unwrap().split("\n\n").next().unwrap();
        for reason in drop_reasons() {
            let word = format!("`{reason}`");
            assert!(table.contains(&word), "{word} in fleet.md");
            assert!(list.contains(&word), "{word} in operate.md");
        }
    }
}

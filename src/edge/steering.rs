//! What the socket and the tunnel share: the current steering rules, the way to peers, and the
//! counters of both.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::slice::Chunks;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use arc_swap::ArcSwap;

use super::endpoints::Endpoints;
use super::reading::Reading;
use super::sibling::{NO_SIBLING, Siblings};
use super::socket::Injected;
use super::tunnel::{Forwarder, QUEUE_FULL};
use crate::fleet::{InstanceId, NodeId, ResetKey, ResetKeys};
use crate::steer::{
    Arrival, DropReason, EarlyKey, Inbound, Intake, Steer, Tables, Verdict, Waiting,
};
use crate::telemetry::{HandedOver, Metrics, Reason};
use crate::wire::{
    Datagram, Ecn, Path, RESET_RANDOM, SiblingMessage, stateless_reset, version_negotiation,
};

/// Decides for each datagram and counts the decision.
#[derive(Debug)]
pub(crate) struct Steering {
    steer: ArcSwap<Steer>,
    tables: Mutex<Tables>,
    waiting: Mutex<Waiting<Injected>>,
    /// Whether anything waits, so that nobody takes the lock for nothing.
    any_waits: AtomicBool,
    resets: ArcSwap<ResetKeys>,
    forwarder: OnceLock<Arc<Forwarder>>,
    siblings: OnceLock<Arc<Siblings>>,
    endpoints: OnceLock<Endpoints>,
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
            steer: ArcSwap::from_pointee(steer),
            tables: Mutex::new(tables),
            waiting: Mutex::default(),
            any_waits: AtomicBool::new(false),
            resets: ArcSwap::from_pointee(resets),
            forwarder: OnceLock::new(),
            siblings: OnceLock::new(),
            endpoints: OnceLock::new(),
            reading: Reading::default(),
            metrics,
            fault,
        }
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

    /// Decides for one datagram of a client.
    pub(crate) fn decide(&self, datagram: &[u8], source: SocketAddr, arrival: Arrival) -> Verdict {
        let inbound = Inbound {
            datagram,
            source,
            arrival,
        };
        let tables = || self.tables.lock().expect("no holder panics");
        let mut verdict = self.steer.load().handle(now(), &inbound, tables);
        if self.fault == Some(Fault::NoForwarding) && matches!(verdict, Verdict::Forward(_)) {
            verdict = Verdict::Accept(0);
        }
        // What waits is counted when it no longer does.
        if arrival == Arrival::Direct && verdict != Verdict::Wait {
            self.metrics.datagrams_received.inc();
        }
        match verdict {
            Verdict::Local(_) | Verdict::Accept(_) => {
                self.metrics.datagrams_local.inc();
            }
            Verdict::Drop(reason) => self.count_drop(reason.name()),
            Verdict::Negotiate => {
                self.metrics.version_negotiations.inc();
            }
            Verdict::Reset => {
                self.metrics.resets.inc();
            }
            Verdict::Forward(_) | Verdict::Sibling(_) | Verdict::Wait => {}
        }
        verdict
    }

    /// Workers of each listener.
    pub(crate) fn workers(&self) -> NonZeroU16 {
        self.steer.load().slots().workers()
    }

    /// Sets the endpoints of this process, once.
    pub(crate) fn lead_to(&self, endpoints: Endpoints) {
        drop(self.endpoints.set(endpoints));
    }

    /// Hands a datagram of a client to the endpoint that its verdict names, which is not the one that
    /// received it.
    pub(crate) fn hand_over(&self, verdict: Verdict, injected: Injected, cause: HandedOver) {
        self.metrics.handed_over.get_or_create(&cause).inc();
        let room = self.endpoints.get();
        if !room.is_some_and(|endpoints| endpoints.put(verdict, injected)) {
            self.count_drop(QUEUE_FULL);
        }
    }

    /// Keeps a datagram whose verdict was [`Verdict::Wait`].
    pub(crate) fn hold(&self, datagram: Injected) {
        let Ok(Datagram::Long(header)) = Datagram::parse(&datagram.datagram) else {
            return;
        };
        let Some(key) = EarlyKey::new(header.destination, datagram.path.source) else {
            return;
        };
        let mut waiting = self.waiting.lock().expect("no holder panics");
        if waiting.hold(now(), key, datagram).is_err() {
            self.metrics.datagrams_received.inc();
            self.count_drop(EARLY_FULL);
        }
        self.any_waits.store(true, Ordering::Relaxed);
    }

    /// Takes the datagrams back for which [`Steering::hold`] waited, to be decided on again.
    pub(crate) fn released(&self) -> Vec<Injected> {
        if !self.any_waits.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let now = now();
        let mut waiting = self.waiting.lock().expect("no holder panics");
        let tables = self.tables.lock().expect("no holder panics");
        let released = waiting.release(now, |key| tables.early.get(now, key).is_some());
        self.any_waits.store(!waiting.is_empty(), Ordering::Relaxed);
        self.metrics.datagrams_received.inc_by(released.expired);
        let reason = Reason {
            reason: EARLY_TIMEOUT,
        };
        let expired = self.metrics.datagrams_dropped.get_or_create(&reason);
        expired.inc_by(released.expired);
        released.known
    }

    /// Sends datagrams of one path to their owner. What the tunnel cannot take is dropped and
    /// counted; QUIC sends again.
    pub(crate) fn forward(&self, to: NodeId, datagrams: Chunks<'_, u8>, path: Path, ecn: Ecn) {
        let count = u64::try_from(datagrams.len()).unwrap_or(u64::MAX);
        let (sent, outcome) = match self.forwarder.get() {
            Some(forwarder) => forwarder.forward(to, datagrams, path, ecn),
            None => (0, Err(NO_TUNNEL)),
        };
        self.metrics.datagrams_forwarded.inc_by(sent);
        if let Err(reason) = outcome {
            let dropped = self
                .metrics
                .datagrams_dropped
                .get_or_create(&Reason { reason });
            dropped.inc_by(count - sent);
        }
    }

    /// Hands datagrams of one path, `size` bytes each but the last, to the process of this node that
    /// owns them. What its queue cannot take is dropped and counted; QUIC sends again.
    pub(crate) fn pass(&self, to: InstanceId, (bytes, size): (&[u8], usize), path: Path, ecn: Ecn) {
        let count = u64::try_from(bytes.len().div_ceil(size)).unwrap_or(u64::MAX);
        let datagrams = SiblingMessage::Datagrams {
            path,
            ecn,
            size,
            bytes,
        };
        let siblings = self.siblings.get();
        match siblings.map_or(Err(NO_SIBLING), |siblings| siblings.pass(to, datagrams)) {
            Ok(()) => drop(self.metrics.datagrams_passed.inc_by(count)),
            Err(reason) => {
                let dropped = &self.metrics.datagrams_dropped;
                dropped.get_or_create(&Reason { reason }).inc_by(count);
            }
        }
    }

    /// Hands a tunnel datagram to the process from which this one took over; whether it could.
    pub(crate) fn pass_envelope(&self, envelope: &[u8]) -> bool {
        let siblings = self.siblings.get();
        siblings.is_some_and(|siblings| siblings.pass_envelope(envelope).is_ok())
    }

    /// The packet that answers a datagram whose verdict was [`Verdict::Negotiate`].
    pub(crate) fn negotiation(datagram: &[u8]) -> Option<Vec<u8>> {
        let Ok(Datagram::Long(header)) = Datagram::parse(datagram) else {
            return None;
        };
        let mut random = [0; 5];
        aws_lc_rs::rand::fill(&mut random).ok()?;
        Some(version_negotiation(&header, random))
    }

    /// The packet that answers a datagram whose verdict was [`Verdict::Reset`].
    pub(crate) fn reset(&self, datagram: &[u8]) -> Option<Vec<u8>> {
        let Ok(Datagram::Short(rest)) = Datagram::parse(datagram) else {
            return None;
        };
        let mut random = [0; RESET_RANDOM];
        aws_lc_rs::rand::fill(&mut random).ok()?;
        let cid = rest.get(..self.steer.load().slots().cid_len())?;
        stateless_reset(self.reset_token(cid), datagram.len(), random)
    }

    /// Counts a datagram that was dropped for this reason.
    pub(crate) fn count_drop(&self, reason: &'static str) {
        self.metrics
            .datagrams_dropped
            .get_or_create(&Reason { reason })
            .inc();
    }

    /// Whether copies of foreign datagrams are handed to this node's endpoint.
    pub(crate) fn copies_foreign(&self) -> bool {
        matches!(self.fault, Some(Fault::LaxValidate | Fault::StrayCopies))
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
        .chain([NO_TUNNEL, EARLY_FULL, EARLY_TIMEOUT])
        .chain(super::sibling::DROP_REASONS)
        .chain(super::socket::DROP_REASONS)
        .chain(super::tunnel::DROP_REASONS)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where steering reads a clock"
)]
fn now() -> Instant {
    Instant::now()
}

const NO_TUNNEL: &str = "no_tunnel";
const EARLY_FULL: &str = "early_full";
const EARLY_TIMEOUT: &str = "early_timeout";

//! What the socket and the tunnel share: the current steering rules, the way to peers, and the
//! counters of both.

use std::slice::Chunks;
use std::sync::{Arc, OnceLock};

use super::tunnel::Forwarder;
use crate::fleet::NodeId;
use crate::steer::{Arrival, DropReason, Steer, Verdict};
use crate::telemetry::{Metrics, Reason};
use crate::wire::{Datagram, Ecn, Path, version_negotiation};

/// Decides for each datagram and counts the decision.
#[derive(Debug)]
pub(crate) struct Steering {
    steer: Steer,
    forwarder: OnceLock<Arc<Forwarder>>,
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
    /// Starts with these rules and no way to any peer.
    pub(crate) fn new(steer: Steer, metrics: Metrics, fault: Option<Fault>) -> Self {
        Self {
            steer,
            forwarder: OnceLock::new(),
            metrics,
            fault,
        }
    }

    /// Sets the way to the peers, once.
    pub(crate) fn connect(&self, forwarder: Arc<Forwarder>) {
        // A second call would be a second tunnel; the first one stays in use.
        drop(self.forwarder.set(forwarder));
    }

    #[cfg(test)]
    pub(crate) fn forwarder(&self) -> Option<&Arc<Forwarder>> {
        self.forwarder.get()
    }

    /// Decides for one datagram.
    pub(crate) fn decide(&self, datagram: &[u8], arrival: Arrival) -> Verdict {
        let mut verdict = self.steer.handle(datagram, arrival);
        if self.fault == Some(Fault::NoForwarding) && matches!(verdict, Verdict::Forward(_)) {
            verdict = Verdict::Local;
        }
        if arrival == Arrival::Direct {
            self.metrics.datagrams_received.inc();
        }
        match verdict {
            Verdict::Local => {
                self.metrics.datagrams_local.inc();
            }
            Verdict::Drop(reason) => self.count_drop(reason.name()),
            Verdict::Negotiate => {
                self.metrics.version_negotiations.inc();
            }
            Verdict::Forward(_) => {}
        }
        verdict
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

    /// The packet that answers a datagram whose verdict was [`Verdict::Negotiate`].
    pub(crate) fn negotiation(datagram: &[u8]) -> Option<Vec<u8>> {
        let Ok(Datagram::Long(header)) = Datagram::parse(datagram) else {
            return None;
        };
        let mut random = [0; 5];
        aws_lc_rs::rand::fill(&mut random).ok()?;
        Some(version_negotiation(&header, random))
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
    let own = DropReason::ALL.map(DropReason::name);
    for reason in own
        .into_iter()
        .chain([NO_TUNNEL])
        .chain(super::socket::DROP_REASONS)
        .chain(super::tunnel::DROP_REASONS)
    {
        drop(metrics.datagrams_dropped.get_or_create(&Reason { reason }));
    }
}

const NO_TUNNEL: &str = "no_tunnel";

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::Guard;

use super::{Fault, Steering, now};
use crate::steer::{Arrival, Inbound, Steer, Verdict};

/// Decides for the datagrams of one batch, by one clock reading and one state of the rules, and counts
/// the decisions when it is dropped.
#[derive(Debug)]
pub(crate) struct Judge<'a> {
    steering: &'a Steering,
    steer: Guard<Arc<Steer>>,
    now: Instant,
    source: SocketAddr,
    arrival: Arrival,
    received: u64,
    local: u64,
}

impl Steering {
    /// Begins with a batch from this client.
    pub(crate) fn judge(&self, source: SocketAddr, arrival: Arrival) -> Judge<'_> {
        Judge {
            steering: self,
            steer: self.steer.load(),
            now: now(),
            source,
            arrival,
            received: 0,
            local: 0,
        }
    }
}

impl Judge<'_> {
    /// When the batch is looked at.
    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    /// Decides for one datagram.
    pub(crate) fn decide(&mut self, datagram: &[u8]) -> Verdict {
        let inbound = Inbound {
            datagram,
            source: self.source,
            arrival: self.arrival,
        };
        let tables = || self.steering.tables.lock().expect("no holder panics");
        let mut verdict = self.steer.handle(self.now, &inbound, tables);
        let fault = self.steering.fault;
        if fault == Some(Fault::NoForwarding) && matches!(verdict, Verdict::Forward(_)) {
            verdict = Verdict::Accept(0);
        }
        // What waits is counted when it no longer does.
        self.received += u64::from(verdict != Verdict::Wait);
        let metrics = &self.steering.metrics;
        match verdict {
            Verdict::Local(_) | Verdict::Accept(_) => self.local += 1,
            Verdict::Drop(reason) => self.steering.count_drop(reason.name()),
            Verdict::Negotiate => drop(metrics.version_negotiations.inc()),
            Verdict::Reset => drop(metrics.resets.inc()),
            Verdict::Forward(_) | Verdict::Sibling(_) | Verdict::Wait => {}
        }
        verdict
    }
}

impl Drop for Judge<'_> {
    fn drop(&mut self) {
        let metrics = &self.steering.metrics;
        if self.arrival == Arrival::Direct {
            metrics.datagrams_received.inc_by(self.received);
        }
        metrics.datagrams_local.inc_by(self.local);
    }
}

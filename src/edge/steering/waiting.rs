use std::sync::atomic::Ordering;

use super::{EARLY_FULL, EARLY_TIMEOUT, Steering, now};
use crate::edge::socket::Injected;
use crate::steer::EarlyKey;
use crate::wire::Datagram;

impl Steering {
    /// Keeps a datagram whose verdict was [`Verdict::Wait`](crate::steer::Verdict::Wait).
    pub(super) fn hold(&self, datagram: Injected) {
        let Ok(Datagram::Long(header)) = Datagram::parse(&datagram.bytes) else {
            return;
        };
        let Some(key) = EarlyKey::new(header.destination, datagram.origin.path.source) else {
            return;
        };
        let mut waiting = self.waiting.lock().expect("no holder panics");
        if waiting.hold(now(), key, datagram).is_err() {
            self.metrics.datagrams_received.inc();
            self.count_drop(EARLY_FULL);
        }
        self.any_waits.store(true, Ordering::Relaxed);
    }

    /// Decides again on early data whose Initial has come since.
    pub(crate) fn take_released(&self) {
        for released in self.released() {
            self.take(&released.batch());
        }
    }

    fn released(&self) -> Vec<Injected> {
        if !self.any_waits.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let now = now();
        let mut waiting = self.waiting.lock().expect("no holder panics");
        let tables = self.tables.lock().expect("no holder panics");
        let released = waiting.release(now, |key| tables.early.get(now, key).is_some());
        self.any_waits.store(!waiting.is_empty(), Ordering::Relaxed);
        self.metrics.datagrams_received.inc_by(released.expired);
        self.count_drops(EARLY_TIMEOUT, released.expired);
        released.known
    }
}

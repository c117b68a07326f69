use std::sync::Mutex;

use rustls::pki_types::UnixTime;
use rustls::server::{ProducesTickets, StoresServerSessions};

use crate::session::{Room, SingleUseSessions};
use crate::telemetry::Metrics;

/// The sessions whose clients may send early data, kept by this process alone.
#[derive(Debug)]
pub(crate) struct EarlySessions {
    sessions: Mutex<SingleUseSessions>,
    metrics: Metrics,
}

impl EarlySessions {
    /// Keeps at most `capacity` sessions; two are made in each handshake.
    pub(crate) fn new(capacity: usize, metrics: Metrics) -> Self {
        Self {
            sessions: Mutex::new(SingleUseSessions::new(capacity)),
            metrics,
        }
    }

    /// Forgets all of them, because early data keeps to the limits that its session began with (RFC
    /// 9000, section 7.4.1) and those may have been lowered.
    pub(crate) fn clear(&self) {
        self.sessions.lock().expect("no holder panics").clear();
    }
}

impl StoresServerSessions for EarlySessions {
    fn put(&self, id: Vec<u8>, session: Vec<u8>) -> bool {
        let now = UnixTime::now().as_secs();
        let mut sessions = self.sessions.lock().expect("no holder panics");
        if sessions.put(now, id, session) == Room::Displaced {
            self.metrics.early_sessions_displaced.inc();
        }
        true
    }

    /// Gives nothing, because a session that stays could be used again. Only TLS 1.2 asks.
    fn get(&self, _id: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn take(&self, id: &[u8]) -> Option<Vec<u8>> {
        self.sessions.lock().expect("no holder panics").take(id)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

/// No tickets: the TLS library takes early data only where it keeps the sessions itself (RFC 8446,
/// section 8.1).
#[derive(Debug)]
pub(super) struct NoTickets;

impl ProducesTickets for NoTickets {
    fn enabled(&self) -> bool {
        false
    }

    fn lifetime(&self) -> u32 {
        0
    }

    fn encrypt(&self, _session: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn decrypt(&self, _ticket: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_beyond_the_limit_displace_the_oldest_and_are_counted() {
        let metrics = Metrics::default();
        let sessions = EarlySessions::new(2, metrics.clone());
        for id in 1..=3 {
            assert!(sessions.put(vec![id], vec![id]));
        }
        assert_eq!(metrics.early_sessions_displaced.get(), 1);
        assert_eq!(sessions.take(&[1]), None);
        assert_eq!(sessions.take(&[3]), Some(vec![3]));
        assert_eq!(sessions.take(&[3]), None);
    }

    #[test]
    fn a_session_is_never_lent() {
        let sessions = EarlySessions::new(2, Metrics::default());
        sessions.put(vec![1], vec![1]);
        assert_eq!(sessions.get(&[1]), None);
    }
}

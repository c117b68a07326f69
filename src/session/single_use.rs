use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::mem;
use std::time::Duration;

use zeroize::Zeroizing;

/// TLS sessions that this process keeps, each of which can be resumed once.
///
/// That a session is gone after its first use is what keeps early data from being executed again
/// (RFC 8446, section 8.1). It lasts [`SingleUseSessions::LIFETIME`]; beyond the capacity the oldest
/// makes room, and its client does a full handshake.
pub struct SingleUseSessions {
    sessions: BTreeMap<Vec<u8>, Zeroizing<Vec<u8>>>,
    /// In the order of their ends; sessions that were used are still in it.
    ends: VecDeque<(u64, Vec<u8>)>,
    capacity: usize,
}

/// What became of older sessions when one was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Nothing.
    Free,
    /// The oldest one had to go.
    Displaced,
}

impl SingleUseSessions {
    /// How long a session is good: 24 hours, which is what the TLS library tells clients.
    pub const LIFETIME: Duration = Duration::from_hours(24);

    /// Keeps at most `capacity` sessions.
    pub fn new(capacity: usize) -> Self {
        Self {
            sessions: BTreeMap::new(),
            ends: VecDeque::new(),
            capacity,
        }
    }

    /// Keeps a session under a random ID, at a time given as seconds since 1970.
    pub fn put(&mut self, now: u64, id: Vec<u8>, session: Vec<u8>) -> Room {
        while self.ends.front().is_some_and(|(end, _)| *end <= now) {
            self.forget_oldest();
        }
        let room = if self.ends.len() >= self.capacity {
            self.forget_oldest()
        } else {
            Room::Free
        };
        self.ends
            .push_back((now + Self::LIFETIME.as_secs(), id.clone()));
        self.sessions.insert(id, session.into());
        room
    }

    /// Takes the session with this ID; the same ID never gives one again.
    pub fn take(&mut self, id: &[u8]) -> Option<Vec<u8>> {
        let mut session = self.sessions.remove(id)?;
        Some(mem::take(&mut *session))
    }

    /// Forgets every session.
    pub fn clear(&mut self) {
        self.sessions.clear();
        self.ends.clear();
    }

    fn forget_oldest(&mut self) -> Room {
        let oldest = self.ends.pop_front();
        match oldest.and_then(|(_, id)| self.sessions.remove(&id)) {
            Some(_) => Room::Displaced,
            None => Room::Free,
        }
    }
}

impl fmt::Debug for SingleUseSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SingleUseSessions")
            .field("kept", &self.sessions.len())
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    #[test]
    fn a_session_is_given_once() {
        let mut sessions = SingleUseSessions::new(2);
        assert_eq!(sessions.put(NOW, vec![1], vec![11]), Room::Free);
        assert_eq!(sessions.take(&[1]), Some(vec![11]));
        assert_eq!(sessions.take(&[1]), None);
    }

    #[test]
    fn the_oldest_makes_room_and_is_counted_unless_it_was_used() {
        let mut sessions = SingleUseSessions::new(2);
        for id in 1..=2 {
            assert_eq!(sessions.put(NOW, vec![id], vec![id]), Room::Free);
        }
        assert_eq!(sessions.put(NOW, vec![3], vec![3]), Room::Displaced);
        assert_eq!(sessions.take(&[1]), None);
        assert_eq!(sessions.take(&[2]), Some(vec![2]));
        assert_eq!(sessions.put(NOW, vec![4], vec![4]), Room::Free);
        assert_eq!(sessions.take(&[3]), Some(vec![3]));
    }

    #[test]
    fn a_session_ends_after_its_lifetime() {
        let mut sessions = SingleUseSessions::new(10);
        sessions.put(NOW, vec![1], vec![1]);
        let end = NOW + SingleUseSessions::LIFETIME.as_secs();
        sessions.put(end, vec![2], vec![2]);
        assert_eq!(sessions.take(&[1]), None);
        assert_eq!(sessions.take(&[2]), Some(vec![2]));
    }

    #[test]
    fn debug_output_holds_no_session() {
        let mut sessions = SingleUseSessions::new(10);
        sessions.put(NOW, vec![1], vec![171]);
        assert_eq!(
            format!("{sessions:?}"),
            "SingleUseSessions { kept: 1, capacity: 10, .. }"
        );
    }
}

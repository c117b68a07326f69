use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::EarlyKey;

/// Early data that overtook the Initial of its connection, which alone tells where it belongs.
///
/// A datagram waits at most [`Waiting::TIME`]. No flow has more than [`Waiting::PER_FLOW`] of them, and
/// all together no more than [`Waiting::CAPACITY`].
#[derive(Debug)]
pub struct Waiting<T> {
    held: VecDeque<(Instant, EarlyKey, T)>,
}

/// There is no room for another datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too much early data waits for its Initial")]
pub struct WaitingFull;

/// What no longer waits.
#[derive(Debug, PartialEq, Eq)]
pub struct Released<T> {
    /// Datagrams whose flow is known now, in their order.
    pub known: Vec<T>,
    /// How many waited in vain.
    pub expired: u64,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self {
            held: VecDeque::new(),
        }
    }
}

impl<T> Waiting<T> {
    /// How long a datagram waits: longer than a network reorders within a flight.
    pub const TIME: Duration = Duration::from_millis(25);
    /// The most datagrams of one flow.
    pub const PER_FLOW: usize = 3;
    /// The most datagrams: each look at them is a walk through all.
    pub const CAPACITY: usize = 64;

    /// Lets a datagram of a flow wait.
    ///
    /// # Errors
    /// When too many wait already.
    pub fn hold(&mut self, now: Instant, key: EarlyKey, datagram: T) -> Result<(), WaitingFull> {
        let of_flow = self.held.iter().filter(|(_, other, _)| *other == key);
        if self.held.len() >= Self::CAPACITY || of_flow.count() >= Self::PER_FLOW {
            return Err(WaitingFull);
        }
        self.held.push_back((now + Self::TIME, key, datagram));
        Ok(())
    }

    /// Gives back the datagrams whose flow is known now, and gives up those that waited too long.
    pub fn release(&mut self, now: Instant, known: impl Fn(&EarlyKey) -> bool) -> Released<T> {
        let mut released = Released {
            known: Vec::new(),
            expired: 0,
        };
        for (end, key, datagram) in std::mem::take(&mut self.held) {
            if now >= end {
                released.expired += 1;
            } else if known(&key) {
                released.known.push(datagram);
            } else {
                self.held.push_back((end, key, datagram));
            }
        }
        released
    }

    /// Datagrams that wait.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steer::start;

    fn key(number: u8) -> EarlyKey {
        EarlyKey::new(&[number; 8], ([192, 0, 2, 1], 1000).into()).unwrap()
    }

    #[test]
    fn a_datagram_is_given_back_when_its_flow_becomes_known() {
        let now = start();
        let mut waiting = Waiting::default();
        for (flow, datagram) in [(1, 'a'), (2, 'b'), (1, 'c')] {
            waiting.hold(now, key(flow), datagram).unwrap();
        }
        let released = waiting.release(now, |known| *known == key(1));
        assert_eq!(released.known, ['a', 'c']);
        assert_eq!(released.expired, 0);
        assert_eq!(waiting.release(now, |_| true).known, ['b']);
        assert!(waiting.is_empty());
    }

    #[test]
    fn a_datagram_waits_no_longer_than_its_time() {
        let now = start();
        let mut waiting = Waiting::default();
        waiting.hold(now, key(1), ()).unwrap();
        let released = waiting.release(now + Waiting::<()>::TIME, |_| true);
        assert_eq!((released.known.len(), released.expired), (0, 1));
        assert!(waiting.is_empty());
    }

    #[test]
    fn a_flow_has_three_places_and_a_flood_has_a_bound() {
        let now = start();
        let mut waiting = Waiting::default();
        for _ in 0..3 {
            waiting.hold(now, key(1), ()).unwrap();
        }
        assert_eq!(waiting.hold(now, key(1), ()), Err(WaitingFull));
        for flow in 2..63 {
            waiting.hold(now, key(flow), ()).unwrap();
        }
        assert_eq!(waiting.hold(now, key(63), ()), Err(WaitingFull));
    }
}

//! Which upstream of a route gets the next request.
//!
//! Indices go in and out; what they stand for, and whether it is reachable, is the caller's.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Takes each index in turn, starting with 0.
#[derive(Debug, Default)]
pub struct RoundRobin {
    next: AtomicUsize,
}

impl RoundRobin {
    /// Returns the next index below `count`.
    ///
    /// Shared by any number of threads, `count` calls in a row return every index once as long as
    /// `count` stays the same.
    pub fn pick(&self, count: NonZeroUsize) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed) % count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_gets_its_turn() {
        let turn = RoundRobin::default();
        let three = NonZeroUsize::new(3).unwrap();
        let picked: Vec<usize> = (0..7).map(|_| turn.pick(three)).collect();
        assert_eq!(picked, [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn an_overflowing_count_stays_in_bounds() {
        let turn = RoundRobin {
            next: AtomicUsize::new(usize::MAX),
        };
        let three = NonZeroUsize::new(3).unwrap();
        assert!((0..4).all(|_| turn.pick(three) < 3));
    }
}

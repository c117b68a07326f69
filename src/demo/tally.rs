use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// What one transport has been through, counted by its clients.
#[derive(Debug, Default)]
pub(super) struct Tally {
    requests: AtomicU64,
    lost: AtomicU64,
    truncated: AtomicU64,
    reconnects: AtomicU64,
    downloaded: AtomicU64,
    uploaded: AtomicU64,
    in_flight: AtomicU64,
    recovered: Mutex<Vec<Duration>>,
    first_failure: Mutex<Option<String>>,
}

/// What one transport's clients had counted at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests sent, each attempt counted.
    pub requests: u64,
    /// Requests that did not end with their whole, right response.
    pub lost: u64,
    /// Of those, requests whose response had begun.
    pub truncated: u64,
    /// Connections made to replace lost ones.
    pub reconnects: u64,
    /// Body bytes received and checked.
    pub downloaded: u64,
    /// Body bytes sent and confirmed by their hash.
    pub uploaded: u64,
}

impl Totals {
    /// Requests that ended with their whole, right response.
    pub fn answered(&self) -> u64 {
        self.requests - self.lost
    }
}

/// Which way the bytes of a request go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Down,
    Up,
}

/// How a request failed, and why.
#[derive(Debug)]
pub(super) enum Failure {
    /// No response had begun.
    Lost(String),
    /// The response broke off, or is not what it should be.
    Truncated(String),
}

impl Tally {
    pub(super) fn sent(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn answered(&self, direction: Direction, bytes: u64) {
        match direction {
            Direction::Down => &self.downloaded,
            Direction::Up => &self.uploaded,
        }
        .fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, failure: Failure) {
        let reason = match failure {
            Failure::Lost(reason) => reason,
            Failure::Truncated(reason) => {
                self.truncated.fetch_add(1, Ordering::Relaxed);
                reason
            }
        };
        self.lost.fetch_add(1, Ordering::Relaxed);
        lock(&self.first_failure).get_or_insert(reason);
    }

    pub(super) fn reconnected(&self) {
        self.reconnects.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a body as in flight until the guard is dropped.
    pub(super) fn body_in_flight(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self)
    }

    pub(super) fn has_body_in_flight(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) > 0
    }

    pub(super) fn totals(&self) -> Totals {
        // Losses first: a request is counted before it can be lost.
        let lost = self.lost.load(Ordering::Relaxed);
        Totals {
            requests: self.requests.load(Ordering::Relaxed),
            lost,
            truncated: self.truncated.load(Ordering::Relaxed),
            reconnects: self.reconnects.load(Ordering::Relaxed),
            downloaded: self.downloaded.load(Ordering::Relaxed),
            uploaded: self.uploaded.load(Ordering::Relaxed),
        }
    }

    pub(super) fn recovered(&self) -> Vec<Duration> {
        lock(&self.recovered).clone()
    }

    pub(super) fn first_failure(&self) -> Option<String> {
        lock(&self.first_failure).clone()
    }
}

/// A body in flight.
#[derive(Debug)]
pub(super) struct InFlight<'a>(&'a Tally);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// When every move so far took effect.
#[derive(Debug, Default)]
pub(super) struct Moves(RwLock<Vec<Instant>>);

impl Moves {
    pub(super) fn push(&self, at: Instant) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(at);
    }
}

/// Measures how long after each move one client receives again.
///
/// What arrives sooner than the relay's delay after a move was sent before it and proves nothing.
#[derive(Debug)]
pub(super) struct Recovery {
    delay: Duration,
    seen: usize,
}

impl Recovery {
    pub(super) fn new(delay: Duration) -> Self {
        Self { delay, seen: 0 }
    }

    /// Takes note that something has arrived.
    pub(super) fn arrived(&mut self, now: Instant, moves: &Moves, tally: &Tally) {
        let moves = moves.0.read().unwrap_or_else(PoisonError::into_inner);
        while let Some(at) = moves.get(self.seen)
            && now > *at + self.delay
        {
            self.seen += 1;
            lock(&tally.recovered).push(now.duration_since(*at));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testbed::now;

    #[test]
    fn recovery_is_measured_once_a_move_and_not_by_what_was_sent_before_it() {
        let ms = Duration::from_millis;
        let (start, moves, tally) = (now(), Moves::default(), Tally::default());
        let mut recovery = Recovery::new(ms(5));
        recovery.arrived(start, &moves, &tally);
        moves.push(start);
        recovery.arrived(start + ms(5), &moves, &tally);
        assert!(tally.recovered().is_empty());
        recovery.arrived(start + ms(6), &moves, &tally);
        recovery.arrived(start + ms(7), &moves, &tally);
        assert_eq!(tally.recovered(), [ms(6)]);
    }

    #[test]
    fn a_client_that_misses_moves_recovers_from_each_of_them() {
        let ms = Duration::from_millis;
        let (start, moves, tally) = (now(), Moves::default(), Tally::default());
        let mut recovery = Recovery::new(ms(5));
        moves.push(start);
        moves.push(start + ms(100));
        moves.push(start + ms(150));
        recovery.arrived(start + ms(152), &moves, &tally);
        assert_eq!(tally.recovered(), [ms(152), ms(52)]);
    }

    #[test]
    fn a_truncated_request_is_lost_too() {
        let tally = Tally::default();
        for _ in 0..3 {
            tally.sent();
        }
        tally.failed(Failure::Lost("first".into()));
        tally.failed(Failure::Truncated("second".into()));
        tally.answered(Direction::Down, 10);
        let totals = tally.totals();
        assert_eq!((totals.lost, totals.truncated), (2, 1));
        assert_eq!((totals.answered(), totals.downloaded), (1, 10));
        assert_eq!(tally.first_failure().as_deref(), Some("first"));
    }

    #[test]
    fn a_body_is_in_flight_until_its_guard_is_dropped() {
        let tally = Tally::default();
        let guard = tally.body_in_flight();
        assert!(tally.has_body_in_flight());
        drop(guard);
        assert!(!tally.has_body_in_flight());
    }
}

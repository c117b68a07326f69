use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::plan::Event;

/// What one transport has been through, counted by its clients.
#[derive(Debug, Default)]
pub(super) struct Tally {
    requests: AtomicU64,
    lost: AtomicU64,
    truncated: AtomicU64,
    reconnects: AtomicU64,
    downloaded: AtomicU64,
    uploaded: AtomicU64,
    retried: AtomicU64,
    in_flight: AtomicU64,
    after: [After; Event::ALL.len()],
    first_failure: Mutex<Option<String>>,
}

/// The same after events of one kind.
#[derive(Debug, Default)]
struct After {
    in_flight: AtomicU64,
    lost: AtomicU64,
    truncated: AtomicU64,
    reconnects: AtomicU64,
    retried: AtomicU64,
    recovered: Mutex<Vec<Duration>>,
}

/// What one transport went through after the events of one kind, each until the next event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aftermath {
    /// Events that found a body in flight.
    pub in_flight: u64,
    /// Requests that did not end with their whole, right response.
    pub lost: u64,
    /// Of those, requests whose response had begun.
    pub truncated: u64,
    /// Connections made to replace others.
    pub reconnects: u64,
    /// Requests that failed and were sent once more.
    pub retried: u64,
    /// From each event to the next byte or response that a client received after it, sorted.
    pub recovered: Vec<Duration>,
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
    /// Connections made to replace others.
    pub reconnects: u64,
    /// Requests that failed and were sent once more, which does not count as lost.
    pub retried: u64,
    /// Body bytes received and checked.
    pub downloaded: u64,
    /// Body bytes sent and confirmed by their hash.
    pub uploaded: u64,
}

impl Totals {
    /// Requests that ended with their whole, right response.
    pub fn answered(&self) -> u64 {
        self.requests - self.lost - self.retried
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
    /// It came after a GOAWAY and was certainly not processed.
    Unprocessed(String),
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

    /// Counts a failure after an event.
    pub(super) fn failed(&self, failure: Failure, after: Option<Event>) {
        let after = after.map(|event| &self.after[event.index()]);
        let count = |all: &AtomicU64, one: Option<&AtomicU64>| {
            for counter in std::iter::once(all).chain(one) {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        };
        let reason = match failure {
            Failure::Lost(reason) | Failure::Unprocessed(reason) => reason,
            Failure::Truncated(reason) => {
                count(&self.truncated, after.map(|after| &after.truncated));
                reason
            }
        };
        count(&self.lost, after.map(|after| &after.lost));
        lock(&self.first_failure).get_or_insert(reason);
    }

    /// Counts a request that failed after an event and is sent once more.
    pub(super) fn retried(&self, after: Event) {
        self.retried.fetch_add(1, Ordering::Relaxed);
        self.after[after.index()]
            .retried
            .fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a new connection after an event.
    pub(super) fn reconnected(&self, after: Option<Event>) {
        self.reconnects.fetch_add(1, Ordering::Relaxed);
        if let Some(event) = after {
            self.after[event.index()]
                .reconnects
                .fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts an event that is about to happen; whether it finds a body in flight is the answer.
    pub(super) fn happens(&self, event: Event) -> bool {
        let in_flight = self.in_flight.load(Ordering::Relaxed) > 0;
        self.after[event.index()]
            .in_flight
            .fetch_add(in_flight.into(), Ordering::Relaxed);
        in_flight
    }

    /// Counts a body as in flight until the guard is dropped.
    pub(super) fn body_in_flight(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self)
    }

    pub(super) fn totals(&self) -> Totals {
        // Losses first: a request is counted before it can be lost.
        let lost = self.lost.load(Ordering::Relaxed);
        let retried = self.retried.load(Ordering::Relaxed);
        Totals {
            requests: self.requests.load(Ordering::Relaxed),
            lost,
            truncated: self.truncated.load(Ordering::Relaxed),
            reconnects: self.reconnects.load(Ordering::Relaxed),
            retried,
            downloaded: self.downloaded.load(Ordering::Relaxed),
            uploaded: self.uploaded.load(Ordering::Relaxed),
        }
    }

    /// What came after the events of one kind.
    pub(super) fn aftermath(&self, event: Event) -> Aftermath {
        let after = &self.after[event.index()];
        let mut recovered = lock(&after.recovered).clone();
        recovered.sort_unstable();
        Aftermath {
            in_flight: after.in_flight.load(Ordering::Relaxed),
            lost: after.lost.load(Ordering::Relaxed),
            truncated: after.truncated.load(Ordering::Relaxed),
            reconnects: after.reconnects.load(Ordering::Relaxed),
            retried: after.retried.load(Ordering::Relaxed),
            recovered,
        }
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

/// When every event so far took effect.
#[derive(Debug, Default)]
pub(super) struct Moves(RwLock<Vec<(Instant, Event)>>);

impl Moves {
    pub(super) fn push(&self, at: Instant, event: Event) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push((at, event));
    }

    /// The last event.
    pub(super) fn last(&self) -> Option<Event> {
        self.last_of(|_| true)
    }

    /// The last event for which this is so.
    pub(super) fn last_of(&self, so: impl Fn(Event) -> bool) -> Option<Event> {
        let moves = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut events = moves.iter().rev().map(|(_, event)| *event);
        events.find(|event| so(*event))
    }

    /// How often an event of this kind has happened.
    pub(super) fn count(&self, kind: Event) -> u64 {
        let moves = self.0.read().unwrap_or_else(PoisonError::into_inner);
        moves.iter().filter(|(_, event)| *event == kind).count() as u64
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
        while let Some((at, event)) = moves.get(self.seen)
            && now > *at + self.delay
        {
            self.seen += 1;
            lock(&tally.after[event.index()].recovered).push(now.duration_since(*at));
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
        moves.push(start, Event::Flip);
        recovery.arrived(start + ms(5), &moves, &tally);
        assert!(tally.aftermath(Event::Flip).recovered.is_empty());
        recovery.arrived(start + ms(6), &moves, &tally);
        recovery.arrived(start + ms(7), &moves, &tally);
        assert_eq!(tally.aftermath(Event::Flip).recovered, [ms(6)]);
    }

    #[test]
    fn a_client_that_misses_moves_recovers_from_each_of_them() {
        let ms = Duration::from_millis;
        let (start, moves, tally) = (now(), Moves::default(), Tally::default());
        let mut recovery = Recovery::new(ms(5));
        moves.push(start, Event::Flip);
        moves.push(start + ms(100), Event::Kill);
        moves.push(start + ms(150), Event::Flip);
        recovery.arrived(start + ms(152), &moves, &tally);
        assert_eq!(tally.aftermath(Event::Flip).recovered, [ms(152)]);
        assert_eq!(tally.aftermath(Event::Kill).recovered, [ms(52)]);
        recovery.arrived(start + ms(156), &moves, &tally);
        assert_eq!(tally.aftermath(Event::Flip).recovered, [ms(6), ms(152)]);
        assert_eq!(tally.aftermath(Event::Kill).recovered, [ms(52)]);
    }

    #[test]
    fn a_truncated_request_is_lost_too() {
        let tally = Tally::default();
        for _ in 0..3 {
            tally.sent();
        }
        tally.failed(Failure::Lost("first".into()), None);
        tally.failed(Failure::Truncated("second".into()), Some(Event::Drain));
        tally.answered(Direction::Down, 10);
        let totals = tally.totals();
        assert_eq!((totals.lost, totals.truncated), (2, 1));
        assert_eq!((totals.answered(), totals.downloaded), (1, 10));
        assert_eq!(tally.first_failure().as_deref(), Some("first"));
        let drain = tally.aftermath(Event::Drain);
        assert_eq!((drain.lost, drain.truncated), (1, 1));
    }

    #[test]
    fn a_body_is_in_flight_until_its_guard_is_dropped() {
        let tally = Tally::default();
        let guard = tally.body_in_flight();
        assert!(tally.happens(Event::Flip));
        drop(guard);
        assert!(!tally.happens(Event::Flip));
        assert_eq!(tally.aftermath(Event::Flip).in_flight, 1);
    }
}

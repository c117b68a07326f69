use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use crate::request::PathFacts;
use crate::telemetry::{Metrics, PathChange};

/// Follows the client addresses of all connections of one endpoint.
///
/// quinn has no event for a migration, and the address that it shows is not validated. So regular
/// sweeps look at a thousand connections each, in turn.
#[derive(Debug)]
pub(crate) struct Paths {
    watched: Mutex<Ring>,
    metrics: Metrics,
}

/// Connections in no order, and the one to look at next.
#[derive(Debug, Default)]
struct Ring {
    connections: Vec<Weak<Watched>>,
    next: usize,
}

/// One connection's client address, last validated.
#[derive(Debug)]
pub(crate) struct Watched {
    connection: quinn::Connection,
    facts: Arc<PathFacts>,
    tracker: Mutex<Tracker>,
}

/// Decides when an address counts as validated.
///
/// An attacker can make packets of a client come from any address, so an address proves nothing
/// until path validation (RFC 9000, section 8.2) succeeded. quinn tells neither success nor
/// failure, but on failure it returns to the previous address within three times the larger PTO.
/// An address that stays longer than that, without another challenge having been sent, was
/// validated.
#[derive(Debug)]
struct Tracker {
    validated: SocketAddr,
    seen: SocketAddr,
    since: Instant,
    challenges: u64,
    slowest_rtt: Duration,
}

/// What a sweep sees of a connection.
#[derive(Clone, Copy, Debug)]
struct Sight {
    address: SocketAddr,
    challenges: u64,
    rtt: Duration,
}

impl Paths {
    /// Starts with no connection.
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self {
            watched: Mutex::default(),
            metrics,
        }
    }

    /// Follows a connection whose address is proven, by a complete handshake or by its token.
    pub(crate) fn watch(
        &self,
        connection: quinn::Connection,
        facts: Arc<PathFacts>,
        now: Instant,
    ) -> Arc<Watched> {
        let tracker = Mutex::new(Tracker::new(Sight::of(&connection), now));
        let watched = Arc::new(Watched {
            connection,
            facts,
            tracker,
        });
        self.watched
            .lock()
            .expect("no holder panics")
            .connections
            .push(Arc::downgrade(&watched));
        watched
    }

    /// Looks at the next connections and forgets those that are gone. Due every
    /// [`SWEEP_INTERVAL`].
    pub(crate) fn sweep(&self, now: Instant) {
        let mut ring = self.watched.lock().expect("no holder panics");
        let Ring { connections, next } = &mut *ring;
        for _ in 0..connections.len().min(PER_SWEEP) {
            if *next >= connections.len() {
                *next = 0;
            }
            // A connection whose driver panicked panics whoever looks at it.
            let alive = connections[*next].upgrade().is_some_and(|watched| {
                catch_unwind(AssertUnwindSafe(|| self.look(&watched, now))).is_ok()
            });
            if alive {
                *next += 1;
            } else {
                connections.swap_remove(*next);
            }
        }
    }

    fn look(&self, watched: &Watched, now: Instant) {
        let sight = Sight::of(&watched.connection);
        let moved = watched
            .tracker
            .lock()
            .expect("no holder panics")
            .see(sight, now);
        if let Some((from, to)) = moved {
            watched.facts.count_change();
            let change = change(from, to);
            self.metrics.path_changes.get_or_create(&change).inc();
            tracing::debug!(%from, %to, ?change, "client moved");
        }
    }
}

impl Watched {
    /// The client's address, last validated.
    pub(crate) fn address(&self) -> SocketAddr {
        self.tracker.lock().expect("no holder panics").validated
    }

    /// What happened to the path so far.
    pub(crate) fn facts(&self) -> &Arc<PathFacts> {
        &self.facts
    }
}

impl Sight {
    fn of(connection: &quinn::Connection) -> Self {
        Self {
            address: connection.remote_address(),
            challenges: connection.stats().frame_tx.path_challenge,
            rtt: connection.rtt(),
        }
    }
}

impl Tracker {
    fn new(sight: Sight, now: Instant) -> Self {
        Self {
            validated: sight.address,
            seen: sight.address,
            since: now,
            challenges: sight.challenges,
            slowest_rtt: sight.rtt,
        }
    }

    /// Takes what a sweep saw; gives the old and new address when the client moved.
    fn see(&mut self, sight: Sight, now: Instant) -> Option<(SocketAddr, SocketAddr)> {
        let moved = (sight.address != self.seen).then_some((self.seen, sight.address));
        let settled = self.validated == self.seen;
        if moved.is_some() || sight.challenges != self.challenges {
            self.since = now;
            self.slowest_rtt = self.slowest_rtt.max(sight.rtt);
        } else if settled || now.duration_since(self.since) > self.proof() {
            self.validated = self.seen;
            self.slowest_rtt = sight.rtt;
        }
        self.seen = sight.address;
        self.challenges = sight.challenges;
        moved
    }

    /// How long an unvalidated address can stay: three PTOs (RFC 9002, section 6.2.1) of the slower
    /// path, with the RTT's variation taken as the RTT itself, twice what a new path starts with.
    fn proof(&self) -> Duration {
        3 * (self.slowest_rtt.max(INITIAL_RTT) * 5 + MAX_ACK_DELAY)
    }
}

/// What changed between two addresses.
fn change(from: SocketAddr, to: SocketAddr) -> PathChange {
    if from.ip() == to.ip() {
        PathChange::PORT
    } else if from.is_ipv4() == to.is_ipv4() {
        PathChange::ADDRESS
    } else {
        PathChange::FAMILY
    }
}

/// How often [`Paths::sweep`] is due.
pub(crate) const SWEEP_INTERVAL: Duration = Duration::from_millis(100);
/// Looking at a connection takes well under a microsecond, so a sweep holds up nothing for longer
/// than a millisecond and takes 1 % of a core. 100,000 connections are looked at every ten seconds.
const PER_SWEEP: usize = 1000;
/// What quinn assumes of a path that it has not measured (RFC 9002, section 6.2.2).
const INITIAL_RTT: Duration = Duration::from_millis(333);
/// The largest `max_ack_delay` that a client may ask for (RFC 9000, section 18.2). quinn waits as long
/// as the client asked, which it does not tell; with less, a client could have a false address
/// taken for its own by asking for more.
const MAX_ACK_DELAY: Duration = Duration::from_millis(1 << 14);

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(1000);

    fn sight(address: &str, challenges: u64) -> Sight {
        Sight {
            address: address.parse().unwrap(),
            challenges,
            rtt: RTT,
        }
    }

    fn start() -> (Tracker, Instant) {
        #[expect(clippy::disallowed_methods, reason = "only an origin for virtual time")]
        let now = Instant::now();
        (Tracker::new(sight("192.0.2.1:1000", 0), now), now)
    }

    #[test]
    fn a_new_address_is_not_used_before_it_stayed() {
        let (mut tracker, now) = start();
        let moved = tracker.see(sight("192.0.2.1:2000", 1), now);
        assert!(moved.is_some());
        tracker.see(sight("192.0.2.1:2000", 1), now + tracker.proof() / 2);
        assert_eq!(tracker.validated.port(), 1000);
        tracker.see(sight("192.0.2.1:2000", 1), now + tracker.proof() * 2);
        assert_eq!(tracker.validated.port(), 2000);
    }

    #[test]
    fn an_address_that_reverted_was_never_used() {
        let (mut tracker, now) = start();
        tracker.see(sight("198.51.100.9:1", 1), now);
        tracker.see(sight("192.0.2.1:1000", 1), now + RTT);
        tracker.see(sight("192.0.2.1:1000", 1), now + LONG);
        assert_eq!(tracker.validated.port(), 1000);
    }

    #[test]
    fn a_move_between_two_sweeps_starts_the_wait_anew() {
        let (mut tracker, now) = start();
        let proof = tracker.proof();
        tracker.see(sight("192.0.2.1:2000", 1), now);
        tracker.see(sight("192.0.2.1:2000", 3), now + proof * 2);
        assert_eq!(tracker.validated.port(), 1000);
        tracker.see(sight("192.0.2.1:2000", 3), now + proof * 4);
        assert_eq!(tracker.validated.port(), 2000);
    }

    #[test]
    fn an_address_on_a_path_that_had_grown_slow_waits_for_its_longer_timer() {
        let (mut tracker, now) = start();
        let slow = Sight {
            rtt: Duration::from_secs(8),
            ..sight("192.0.2.1:1000", 0)
        };
        tracker.see(slow, now);
        tracker.see(sight("198.51.100.9:1", 1), now);
        let timer = 3 * (slow.rtt + 4 * slow.rtt / 2);
        tracker.see(sight("198.51.100.9:1", 1), now + timer);
        assert_eq!(tracker.validated.port(), 1000);
    }

    #[test]
    fn a_change_is_of_port_address_or_family() {
        let change = |from: &str, to: &str| change(from.parse().unwrap(), to.parse().unwrap());
        assert_eq!(change("192.0.2.1:1", "192.0.2.1:2"), PathChange::PORT);
        assert_eq!(change("192.0.2.1:1", "192.0.2.2:1"), PathChange::ADDRESS);
        assert_eq!(change("192.0.2.1:1", "[2001:db8::1]:1"), PathChange::FAMILY);
    }
}

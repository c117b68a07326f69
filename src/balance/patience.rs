use std::time::{Duration, Instant};

/// How long a request may wait for its turn.
///
/// A queue that empties now and then only smooths a burst, and requests in it may wait. One that has
/// not been empty for a while is a standing queue: everybody waits and nobody is served sooner, so the
/// wait is cut to what hardly delays an answer, and the rest is refused at once (controlled delay, as in
/// Maurer's "Fail at Scale", 2015).
#[derive(Debug)]
pub struct Patience {
    terms: PatienceTerms,
    emptied: Instant,
}

/// The bounds of a [`Patience`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PatienceTerms {
    /// How long a request may wait in a burst; also how long a queue may stand before it is cut.
    pub burst: Duration,
    /// How long a request may wait in a standing queue.
    pub standing: Duration,
}

impl Patience {
    /// Begins with an empty queue.
    pub fn new(terms: PatienceTerms, now: Instant) -> Self {
        Self {
            terms,
            emptied: now,
        }
    }

    /// Bounds by these from here on.
    pub fn set_terms(&mut self, terms: PatienceTerms) {
        self.terms = terms;
    }

    /// Notes that nobody waits now.
    pub fn emptied(&mut self, now: Instant) {
        self.emptied = self.emptied.max(now);
    }

    /// How long a request may have waited that gets its turn now. One that begins to wait may get it any
    /// time within [`PatienceTerms::burst`] from now.
    pub fn bound(&self, now: Instant) -> Duration {
        if now.saturating_duration_since(self.emptied) > self.terms.burst {
            self.terms.standing
        } else {
            self.terms.burst
        }
    }
}

impl Default for PatienceTerms {
    /// 100 ms and 10 ms.
    fn default() -> Self {
        Self {
            burst: Duration::from_millis(100),
            standing: Duration::from_millis(10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::testing::start;

    #[test]
    fn a_standing_queue_has_less_patience_than_a_burst() {
        let after = |milliseconds| start() + Duration::from_millis(milliseconds);
        let mut patience = Patience::new(PatienceTerms::default(), start());
        assert_eq!(patience.bound(after(100)), Duration::from_millis(100));
        assert_eq!(patience.bound(after(101)), Duration::from_millis(10));
        patience.emptied(after(150));
        assert_eq!(patience.bound(after(250)), Duration::from_millis(100));
    }
}

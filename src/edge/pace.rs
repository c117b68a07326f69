use std::time::Duration;

/// Holds a client to a rate, averaged over the time that was spent waiting for it.
///
/// What it sends or takes while nobody waits counts for it; how long somebody else needs never counts
/// against it.
#[derive(Debug)]
pub(super) struct Pace {
    terms: PaceTerms,
    bytes: u64,
    waited: Duration,
}

/// The rate, and the time over which it is averaged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PaceTerms {
    /// Bytes a second; 0 is no rate.
    pub(crate) rate: u32,
    /// Waiting time, after which the rate is looked at and everything is counted anew.
    pub(crate) window: Duration,
}

/// The client was slower than its rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooSlow;

impl Pace {
    pub(super) fn new(terms: PaceTerms) -> Self {
        Self {
            terms,
            bytes: 0,
            waited: Duration::ZERO,
        }
    }

    /// Counts bytes that came, or that the client took.
    pub(super) fn moved(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Counts time that was spent waiting for the bytes before.
    pub(super) fn waited(&mut self, time: Duration) -> Result<(), TooSlow> {
        self.waited += time;
        if self.waited < self.terms.window {
            return Ok(());
        }
        let least = u128::from(self.terms.rate) * self.waited.as_millis() / 1000;
        if u128::from(self.bytes) < least {
            return Err(TooSlow);
        }
        *self = Self::new(self.terms);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const TERMS: PaceTerms = PaceTerms {
        rate: 10,
        window: Duration::from_mins(1),
    };

    #[test]
    fn who_moves_the_rate_goes_on_for_ever() {
        let mut pace = Pace::new(TERMS);
        for _ in 0..1000 {
            pace.moved(10);
            assert_eq!(pace.waited(SECOND), Ok(()));
        }
    }

    #[test]
    fn who_moves_less_is_found_out_within_a_window() {
        let mut pace = Pace::new(TERMS);
        for _ in 0..59 {
            pace.moved(9);
            assert_eq!(pace.waited(SECOND), Ok(()));
        }
        pace.moved(9);
        assert_eq!(pace.waited(SECOND), Err(TooSlow));
    }

    #[test]
    fn a_burst_counts_for_one_window_only() {
        let mut pace = Pace::new(TERMS);
        pace.moved(1 << 30);
        assert_eq!(pace.waited(TERMS.window), Ok(()));
        pace.moved(1);
        assert_eq!(pace.waited(TERMS.window), Err(TooSlow));
    }

    #[test]
    fn no_rate_is_no_bound() {
        let mut pace = Pace::new(PaceTerms { rate: 0, ..TERMS });
        assert_eq!(pace.waited(TERMS.window * 1000), Ok(()));
    }
}

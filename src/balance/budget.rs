use std::time::{Duration, Instant};

/// How many requests of a pool may be sent again, so that retries cannot multiply the load that made
/// them necessary.
///
/// In any ten seconds that is a share of the requests that came, and a fixed number beside it, so that
/// a quiet pool can retry too.
#[derive(Debug)]
pub struct RetryBudget {
    terms: RetryTerms,
    seconds: [Second; SECONDS],
    began: Instant,
    at: u64,
}

/// How much a [`RetryBudget`] grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryTerms {
    /// Retries for each hundred requests.
    pub percent: u32,
    /// Retries in each second whatever the requests.
    pub per_second: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Second {
    requests: u64,
    retries: u64,
}

impl RetryBudget {
    /// Begins without any request.
    pub fn new(terms: RetryTerms, now: Instant) -> Self {
        Self {
            terms,
            seconds: [Second::default(); SECONDS],
            began: now,
            at: 0,
        }
    }

    /// Grants by these from here on.
    pub fn set_terms(&mut self, terms: RetryTerms) {
        self.terms = terms;
    }

    /// Notes a request that is sent for the first time.
    pub fn request(&mut self, now: Instant) {
        self.turn_to(now).requests += 1;
    }

    /// Whether one may be sent again now; if so, that is noted.
    pub fn retry(&mut self, now: Instant) -> bool {
        self.turn_to(now);
        let sum = |count: fn(&Second) -> u64| self.seconds.iter().map(count).sum::<u64>();
        let (requests, retries) = (sum(|second| second.requests), sum(|second| second.retries));
        let share = requests.saturating_mul(self.terms.percent.into()) / 100;
        let fixed = u64::from(self.terms.per_second) * WINDOW;
        let granted = retries < share.saturating_add(fixed);
        if granted {
            self.turn_to(now).retries += 1;
        }
        granted
    }

    /// Forgets seconds that have gone out of the window, and gives the present one.
    fn turn_to(&mut self, now: Instant) -> &mut Second {
        let second = now.saturating_duration_since(self.began).as_secs();
        let passed = second.saturating_sub(self.at).min(WINDOW);
        for gone in 1..=passed {
            self.seconds[place(self.at + gone)] = Second::default();
        }
        self.at = self.at.max(second);
        &mut self.seconds[place(self.at)]
    }
}

impl Default for RetryTerms {
    /// 20 % and 10 a second.
    fn default() -> Self {
        Self {
            percent: 20,
            per_second: 10,
        }
    }
}

fn place(second: u64) -> usize {
    (second % WINDOW) as usize
}

const SECONDS: usize = 10;
const WINDOW: u64 = Duration::from_secs(SECONDS as u64).as_secs();

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::testing::start;

    fn granted(budget: &mut RetryBudget, now: Instant, asked: usize) -> usize {
        (0..asked).filter(|_| budget.retry(now)).count()
    }

    fn after(seconds: u64) -> Instant {
        start() + Duration::from_secs(seconds)
    }

    #[test]
    fn a_quiet_pool_has_the_fixed_number() {
        let mut budget = RetryBudget::new(RetryTerms::default(), start());
        assert_eq!(granted(&mut budget, start(), 500), 100);
        assert_eq!(granted(&mut budget, after(9), 500), 0);
        assert_eq!(granted(&mut budget, after(10), 500), 100);
    }

    #[test]
    fn a_busy_pool_has_a_share_of_its_requests_beside_it() {
        let mut budget = RetryBudget::new(RetryTerms::default(), start());
        for second in 0..10 {
            (0..1000).for_each(|_| budget.request(after(second)));
        }
        assert_eq!(granted(&mut budget, after(9), 5000), 2100);
        assert_eq!(
            granted(&mut budget, after(18), 5000),
            0,
            "200 of them are the last second's"
        );
    }

    #[test]
    fn nothing_is_granted_where_nothing_is_allowed() {
        let terms = RetryTerms {
            percent: 0,
            per_second: 0,
        };
        let mut budget = RetryBudget::new(terms, start());
        (0..1000).for_each(|_| budget.request(start()));
        assert!(!budget.retry(start()));
    }

    #[test]
    fn a_long_silence_is_forgotten_at_once() {
        let mut budget = RetryBudget::new(RetryTerms::default(), start());
        assert_eq!(granted(&mut budget, start(), 500), 100);
        assert_eq!(granted(&mut budget, after(1 << 40), 500), 100);
    }
}

use std::time::{Duration, Instant};

/// How often something may happen that is legal and costs more than it is worth: a store that time and
/// useful work fill again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    left: u32,
    most: u32,
    per_second: u32,
    filled: Instant,
}

impl Allowance {
    pub(super) fn full(most: u32, per_second: u32, now: Instant) -> Self {
        Self {
            left: most,
            most,
            per_second,
            filled: now,
        }
    }

    /// Takes as much as that, and says whether it was there.
    pub(super) fn spend(&mut self, amount: u32, now: Instant) -> Spent {
        if amount > self.left {
            self.fill(now);
        }
        match self.left.checked_sub(amount) {
            Some(left) => {
                self.left = left;
                Spent::Within
            }
            None => Spent::Over,
        }
    }

    /// Gives as much back.
    pub(super) fn earn(&mut self, amount: u32) {
        self.left = self.most.min(self.left.saturating_add(amount));
    }

    fn fill(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.filled).as_secs();
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        let gained = seconds.saturating_mul(self.per_second);
        self.left = self.left.saturating_add(gained).min(self.most);
        self.filled += Duration::from_secs(seconds.into());
    }
}

/// Whether an [`Allowance`] was enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spent {
    Within,
    Over,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_and_work_fill_what_was_spent() {
        let start = crate::http3::testing::start();
        let mut allowance = Allowance::full(10, 2, start);
        assert_eq!(allowance.spend(10, start), Spent::Within);
        assert_eq!(allowance.spend(1, start), Spent::Over);
        allowance.earn(1);
        assert_eq!(allowance.spend(1, start), Spent::Within);
        let later = start + Duration::from_millis(1500);
        assert_eq!(allowance.spend(2, later), Spent::Within);
        assert_eq!(allowance.spend(1, later), Spent::Over);
        let much_later = start + Duration::from_hours(1);
        assert_eq!(
            allowance.spend(11, much_later),
            Spent::Over,
            "never over the most"
        );
        assert_eq!(allowance.spend(10, much_later), Spent::Within);
    }
}

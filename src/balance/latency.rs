use std::time::{Duration, Instant};

/// How long a backend takes to answer: a mean that forgets with time, and takes a slower answer for
/// the mean at once, so that one that has become slow is avoided after a single answer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PeakEwma {
    seconds: f64,
    at: Option<Instant>,
}

impl PeakEwma {
    /// Takes one more answer into account.
    pub(super) fn observe(&mut self, took: Duration, now: Instant) {
        let took = took.as_secs_f64();
        self.seconds = match self.at {
            None => took,
            Some(_) if took >= self.seconds => took,
            Some(at) => {
                let age = now.saturating_duration_since(at).as_secs_f64();
                let kept = (-age / MEMORY.as_secs_f64()).exp();
                took + (self.seconds - took) * kept
            }
        };
        self.at = Some(now);
    }

    /// The mean at this time, in seconds; what was slow long ago may have recovered, and only a
    /// request can show it, so silence makes it smaller. None before the first answer.
    pub(super) fn read(&self, now: Instant) -> Option<f64> {
        let age = now.saturating_duration_since(self.at?).as_secs_f64();
        Some(self.seconds * (-age / (SILENCE * MEMORY).as_secs_f64()).exp())
    }
}

/// The time after which an answer counts for about a third. As in Finagle, 10 s.
const MEMORY: Duration = Duration::from_secs(10);
/// How much slower the mean of a backend is forgotten to which nothing is sent.
const SILENCE: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::testing::start;

    const MS: Duration = Duration::from_millis(1);

    fn milliseconds(mean: &PeakEwma, now: Instant) -> f64 {
        (mean.read(now).unwrap() * 1e3).round()
    }

    #[test]
    fn a_slower_answer_counts_at_once_and_a_faster_one_with_time() {
        let (mut mean, now) = (PeakEwma::default(), start());
        assert_eq!(mean.read(now), None);
        mean.observe(10 * MS, now);
        mean.observe(100 * MS, now);
        assert!((milliseconds(&mean, now) - 100.0).abs() < 1.0);
        mean.observe(10 * MS, now);
        assert!(
            (milliseconds(&mean, now) - 100.0).abs() < 1.0,
            "no time has passed"
        );
        let later = now + MEMORY;
        mean.observe(10 * MS, later);
        assert!((milliseconds(&mean, later) - 43.0).abs() < 1.0);
    }

    #[test]
    fn silence_makes_a_slow_backend_worth_another_try() {
        let (mut mean, now) = (PeakEwma::default(), start());
        mean.observe(1000 * MS, now);
        assert!(milliseconds(&mean, now + Duration::from_secs(300)) < 1.0);
    }
}

use std::time::{Duration, Instant};

use super::health::Unfit;

/// How much worse than the others a backend may be, in what its requests came to within an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutlierTerms {
    /// How long requests are counted before backends are compared.
    pub interval: Duration,
    /// Backends with fewer requests in the interval are not compared.
    pub volume: u32,
    /// How many of a hundred requests may fail more than at the median backend; none is any number.
    pub failure_gap: Option<u32>,
    /// How many times longer answers may take than at the median backend; none is any time.
    pub latency_factor: Option<u32>,
}

/// What the requests of one backend came to within an interval.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Record {
    pub(super) ended: u32,
    pub(super) failed: u32,
    pub(super) seconds: f64,
}

/// Compares backends at the end of each interval.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interval {
    began: Instant,
}

impl Interval {
    pub(super) fn new(now: Instant) -> Self {
        Self { began: now }
    }

    /// Whether it is over, in which case the next one begins.
    pub(super) fn is_over(&mut self, terms: &OutlierTerms, now: Instant) -> bool {
        let over = now.saturating_duration_since(self.began) >= terms.interval;
        if over {
            self.began = now;
        }
        over
    }
}

impl Record {
    pub(super) fn note(&mut self, failed: bool, took: Option<Duration>) {
        self.ended = self.ended.saturating_add(1);
        self.failed = self.failed.saturating_add(u32::from(failed));
        self.seconds += took.unwrap_or_default().as_secs_f64();
    }

    fn failures(&self) -> f64 {
        f64::from(self.failed) / f64::from(self.ended.max(1))
    }

    fn mean(&self) -> f64 {
        self.seconds / f64::from(self.ended.saturating_sub(self.failed).max(1))
    }
}

/// Which backends are much worse than the median one, and in what. There have to be three at least.
pub(super) fn outliers(terms: &OutlierTerms, records: &[Record]) -> Vec<(usize, Unfit)> {
    let compared: Vec<(usize, &Record)> = records
        .iter()
        .enumerate()
        .filter(|(_, record)| record.ended >= terms.volume.max(1))
        .collect();
    if compared.len() < FEWEST {
        return Vec::new();
    }
    let failures = median(compared.iter().map(|(_, record)| record.failures()));
    let mean = median(compared.iter().map(|(_, record)| record.mean()));
    compared
        .into_iter()
        .filter_map(|(index, record)| {
            let gap = (record.failures() - failures) * 100.0;
            let fails = terms.failure_gap.is_some_and(|most| gap > f64::from(most));
            let limit = |factor| (mean * f64::from(factor)).max(mean + LEAST_DELAY);
            let slow = terms
                .latency_factor
                .is_some_and(|factor| record.mean() > limit(factor));
            match (fails, slow) {
                (true, _) => Some((index, Unfit::SuccessRate)),
                (false, true) => Some((index, Unfit::Latency)),
                (false, false) => None,
            }
        })
        .collect()
}

/// The lower one of the two in the middle, where there are two.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
        .get(sorted.len().saturating_sub(1) / 2)
        .copied()
        .unwrap_or_default()
}

impl Default for OutlierTerms {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(5),
            volume: 20,
            failure_gap: Some(30),
            latency_factor: None,
        }
    }
}

/// Of two nobody can tell which is the odd one.
const FEWEST: usize = 3;
/// In seconds; a microsecond against three is no reason.
const LEAST_DELAY: f64 = 0.01;

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: OutlierTerms = OutlierTerms {
        interval: Duration::from_secs(5),
        volume: 20,
        failure_gap: Some(30),
        latency_factor: Some(5),
    };

    fn record(ended: u32, failed: u32, milliseconds: u64) -> Record {
        let mut record = Record::default();
        for number in 0..ended {
            let failed = number < failed;
            let took = (!failed).then_some(Duration::from_millis(milliseconds));
            record.note(failed, took);
        }
        record
    }

    #[test]
    fn one_that_fails_much_more_often_than_the_median_is_out() {
        let good = record(100, 2, 5);
        let found = outliers(&TERMS, &[good, record(100, 40, 5), good]);
        assert_eq!(found, [(1, Unfit::SuccessRate)]);
        assert!(outliers(&TERMS, &[good, record(100, 30, 5), good]).is_empty());
    }

    #[test]
    fn when_all_fail_none_is_out() {
        let bad = record(100, 90, 5);
        assert!(outliers(&TERMS, &[bad, bad, bad]).is_empty());
    }

    #[test]
    fn one_that_is_much_slower_is_out_and_microseconds_do_not_count() {
        let good = record(100, 0, 5);
        let found = outliers(&TERMS, &[good, good, record(100, 0, 26)]);
        assert_eq!(found, [(2, Unfit::Latency)]);
        let quick = record(100, 0, 0);
        assert!(outliers(&TERMS, &[quick, quick, record(100, 0, 9)]).is_empty());
    }

    #[test]
    fn two_backends_or_few_requests_tell_nothing() {
        let (good, bad) = (record(100, 0, 5), record(100, 100, 5));
        assert!(outliers(&TERMS, &[good, bad]).is_empty());
        assert!(outliers(&TERMS, &[good, good, record(19, 19, 5)]).is_empty());
    }
}

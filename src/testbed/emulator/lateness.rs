use std::time::Duration;

/// How much later than the model says packets were delivered, since the emulator started.
///
/// A machine that is busy with other things shows here; what is measured through a late link is not what
/// it says it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lateness {
    /// Packets that were delivered.
    pub packets: u64,
    /// Of those, packets that were later than [`Lateness::TOLERANCE`].
    pub late: u64,
    /// Half were less late, within a sixteenth.
    pub median: Duration,
    /// One of a hundred was later, within a sixteenth.
    pub p99: Duration,
    /// How late the latest was.
    pub worst: Duration,
    /// Packets that the kernel dropped before the emulator saw them, because it did not take them fast
    /// enough; they are in no trace.
    pub dropped: u64,
    /// Packets that were lost because too many bytes were under way.
    pub overflowed: u64,
    /// Packets that the kernel did not take for delivery, which are lost in traces, or that were longer
    /// than the emulator's MTU.
    pub refused: u64,
}

impl Lateness {
    /// What a packet may be late without being counted as late.
    pub const TOLERANCE: Duration = Duration::from_micros(500);
}

/// Counts durations by their size, in buckets whose width is a sixteenth of what is in them.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    counts: [u64; BUCKETS],
    total: u64,
    late: u64,
    worst: Duration,
}

impl Histogram {
    pub(super) const fn new() -> Self {
        Self {
            counts: [0; BUCKETS],
            total: 0,
            late: 0,
            worst: Duration::ZERO,
        }
    }

    pub(super) fn add(&mut self, late: Duration) {
        self.counts[bucket(late)] += 1;
        self.total += 1;
        self.late += u64::from(late > Lateness::TOLERANCE);
        self.worst = self.worst.max(late);
    }

    pub(super) fn lateness(&self) -> Lateness {
        Lateness {
            packets: self.total,
            late: self.late,
            median: self.quantile(50),
            p99: self.quantile(99),
            worst: self.worst,
            ..Lateness::default()
        }
    }

    /// The upper end of the bucket below which so many percent are.
    fn quantile(&self, percent: u64) -> Duration {
        let rank = (self.total * percent).div_ceil(100);
        let mut below = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            below += count;
            if below >= rank && below > 0 {
                return upper_end(bucket).min(self.worst);
            }
        }
        Duration::ZERO
    }
}

/// The first `STEPS` buckets have a width of a nanosecond; from there on `STEPS` of them double it.
fn bucket(duration: Duration) -> usize {
    let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let shift = (u64::BITS - nanoseconds.leading_zeros()).saturating_sub(STEP_BITS + 1);
    let number = u64::from(shift) * STEPS + (nanoseconds >> shift);
    usize::try_from(number).map_or(BUCKETS - 1, |number| number.min(BUCKETS - 1))
}

fn upper_end(bucket: usize) -> Duration {
    let bucket = u64::try_from(bucket).expect("there are a few hundred");
    let (shift, step) = match bucket / STEPS {
        0 => (0, bucket),
        doubled => (doubled - 1, bucket % STEPS + STEPS),
    };
    Duration::from_nanos(((step + 1) << shift) - 1)
}

const STEP_BITS: u32 = 4;
const STEPS: u64 = 1 << STEP_BITS;
/// Up to 2^36 nanoseconds, which are 68 seconds; what is longer is in the last.
const BUCKETS: usize = 16 * 33;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_ends_within_a_sixteenth_of_all_that_is_in_it() {
        for exponent in 0..36 {
            for nanoseconds in [
                1_u64 << exponent,
                (1 << exponent) + 1,
                (1 << (exponent + 1)) - 1,
            ] {
                let duration = Duration::from_nanos(nanoseconds);
                let end = upper_end(bucket(duration));
                assert!(end >= duration, "{duration:?} {end:?}");
                assert!(end <= duration + duration / 16, "{duration:?} {end:?}");
            }
        }
    }

    #[test]
    fn totals_and_quantiles_follow_from_what_was_added() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.lateness(), Lateness::default());
        for microseconds in 1..=1000 {
            histogram.add(Duration::from_micros(microseconds));
        }
        let lateness = histogram.lateness();
        assert_eq!((lateness.packets, lateness.late), (1000, 500));
        assert_eq!(lateness.worst, Duration::from_millis(1));
        let (median, p99) = (lateness.median.as_micros(), lateness.p99.as_micros());
        assert!((500..=532).contains(&median), "{median}");
        assert!((990..=1000).contains(&p99), "{p99}");
        histogram.add(Duration::MAX);
        assert_eq!(histogram.lateness().worst, Duration::MAX);
    }
}

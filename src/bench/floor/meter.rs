use std::time::Duration;

use crate::bench::{Metric, Sample};
use crate::sys::allocation::Allocations;
use crate::sys::processor::thread_time;

/// Whose work something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Whoever connects.
    Client,
    /// Whoever answers.
    Node,
}

/// What each side of a handshake took of the one thread that does both.
///
/// Each piece of work costs one reading of the clock on top, a few tenths of a microsecond; a handshake
/// is three to eight pieces on each side.
#[derive(Debug, Default)]
pub(super) struct Meter {
    client: Taken,
    node: Taken,
}

#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    time: Duration,
    /// None where no allocations are counted.
    allocations: Option<Allocations>,
}

impl Meter {
    /// Does a piece of a side's work.
    pub(super) fn measure<T>(&mut self, side: Side, work: impl FnOnce() -> T) -> T {
        let taken = match side {
            Side::Client => &mut self.client,
            Side::Node => &mut self.node,
        };
        let allocations = Allocations::own();
        let began = thread_time();
        let done = work();
        taken.time += thread_time().saturating_sub(began);
        if let (Some(before), Some(after)) = (allocations, Allocations::own()) {
            let sum = taken.allocations.unwrap_or_default();
            let more = after - before;
            taken.allocations = Some(Allocations {
                count: sum.count + more.count,
                bytes: sum.bytes + more.bytes,
            });
        }
        done
    }

    /// What it measured since it was made.
    pub(super) fn sample(&self) -> Sample {
        let mut sample = Sample::default();
        let sides = [(&self.client, CLIENT_METRICS), (&self.node, NODE_METRICS)];
        for (taken, [time, count, bytes]) in sides {
            sample.metrics.insert(time, taken.time.as_secs_f64() * 1e6);
            if let Some(allocations) = taken.allocations {
                sample.metrics.insert(count, number(allocations.count));
                sample.metrics.insert(bytes, number(allocations.bytes));
            }
        }
        sample
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "no handshake comes near 2^52 allocations or bytes"
)]
fn number(count: u64) -> f64 {
    count as f64
}

const CLIENT_METRICS: [Metric; 3] = [
    Metric::ClientCpu,
    Metric::ClientAllocations,
    Metric::ClientAllocated,
];
const NODE_METRICS: [Metric; 3] = [
    Metric::NodeCpu,
    Metric::NodeAllocations,
    Metric::NodeAllocated,
];

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[test]
    fn work_counts_for_its_side_alone() {
        let mut meter = Meter::default();
        let until = thread_time() + Duration::from_millis(5);
        let spin = || {
            while thread_time() < until {
                black_box(0);
            }
        };
        meter.measure(Side::Node, spin);
        let sample = meter.sample();
        assert!(sample.metrics[&Metric::NodeCpu] > 0.0);
        assert_eq!(sample.metrics[&Metric::ClientCpu].to_bits(), 0);
    }
}

use std::collections::{BTreeMap, BTreeSet};

use super::measured::{FIRST_BYTE, HANDSHAKE, READY, Taken, round_trips};
use super::paired::blocks;
use super::quantile::{quantile, sorted};
use super::{median, ratios_to_itself};
use crate::bench::{Layer, Losses, Metric, Record, Summary};

/// Says in words why figures should not be trusted.
pub(super) fn doubts(record: &Record, taken: &[Taken]) -> Vec<String> {
    let mut doubts = Vec::new();
    doubts.extend(few(record, taken));
    doubts.extend(late(record));
    doubts.extend(failed(record));
    let recovers = record.metrics.contains_key(&Metric::Recovery);
    for (metric, summary) in &record.metrics {
        // After a move both are the same time, and what few samples say is doubted altogether.
        if recovers && *metric == Metric::FirstByte || record.samples < FEWEST_SAMPLES {
            continue;
        }
        doubts.extend(wide(*metric, summary));
        doubts.extend(two_groups(*metric, &values(*metric, taken)));
        doubts.extend(unlike_itself(*metric, record, taken));
    }
    doubts.extend(without_round_trips(record, taken));
    doubts.extend(not_unanimous(record, taken));
    doubts.extend(untimely(record));
    doubts
}

fn few(record: &Record, taken: &[Taken]) -> Option<String> {
    let blocks: BTreeSet<_> = taken.iter().map(|taken| taken.block).collect();
    let compared = !record.comparisons.is_empty();
    if record.samples < FEWEST_SAMPLES {
        Some(format!("only {} samples", record.samples))
    } else if compared && blocks.len() < FEWEST_PAIRS {
        Some(format!("only {} blocks to compare", blocks.len()))
    } else {
        None
    }
}

fn late(record: &Record) -> Option<String> {
    let all = record.late + record.samples;
    let much = f64::from(record.late) > MOST_LATE * f64::from(all);
    much.then(|| {
        format!(
            "{} of {all} samples were thrown away, because the emulator delivered late",
            record.late
        )
    })
}

fn failed(record: &Record) -> Option<String> {
    let failed: u32 = record.failures.values().sum();
    let all = failed + record.late + record.samples;
    let much = f64::from(failed) > MOST_FAILED * f64::from(all);
    much.then(|| format!("{failed} of {all} attempts failed"))
}

fn wide(metric: Metric, summary: &Summary) -> Option<String> {
    let (share, least) = tolerance(metric)?;
    let width = summary.median_interval.high - summary.median_interval.low;
    let wide = width > (share * summary.median).max(least);
    wide.then(|| {
        format!(
            "{metric}: the median may lie anywhere from {} to {}",
            shown(summary.median_interval.low),
            shown(summary.median_interval.high)
        )
    })
}

fn unlike_itself(metric: Metric, record: &Record, taken: &[Taken]) -> Option<String> {
    let (share, least) = tolerance(metric)?;
    let summary = record.metrics.get(&metric)?;
    let itself = median(&ratios_to_itself(taken, metric))?;
    let distance = (itself - 1.0).abs();
    let far = distance > share && distance * summary.median > least;
    far.then(|| {
        let percent = distance * 100.0;
        format!("{metric}: differs from itself by {percent:.0} % (A/A)")
    })
}

fn values(metric: Metric, taken: &[Taken]) -> Vec<f64> {
    let groups: Vec<_> = blocks(taken, metric).into_values().collect();
    sorted(groups.concat())
}

/// Finds the split of sorted values with the least spread within both parts, and tells whether they are two.
pub(super) fn two_groups(metric: Metric, values: &[f64]) -> Option<String> {
    let (share, least) = tolerance(metric)?;
    if values.len() < FEWEST_TO_SPLIT {
        return None;
    }
    let fewest = (values.len() / 10).max(3);
    let mut low = Group::default();
    let mut high = Group::default();
    for value in values {
        high.add(*value);
    }
    let mut best: Option<(f64, Group, Group)> = None;
    let (splits, _) = values.split_at(values.len() - fewest);
    for (place, value) in splits.iter().enumerate() {
        low.add(*value);
        high.remove(*value);
        let squares = low.squares + high.squares;
        let better = best.is_none_or(|(least, ..)| squares < least);
        if place + 1 >= fewest && better {
            best = Some((squares, low, high));
        }
    }
    let (_, low, high) = best?;
    let apart = high.mean - low.mean;
    let spread = f64::midpoint(low.variance(), high.variance()).sqrt();
    let middle = quantile(values, 0.5)?;
    let two = apart > APART * spread && apart > (share * middle).max(least);
    two.then(|| {
        format!(
            "{metric}: two groups, {} around {} and {} around {}",
            low.len,
            shown(low.mean),
            high.len,
            shown(high.mean)
        )
    })
}

fn without_round_trips(record: &Record, taken: &[Taken]) -> Option<String> {
    if record.scenario.layer != Layer::Link || record.scenario.rtt_ms == 0 || taken.is_empty() {
        return None;
    }
    let with = taken
        .iter()
        .filter(|taken| taken.sample.round_trips.is_some());
    let with = with.count();
    (with < taken.len()).then(|| {
        format!(
            "round trips of {with} in {} samples only: the other traces are not complete",
            taken.len()
        )
    })
}

fn not_unanimous(record: &Record, taken: &[Taken]) -> Vec<String> {
    // Chance decides what these lose, and with it the round trips.
    if let Losses::Random(_) | Losses::Bursts(_) = record.scenario.losses {
        return Vec::new();
    }
    let mut doubts = Vec::new();
    for (name, trips) in round_trips(taken) {
        let mut times = BTreeMap::<u32, u32>::new();
        for trips in trips {
            *times.entry(trips).or_default() += 1;
        }
        if times.len() > 1 {
            let each = times
                .iter()
                .map(|(trips, times)| format!("{trips} in {times}"));
            let each = each.collect::<Vec<_>>().join(", ");
            doubts.push(format!("{name}: not the same in all samples: {each}"));
        }
    }
    doubts
}

/// Compares round trips by the packets with those by the time, where nothing was to be lost.
fn untimely(record: &Record) -> Vec<String> {
    let rtt = f64::from(record.scenario.rtt_ms);
    if rtt <= 0.0 || record.scenario.losses != Losses::None {
        return Vec::new();
    }
    let first_byte = if record.metrics.contains_key(&Metric::Recovery) {
        Metric::Recovery
    } else {
        Metric::FirstByte
    };
    let each = [
        (READY, Metric::Ready),
        (HANDSHAKE, Metric::Handshake),
        (FIRST_BYTE, first_byte),
    ];
    let doubted = each.into_iter().filter_map(|(name, metric)| {
        let by_packets = *record.derived.get(name)?;
        let by_time = (record.metrics.get(&metric)?.median / rtt).round();
        // Both are whole, or the one by packets is a half: the samples do not agree.
        ((by_packets - by_time).abs() >= 1.0).then(|| {
            format!(
                "{name}: {by_packets} by the packets, {by_time} by the time; hosts, timers or the \
                 link's rate took part of it, or a packet counted that nothing waited for"
            )
        })
    });
    doubted.collect()
}

/// Values whose mean and spread follow as they come and go (Welford, 1962).
#[derive(Clone, Copy, Debug, Default)]
struct Group {
    len: f64,
    mean: f64,
    /// The sum of the squared distances to the mean.
    squares: f64,
}

impl Group {
    fn add(&mut self, value: f64) {
        let distance = value - self.mean;
        self.len += 1.0;
        self.mean += distance / self.len;
        self.squares += distance * (value - self.mean);
    }

    fn remove(&mut self, value: f64) {
        let distance = value - self.mean;
        self.len -= 1.0;
        self.mean -= distance / self.len;
        // Rounding must not make it negative.
        self.squares = (self.squares - distance * (value - self.mean)).max(0.0);
    }

    fn variance(&self) -> f64 {
        self.squares / self.len
    }
}

/// The share of a figure that may be noise, and what never matters, in its unit. None for counts, and for
/// times whose noise shows in one of these as well.
const fn tolerance(metric: Metric) -> Option<(f64, f64)> {
    match metric {
        Metric::Ready | Metric::FirstByte | Metric::Recovery | Metric::Latency => Some((0.05, 0.5)),
        Metric::ClientCpu | Metric::NodeCpu => Some((0.2, 5.0)),
        Metric::HandshakeRate | Metric::HandshakeRatePerCore | Metric::ConnectionMemory => {
            Some((0.1, 0.0))
        }
        _ => None,
    }
}

fn shown(value: f64) -> String {
    if value.abs() < 10.0 {
        format!("{value:.2}")
    } else if value.abs() < 100.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

const FEWEST_SAMPLES: u32 = 10;
/// The interval of fewer ratios is little more than the smallest and the largest.
const FEWEST_PAIRS: usize = 6;
const FEWEST_TO_SPLIT: usize = 20;
const MOST_LATE: f64 = 0.1;
const MOST_FAILED: f64 = 0.1;
/// How many spreads two groups are apart at least. The best split of many even values gives 3.5, of normal
/// ones 2.6, of exponential ones 2.9; but of twenty exponential values one set in twelve gives 5, and one in
/// thirty 6.
const APART: f64 = 6.0;

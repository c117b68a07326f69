use super::Results;
use crate::bench::statistics::{blocks, middle, quantile, resampled};
use crate::bench::{Interval, Metric, Record, Scenario};
use crate::link::Random;

/// How the results of one run differ from those of another.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Compared {
    /// Every figure of every scenario that both have, in the order of the first.
    pub differences: Vec<Difference>,
    /// Scenarios that only the first has.
    pub only_before: Vec<Scenario>,
    /// Scenarios that only the second has.
    pub only_after: Vec<Scenario>,
    /// What limits the comparison, in words.
    pub remarks: Vec<String>,
}

/// A figure of a scenario in two runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The scenario.
    pub scenario: Scenario,
    /// The metric, or the name of a derived value.
    pub figure: String,
    /// Which quantile is compared: 0.5, or 0.1 for processor time of which both runs kept the samples.
    pub share: f64,
    /// The first run's figure.
    pub before: f64,
    /// The second run's.
    pub after: f64,
    /// The second over the first. Infinite if the first is 0 and the second is not; 1 if both are.
    pub ratio: f64,
    /// Where the ratio would lie in 95 of 100 repetitions of both runs.
    pub interval: Interval,
    /// What to say of it.
    pub judgement: Judgement,
}

/// Whether a figure became better or worse by more than what is tolerated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Neither, or the samples cannot tell.
    Alike,
    /// Better: even the unfavourable end of the interval is.
    Better,
    /// Worse: even the favourable end of the interval is.
    Worse,
}

/// Compares two runs, scenario by scenario and figure by figure.
///
/// A figure is [`Judgement::Worse`] if it is by more than the share that is tolerated (0.05 is 5 %) even at the
/// favourable end of its interval, and by more than what never matters: 0.1 ms of a time, 2 µs of
/// processor time. Where both runs kept their samples, intervals are bootstrapped from these; otherwise they
/// reach from the most favourable to the least favourable quotient of the two medians' own intervals.
/// The runs took no turns, so what the machine did meanwhile is part of the difference.
pub fn compare(before: &Results, after: &Results, tolerance: f64) -> Compared {
    let mut compared = Compared::default();
    let [first, second] =
        [before, after].map(|results| Sampled::of(results, &mut compared.remarks));
    for record in &before.records {
        let same = |other: &&Record| other.scenario == record.scenario;
        match after.records.iter().find(same) {
            None => compared.only_before.push(record.scenario.clone()),
            Some(other) => {
                let mut random = Random::new(SEED);
                let pair = (record, other);
                for metric in record.metrics.keys().copied() {
                    let samples = first
                        .values(record, metric)
                        .zip(second.values(other, metric));
                    let change = Change::of(pair, metric, samples, &mut random);
                    let found =
                        change.map(|change| change.judged(record, metric.name(), tolerance));
                    compared.differences.extend(found);
                }
                for name in record.derived.keys() {
                    let change = Change::derived(pair, name);
                    let found = change.map(|change| change.judged(record, name, tolerance));
                    compared.differences.extend(found);
                }
            }
        }
    }
    let known = |scenario: &Scenario| before.records.iter().any(|it| it.scenario == *scenario);
    let new = after.records.iter().map(|record| &record.scenario);
    compared.only_after = new.filter(|scenario| !known(scenario)).cloned().collect();
    compared
}

impl Compared {
    /// Whether any figure became worse.
    pub fn has_regressed(&self) -> bool {
        let mut judgements = self.differences.iter().map(|it| it.judgement);
        judgements.any(|judgement| judgement == Judgement::Worse)
    }
}

/// The values of a figure, block by block.
type Blocks = Vec<Vec<f64>>;

/// The samples of a run, where they are those of its records.
struct Sampled<'a> {
    results: &'a Results,
    usable: bool,
}

impl<'a> Sampled<'a> {
    fn of(results: &'a Results, remarks: &mut Vec<String>) -> Self {
        let place = results.path.display();
        let mut sampled = Self {
            results,
            usable: results.run.is_some() && !results.samples.is_empty(),
        };
        if !sampled.usable {
            remarks.push(format!(
                "{place}: no samples, so intervals come from the medians' own, and processor time is the median"
            ));
        } else if !results.records.iter().all(|record| sampled.agree(record)) {
            sampled.usable = false;
            remarks.push(format!(
                "{place}: the samples do not give the medians of the records, so they are not used"
            ));
        }
        sampled
    }

    fn agree(&self, record: &Record) -> bool {
        record.metrics.iter().all(|(metric, figure)| {
            let median = self
                .values(record, *metric)
                .and_then(|groups| of_all(&groups, 0.5));
            let distance = median.map(|median| (median - figure.median).abs());
            distance.is_some_and(|distance| distance <= figure.median.abs() * ROUNDING)
        })
    }

    fn values(&self, record: &Record, metric: Metric) -> Option<Blocks> {
        let run = self.results.run.as_ref().filter(|_| self.usable)?;
        let mut scenarios = run.scenarios.iter();
        let place = scenarios.position(|scenario| *scenario == record.scenario)?;
        let blocks = blocks(&self.results.taken(place), metric);
        Some(blocks.into_values().collect())
    }
}

/// A figure before and after.
struct Change {
    share: f64,
    before: f64,
    after: f64,
    interval: Interval,
    /// Less of it is better.
    is_cost: bool,
    least: f64,
}

impl Change {
    fn of(
        (before, after): (&Record, &Record),
        metric: Metric,
        samples: Option<(Blocks, Blocks)>,
        random: &mut Random,
    ) -> Option<Self> {
        let (first, second) = (before.metrics.get(&metric)?, after.metrics.get(&metric)?);
        let change = Self {
            share: 0.5,
            before: first.median,
            after: second.median,
            interval: Interval {
                low: quotient(second.median_interval.low, first.median_interval.high),
                high: quotient(second.median_interval.high, first.median_interval.low),
            },
            is_cost: !GAINS.contains(&metric),
            least: least(metric),
        };
        let Some((first, second)) = samples else {
            return Some(change);
        };
        let share = if CLOCKED.contains(&metric) { 0.1 } else { 0.5 };
        Some(Self {
            share,
            before: of_all(&first, share)?,
            after: of_all(&second, share)?,
            interval: bootstrapped((&first, &second), share, random)?,
            ..change
        })
    }

    fn derived((before, after): (&Record, &Record), name: &str) -> Option<Self> {
        let (before, after) = (*before.derived.get(name)?, *after.derived.get(name)?);
        let ratio = quotient(after, before);
        Some(Self {
            share: 0.5,
            before,
            after,
            interval: Interval {
                low: ratio,
                high: ratio,
            },
            is_cost: true,
            least: 0.0,
        })
    }

    fn judged(self, record: &Record, figure: &str, tolerance: f64) -> Difference {
        let ratio = quotient(self.after, self.before);
        // An interval that does not hold its own figure says nothing of it.
        let interval = if (self.interval.low..=self.interval.high).contains(&ratio) {
            self.interval
        } else {
            Interval {
                low: ratio,
                high: ratio,
            }
        };
        let matters = (self.after - self.before).abs() > self.least;
        let more = matters && interval.low > 1.0 + tolerance;
        let less = matters && interval.high < 1.0 / (1.0 + tolerance);
        let judgement = match (more, less, self.is_cost) {
            (true, _, true) | (_, true, false) => Judgement::Worse,
            (true, _, false) | (_, true, true) => Judgement::Better,
            (false, false, _) => Judgement::Alike,
        };
        Difference {
            scenario: record.scenario.clone(),
            figure: figure.to_owned(),
            share: self.share,
            before: self.before,
            after: self.after,
            ratio,
            interval,
            judgement,
        }
    }
}

/// The interval of the quotient of two quantiles, of runs that have nothing to do with each other.
fn bootstrapped(
    (before, after): (&[Vec<f64>], &[Vec<f64>]),
    share: f64,
    random: &mut Random,
) -> Option<Interval> {
    let constant = |groups: &[Vec<f64>]| {
        let mut values = groups.iter().flatten();
        let first = values.next().copied()?;
        values
            .all(|value| value.to_bits() == first.to_bits())
            .then_some(first)
    };
    // Packets and bytes are often the same in all samples, and then there is nothing to draw.
    if let (Some(before), Some(after)) = (constant(before), constant(after)) {
        let ratio = quotient(after, before);
        return Some(Interval {
            low: ratio,
            high: ratio,
        });
    }
    let before = resampled(before, share, random);
    let after = resampled(after, share, random);
    let pairs = before.into_iter().zip(after);
    middle(
        pairs
            .map(|(before, after)| quotient(after, before))
            .collect(),
    )
}

fn of_all(groups: &[Vec<f64>], share: f64) -> Option<f64> {
    let mut values = groups.concat();
    values.sort_by(f64::total_cmp);
    quantile(&values, share)
}

fn quotient(after: f64, before: f64) -> f64 {
    if before == 0.0 {
        if after == 0.0 { 1.0 } else { f64::INFINITY }
    } else {
        after / before
    }
}

/// A change that never matters, in the metric's unit.
fn least(metric: Metric) -> f64 {
    match metric.name().rsplit('_').next() {
        Some("ms") => 0.1,
        Some("us") => 2.0,
        _ => 0.0,
    }
}

/// Metrics of which more is better.
const GAINS: [Metric; 2] = [Metric::HandshakeRate, Metric::HandshakeRatePerCore];
/// Processor time, of which other programs on the machine spoil the median more than the p10.
const CLOCKED: [Metric; 4] = [
    Metric::ClientCpu,
    Metric::ClientKernel,
    Metric::NodeCpu,
    Metric::NodeKernel,
];
/// What two ways to sum up the same samples may differ by.
const ROUNDING: f64 = 1e-9;
/// Of the draws of the bootstrap.
const SEED: u64 = 1;

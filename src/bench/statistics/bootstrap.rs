use super::quantile::{position, quantile, sorted};
use crate::bench::Interval;
use crate::link::Random;

/// How often is drawn for an interval. The ends of an interval then move by a few hundredths of its
/// width from one seed to another.
pub const RESAMPLES: usize = 1000;

/// The fewest blocks that are drawn as a whole. Of fewer, the draws are too much alike, and the interval
/// would be too short.
pub const FEWEST_BLOCKS: usize = 8;

/// Where the median of all values would lie in 95 of 100 runs. Values that were measured together
/// are in one group. None without a value.
pub fn median_interval(groups: &[Vec<f64>], random: &mut Random) -> Option<Interval> {
    middle(resampled(groups, 0.5, random))
}

/// The bounds of the middle 95 % of values in any order. None of none.
pub fn middle(values: Vec<f64>) -> Option<Interval> {
    let values = sorted(values);
    Some(Interval {
        low: quantile(&values, 0.025)?,
        high: quantile(&values, 0.975)?,
    })
}

/// A quantile of all values, [`RESAMPLES`] times, each of other draws of the groups. Nothing without a value.
pub fn resampled(groups: &[Vec<f64>], share: f64, random: &mut Random) -> Vec<f64> {
    let full = groups.iter().filter(|group| !group.is_empty());
    let whole = full.count() >= FEWEST_BLOCKS;
    let mut values: Vec<(f64, usize)> = Vec::new();
    let mut drawn = 0;
    for group in groups.iter().filter(|group| !group.is_empty()) {
        for value in group {
            values.push((*value, drawn));
            drawn += usize::from(!whole);
        }
        drawn += usize::from(whole);
    }
    if values.is_empty() {
        return Vec::new();
    }
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    let quantiles = (0..RESAMPLES).map(|_| {
        let mut times = vec![0; drawn];
        for _ in 0..drawn {
            let group = usize::try_from(random.below(drawn as u64));
            times[group.expect("below the number of groups")] += 1;
        }
        quantile_of_drawn(&values, &times, share)
    });
    quantiles.collect()
}

/// The quantile when each value is there as often as its group was drawn.
fn quantile_of_drawn(values: &[(f64, usize)], times: &[usize], share: f64) -> f64 {
    let total: usize = values.iter().map(|(_, group)| times[*group]).sum();
    // At least one group was drawn, and none is empty.
    let (lower, beyond) = position(share, total - 1);
    let upper = lower + usize::from(beyond > 0.0);
    let mut passed = 0;
    let mut low = None;
    for (value, group) in values {
        passed += times[*group];
        if low.is_none() && passed > lower {
            low = Some(*value);
        }
        if passed > upper {
            let low = low.unwrap_or(*value);
            return low + (value - low) * beyond;
        }
    }
    f64::NAN
}

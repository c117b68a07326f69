use super::quantile::{quantile, sorted};
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
        return None;
    }
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    let medians = (0..RESAMPLES).map(|_| {
        let mut times = vec![0; drawn];
        for _ in 0..drawn {
            times[random.below(drawn as u64) as usize] += 1;
        }
        median_of_drawn(&values, &times)
    });
    let medians = sorted(medians.collect());
    Some(Interval {
        low: quantile(&medians, 0.025)?,
        high: quantile(&medians, 0.975)?,
    })
}

/// The median when each value is there as often as its group was drawn.
fn median_of_drawn(values: &[(f64, usize)], times: &[usize]) -> f64 {
    let total: usize = values.iter().map(|(_, group)| times[*group]).sum();
    // At least one group was drawn, and none is empty.
    let (lower, upper) = ((total - 1) / 2, total / 2);
    let mut passed = 0;
    let mut low = None;
    for (value, group) in values {
        passed += times[*group];
        if low.is_none() && passed > lower {
            low = Some(*value);
        }
        if passed > upper {
            return low.map_or(*value, |low| f64::midpoint(low, *value));
        }
    }
    f64::NAN
}

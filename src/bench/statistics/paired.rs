use std::collections::BTreeMap;

use super::measured::Taken;
use super::{median, median_interval};
use crate::bench::{Interval, Metric};
use crate::link::Random;

/// How much a figure is of another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// The median ratio.
    pub median: f64,
    /// Where the median ratio would lie in 95 of 100 runs, by bootstrap.
    pub interval: Interval,
    /// The pairs that it is made of.
    pub pairs: usize,
}

/// Sums up the ratios of pairs. None without one.
pub fn ratio(ratios: &[f64], random: &mut Random) -> Option<Ratio> {
    let each: Vec<_> = ratios.iter().map(|ratio| vec![*ratio]).collect();
    Some(Ratio {
        median: median(ratios)?,
        interval: median_interval(&each, random)?,
        pairs: ratios.len(),
    })
}

/// The ratios of a figure to the same figure of another scenario, block by block.
///
/// A block in which one of the two has no sample, or the other's median is not above 0, has no ratio.
pub fn ratios(taken: &[Taken], other: &[Taken], metric: Metric) -> Vec<f64> {
    let others = blocks(other, metric);
    let mine = blocks(taken, metric);
    let pairs = mine
        .iter()
        .filter_map(|(block, values)| quotient(median(values)?, median(others.get(block)?)?));
    pairs.collect()
}

/// The ratios of a figure to itself, each of two halves of a block, or of two blocks that follow each other.
pub fn ratios_to_itself(taken: &[Taken], metric: Metric) -> Vec<f64> {
    let blocks = blocks(taken, metric);
    let halved = blocks.values().filter(|values| values.len() > 1);
    if halved.clone().count() * 2 > blocks.len() {
        let halves = halved.filter_map(|values| {
            let every_other = |first: usize| {
                let half: Vec<_> = values.iter().skip(first).step_by(2).copied().collect();
                median(&half)
            };
            quotient(every_other(0)?, every_other(1)?)
        });
        return halves.collect();
    }
    let medians: Vec<_> = blocks
        .values()
        .filter_map(|values| median(values))
        .collect();
    let pairs = medians.chunks_exact(2);
    pairs
        .filter_map(|pair| quotient(pair[0], pair[1]))
        .collect()
}

/// The values of a figure, by block.
pub fn blocks(taken: &[Taken], metric: Metric) -> BTreeMap<u32, Vec<f64>> {
    let mut blocks = BTreeMap::<u32, Vec<f64>>::new();
    for Taken { block, sample } in taken {
        if let Some(value) = sample
            .metrics
            .get(&metric)
            .filter(|value| value.is_finite())
        {
            blocks.entry(*block).or_default().push(*value);
        }
    }
    blocks
}

fn quotient(of: f64, to: f64) -> Option<f64> {
    (to > 0.0)
        .then(|| of / to)
        .filter(|ratio| ratio.is_finite())
}

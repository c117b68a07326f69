use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::median;
use crate::bench::{Metric, Record};

/// How far a figure is from itself in one run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Noise {
    /// Scenarios that were compared with themselves.
    pub scenarios: u32,
    /// The median distance of their A/A ratios from 1; 0.02 is 2 %.
    pub median: f64,
    /// The largest distance.
    pub worst: f64,
}

/// Gathers the A/A comparisons of a run, figure by figure.
pub fn noise(records: &[Record]) -> BTreeMap<Metric, Noise> {
    let mut distances = BTreeMap::<Metric, Vec<f64>>::new();
    for record in records {
        let itself = record.comparisons.iter();
        for comparison in itself.filter(|comparison| comparison.to == record.scenario.mode) {
            let distance = (comparison.ratio - 1.0).abs();
            distances
                .entry(comparison.metric)
                .or_default()
                .push(distance);
        }
    }
    let noise = distances.into_iter().filter_map(|(metric, distances)| {
        let noise = Noise {
            scenarios: u32::try_from(distances.len()).unwrap_or(u32::MAX),
            median: median(&distances)?,
            worst: distances.iter().copied().fold(0.0, f64::max),
        };
        Some((metric, noise))
    });
    noise.collect()
}

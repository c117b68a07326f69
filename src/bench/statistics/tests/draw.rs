use std::collections::BTreeMap;

use crate::bench::statistics::{Measured, Taken};
use crate::bench::{Layer, Metric, Mode, RoundTrips, Sample, Scenario};
use crate::link::Random;

/// Above 0 and below 1.
pub(super) fn uniform(random: &mut Random) -> f64 {
    let number = u32::try_from(random.number() >> 32).unwrap();
    (f64::from(number) + 0.5) / 2_f64.powi(32)
}

/// Median ln 2.
pub(super) fn exponential(random: &mut Random) -> f64 {
    -uniform(random).ln()
}

/// Mean and median 0, deviation 1 (Box and Muller, 1958).
pub(super) fn normal(random: &mut Random) -> f64 {
    exponential(random).sqrt() * 2_f64.sqrt() * (std::f64::consts::TAU * uniform(random)).cos()
}

pub(super) fn taken(block: u32, metric: Metric, value: f64) -> Taken {
    Taken {
        block,
        sample: Sample {
            metrics: BTreeMap::from([(metric, value)]),
            round_trips: None,
        },
    }
}

pub(super) fn with_trips(mut taken: Taken, first_byte: u32) -> Taken {
    taken.sample.round_trips = Some(RoundTrips {
        ready: Some(1),
        handshake: Some(1),
        first_byte: Some(first_byte),
    });
    taken
}

/// Blocks of one sample each.
pub(super) fn measured(mode: Mode, metric: Metric, values: &[f64]) -> Measured {
    let values = (0..).zip(values);
    Measured {
        taken: values
            .map(|(block, value)| taken(block, metric, *value))
            .collect(),
        ..Measured::of(Scenario::of(Layer::Loopback, mode))
    }
}

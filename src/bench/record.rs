use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Metric, Mode, Scenario};

/// The version of the form of [`Record`].
pub const SCHEMA: u32 = 1;

/// What a run says of one scenario: a line of `results.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`SCHEMA`].
    pub schema: u32,
    /// What was measured.
    pub scenario: Scenario,
    /// Samples that count.
    pub samples: u32,
    /// Samples that do not, because the emulator delivered a packet late.
    pub late: u32,
    /// Attempts that failed, by what failed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failures: BTreeMap<String, u32>,
    /// The figures, each over all samples that have it.
    pub metrics: BTreeMap<Metric, Summary>,
    /// What follows from the traces: `round_trips_ready`, `round_trips_handshake`,
    /// `round_trips_first_byte`, each the median; absent without a trace.
    #[serde(default)]
    pub derived: BTreeMap<String, f64>,
    /// Against other modes under the same factors, pair by pair.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub comparisons: Vec<Comparison>,
    /// Why these figures should not be trusted, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doubts: Vec<String>,
    /// Whether the run ended before all samples were taken.
    #[serde(default)]
    pub partial: bool,
}

/// A figure over all samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Samples with this figure.
    pub n: u32,
    /// A tenth are below.
    pub p10: f64,
    /// Half are below.
    pub median: f64,
    /// A tenth are above.
    pub p90: f64,
    /// One of a hundred is above.
    pub p99: f64,
    /// Where the median would lie in 95 of 100 runs, by bootstrap.
    pub median_interval: Interval,
}

/// Two bounds of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The lower one.
    pub low: f64,
    /// The upper one.
    pub high: f64,
}

/// How much a figure is of the same figure of another mode, of neighbours in one block.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The other mode; the mode itself for an A/A comparison, which shows the noise.
    pub to: Mode,
    /// The figure.
    pub metric: Metric,
    /// The median ratio.
    pub ratio: f64,
    /// Where the median ratio would lie in 95 of 100 runs, by bootstrap.
    pub interval: Interval,
}

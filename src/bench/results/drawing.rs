use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::bench::{Metric, Mode};
use crate::testbed::emulator::Direction;

/// The packets of one exchange as they are drawn: a line of `traces.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drawing {
    /// What the client did.
    pub mode: Mode,
    /// The packets, in the order in which they were sent.
    pub steps: Vec<Step>,
    /// The client's marks.
    pub marks: BTreeMap<Metric, f64>,
}

/// A packet in a [`Drawing`]. Times are milliseconds from the start of the exchange.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Which way it goes: `to-node` or `to-client`.
    #[serde(with = "DirectionName")]
    pub direction: Direction,
    /// When it left.
    pub sent_ms: f64,
    /// When it arrived, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrived_ms: Option<f64>,
    /// Its length, IP header included.
    pub bytes: usize,
    /// What it is, in a few words.
    pub label: String,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Direction", rename_all = "kebab-case")]
enum DirectionName {
    ToNode,
    ToClient,
}

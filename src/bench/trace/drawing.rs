use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::exchange::{Exchange, milliseconds};
use super::label::Labels;
use crate::bench::{Metric, Mode};
use crate::testbed::emulator::{Direction, Fate};

/// The packets of one exchange as they are drawn: a line of `traces.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drawing {
    /// What the client did.
    pub mode: Mode,
    /// The packets, in the order in which they were sent; at most [`MOST_STEPS`].
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

/// The most packets of a [`Drawing`]: more are not to be told apart.
pub const MOST_STEPS: usize = 200;

impl Drawing {
    /// Draws what was sent until the first byte, or all if that is not marked, but for packets that were
    /// still under way when the trace was read: those would look like lost ones.
    pub fn of(mode: Mode, exchange: &Exchange<'_>) -> Self {
        let start = exchange.marks.start;
        let end = exchange.marks.first_byte;
        let mut labels = Labels::default();
        let shown = exchange
            .passages
            .iter()
            .take_while(|passage| end.is_none_or(|end| passage.packet.sent <= end));
        let shown = shown.filter(|passage| passage.packet.fate != Fate::UnderWay);
        let steps = shown.take(MOST_STEPS).map(|passage| Step {
            direction: passage.packet.direction,
            sent_ms: milliseconds(start, passage.packet.sent),
            arrived_ms: passage.delivered().map(|at| milliseconds(start, at)),
            bytes: passage.packet.bytes.len(),
            label: labels.of(passage),
        });
        Self {
            mode,
            steps: steps.collect(),
            marks: exchange.marks.metrics(),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Direction", rename_all = "kebab-case")]
enum DirectionName {
    ToNode,
    ToClient,
}

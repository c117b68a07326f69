use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Metric;

/// What one handshake, or one move, measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The figures that this layer and mode have.
    pub metrics: BTreeMap<Metric, f64>,
    /// What the trace says; none without a trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trips: Option<RoundTrips>,
}

/// The longest chains of packets of which each had to wait for the one before, in round trips.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundTrips {
    /// Until the client may send a request; none where it was ready before, as after a move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<u32>,
    /// Until the handshake is complete at the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handshake: Option<u32>,
    /// Until the first byte of the response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte: Option<u32>,
}

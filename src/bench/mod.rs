//! What a handshake costs over QUIC and over TCP with TLS, and what moving a connection saves over making
//! another one.
//!
//! Every layer measures [`Scenario`]s and gives [`Sample`]s; what is said of them is a [`Record`], a line of
//! `results.jsonl`. Definitions of the metrics stand in `docs/bench.md`.

mod metric;
mod record;
mod sample;
mod scenario;

pub use metric::Metric;
pub use record::{Comparison, Interval, Record, SCHEMA, Summary};
pub use sample::{RoundTrips, Sample};
pub use scenario::{Certificate, KeyExchange, Layer, Losses, Mode, NoSuchName, Scenario};

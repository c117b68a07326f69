//! What a handshake costs over QUIC and over TCP with TLS, and what moving a connection saves over making
//! another one.
//!
//! Every layer measures [`Scenario`]s and gives [`Sample`]s; what is said of them is a [`Record`], a line of
//! `results.jsonl`. Definitions of the metrics stand in `docs/bench.md`.

mod clock;
pub mod dial;
pub mod floor;
pub mod load;
mod metric;
pub mod plan;
mod record;
pub mod report;
pub mod results;
pub mod run;
mod sample;
mod scenario;
pub mod stand;
pub mod statistics;
pub mod trace;

pub use metric::Metric;
pub use record::{Comparison, Interval, Record, SCHEMA, Summary};
pub use sample::{RoundTrips, Sample};
pub use scenario::{Certificate, KeyExchange, Layer, Losses, Mode, NoSuchName, Scenario};

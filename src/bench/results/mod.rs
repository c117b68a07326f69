//! The files of a run: what was measured, under what circumstances, and how two runs compare.
//!
//! A run writes a directory: `run.json` says what was run where, `samples.jsonl` has a line for each sample
//! as it is taken, `results.jsonl` a [`Record`](super::Record) for each scenario, `traces.jsonl` the packets
//! of one handshake of each mode, and `results.csv` the figures once more. A run that is cut off leaves what
//! it has, and `run.json` says that it is partial. `docs/bench.md` explains every field.

mod compare;
mod csv;
mod facts;
mod lines;
mod reader;
mod run;
mod writer;

pub use compare::{Compared, Difference, Judgement, compare};
pub use csv::csv;
pub use facts::{command, load, machine, network_variables, revision, rfc3339, software};
pub use reader::{ReadError, Results, read};
pub use run::{Lateness, Machine, RawSample, Run, Setting, Software};
pub use writer::{WriteError, Writer};

/// What the files of a run are called in its directory.
pub mod names {
    /// The circumstances of the run.
    pub const RUN: &str = "run.json";
    /// A record for each scenario.
    pub const RESULTS: &str = "results.jsonl";
    /// Every sample.
    pub const SAMPLES: &str = "samples.jsonl";
    /// The packets of one handshake of each mode.
    pub const TRACES: &str = "traces.jsonl";
    /// The figures of the records as a table.
    pub const CSV: &str = "results.csv";
    /// Everything as a page.
    pub const REPORT: &str = "report.html";
}

#[cfg(test)]
mod tests;

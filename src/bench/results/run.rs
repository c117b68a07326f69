use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::bench::statistics::Noise;
use crate::bench::{Metric, Sample, Scenario};

/// The circumstances of a run: the content of `run.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// [`SCHEMA`](crate::bench::SCHEMA).
    pub schema: u32,
    /// Whether the run has not come to its end. It is so from the start until [`Writer::finish`], so a run
    /// that was killed stays partial.
    ///
    /// [`Writer::finish`]: super::Writer::finish
    pub partial: bool,
    /// The program's name and its arguments.
    pub command: Vec<String>,
    /// When it began: RFC 3339, in UTC.
    pub started: String,
    /// How long it took, in seconds; zero until its end.
    pub seconds: f64,
    /// What all that is random in the plan and in the links follows from.
    pub seed: u64,
    /// What was planned; a sample names its scenario by the place here, from zero.
    pub scenarios: Vec<Scenario>,
    /// What was built of what.
    pub software: Software,
    /// Where it ran.
    pub machine: Machine,
    /// What both sides were given.
    #[serde(default)]
    pub setting: Setting,
    /// How late the link emulator was; none without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emulator: Option<Lateness>,
    /// How far figures are from themselves, as [`noise`](crate::bench::statistics::noise) has it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub noise: BTreeMap<Metric, Noise>,
    /// Why the whole run should not be trusted, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doubts: Vec<String>,
}

/// What a program was built of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Software {
    /// The version of this package.
    pub wayhold: String,
    /// The commit of the checkout that the program lies in, with `-dirty` if files differ from it; none
    /// for a program that lies elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The compiler.
    pub rustc: String,
    /// `release`, or `debug` with assertions.
    pub build: String,
    /// The versions of the crates that do the work, from this package's `Cargo.lock`.
    pub crates: BTreeMap<String, String>,
}

/// The machine and what it did at the time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// What the processor calls itself.
    pub processor: String,
    /// Processors that this process may use.
    pub processors: u32,
    /// The kernel's release.
    pub kernel: String,
    /// Variables of the kernel's network part, such as `ipv4/tcp_congestion_control`, in the network in
    /// which the run took place.
    pub network: BTreeMap<String, String>,
    /// The load average of the last minute when the run began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_before: Option<f64>,
    /// The same when it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_after: Option<f64>,
}

/// What both sides were given, so that none has an advantage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// What is between the two sides, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub network: String,
    /// Somebody's server that was measured; none for the gateway of this package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The cryptography of both sides.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub provider: String,
    /// The congestion controller of each side, by `tcp-client`, `tcp-node`, `quic-client`, `quic-node`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub congestion: BTreeMap<String, String>,
    /// What each side may send before it hears of the other, by the same names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub initial_window: BTreeMap<String, String>,
    /// Whether kernel and network card cut and join packets, by what does it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub offload: BTreeMap<String, String>,
}

/// How much later than its model the link emulator delivered packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lateness {
    /// Packets that it delivered.
    pub packets: u64,
    /// Of those, packets that were later than the limit.
    pub late: u64,
    /// Half were less late, in microseconds.
    pub median_us: f64,
    /// One of a hundred was later, in microseconds.
    pub p99_us: f64,
    /// How late the latest was, in microseconds.
    pub worst_us: f64,
    /// A sample with a packet that was later than this does not count, in microseconds.
    pub limit_us: f64,
    /// Packets that the kernel dropped before the emulator saw them.
    pub dropped: u64,
    /// Packets that were lost because too many bytes were under way.
    pub overflowed: u64,
    /// Packets that could not be delivered.
    pub refused: u64,
}

/// A sample with its place in the run: a line of `samples.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RawSample {
    /// The place of its scenario in [`Run::scenarios`], from zero.
    pub scenario: usize,
    /// The block in which it was taken; samples of one block are neighbours in time.
    pub block: u32,
    /// What was measured.
    pub sample: Sample,
}

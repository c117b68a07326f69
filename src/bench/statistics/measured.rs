use std::collections::{BTreeMap, BTreeSet};

use super::doubts::doubts;
use super::paired::blocks;
use super::quantile::{quantile, sorted};
use super::{Ratio, median, median_interval, ratio, ratios, ratios_to_itself};
use crate::bench::{Comparison, Layer, Metric, Mode, Record, SCHEMA, Sample, Scenario, Summary};
use crate::link::Random;

/// Everything that was measured of one scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// The scenario.
    pub scenario: Scenario,
    /// The samples that count, in the order in which they were taken.
    pub taken: Vec<Taken>,
    /// Samples that were thrown away, because the emulator delivered a packet late.
    pub late: u32,
    /// Attempts that failed, by what failed.
    pub failures: BTreeMap<String, u32>,
    /// Whether the run ended before all samples were taken.
    pub partial: bool,
}

/// A sample and its place in the run.
#[derive(Clone, Debug, PartialEq)]
pub struct Taken {
    /// The number of the block. Scenarios that are compared took turns within it.
    pub block: u32,
    /// What was measured.
    pub sample: Sample,
}

/// Makes the records of a run, in the order of its scenarios.
pub fn records(all: &[Measured], seed: u64) -> Vec<Record> {
    let each = all.iter();
    each.map(|measured| Record::of(measured, all, seed))
        .collect()
}

impl Measured {
    /// Starts with no sample.
    pub const fn of(scenario: Scenario) -> Self {
        Self {
            scenario,
            taken: Vec::new(),
            late: 0,
            failures: BTreeMap::new(),
            partial: false,
        }
    }
}

impl Record {
    /// Says what there is to say of one scenario of a run.
    ///
    /// `all` is where its counterparts are looked for: a mode of QUIC is compared to the mode of TCP that
    /// does the same under the same factors, and a move to each way of connecting again. Factors of
    /// QUIC alone need not be the same. The same samples and seed give the same record.
    pub fn of(measured: &Measured, all: &[Measured], seed: u64) -> Self {
        let mut random = Random::new(seed);
        let taken = &measured.taken;
        let metrics: BTreeSet<_> = taken
            .iter()
            .flat_map(|taken| taken.sample.metrics.keys().copied())
            .collect();
        let summaries = metrics
            .iter()
            .filter_map(|metric| Some((*metric, Summary::of(taken, *metric, &mut random)?)));
        let mut record = Self {
            schema: SCHEMA,
            scenario: measured.scenario.clone(),
            samples: count(taken.len()),
            late: measured.late,
            failures: measured.failures.clone(),
            metrics: summaries.collect(),
            derived: derived(taken),
            comparisons: Vec::new(),
            doubts: Vec::new(),
            partial: measured.partial,
        };
        for metric in metrics
            .iter()
            .copied()
            .filter(|metric| NOISY.contains(metric))
        {
            let noise = ratio(&ratios_to_itself(taken, metric), &mut random);
            record.compare(measured.scenario.mode, metric, noise);
        }
        for other in counterparts(&measured.scenario, all) {
            for metric in metrics.iter().copied() {
                let paired = ratio(&ratios(taken, &other.taken, metric), &mut random);
                record.compare(other.scenario.mode, metric, paired);
            }
        }
        record.doubts = doubts(&record, taken);
        record
    }

    fn compare(&mut self, to: Mode, metric: Metric, ratio: Option<Ratio>) {
        self.comparisons.extend(ratio.map(|ratio| Comparison {
            to,
            metric,
            ratio: ratio.median,
            interval: ratio.interval,
        }));
    }
}

impl Summary {
    /// Sums up a figure over all samples that have it. None if no sample has it.
    pub fn of(taken: &[Taken], metric: Metric, random: &mut Random) -> Option<Self> {
        let groups: Vec<_> = blocks(taken, metric).into_values().collect();
        let values = sorted(groups.concat());
        Some(Self {
            n: count(values.len()),
            p10: quantile(&values, 0.1)?,
            median: quantile(&values, 0.5)?,
            p90: quantile(&values, 0.9)?,
            p99: quantile(&values, 0.99)?,
            median_interval: median_interval(&groups, random)?,
        })
    }
}

/// Every number of round trips that the traces of these samples give.
pub(super) fn round_trips(taken: &[Taken]) -> [(&'static str, Vec<u32>); 3] {
    let trips = || taken.iter().filter_map(|taken| taken.sample.round_trips);
    [
        (READY, trips().filter_map(|trips| trips.ready).collect()),
        (
            HANDSHAKE,
            trips().filter_map(|trips| trips.handshake).collect(),
        ),
        (
            FIRST_BYTE,
            trips().filter_map(|trips| trips.first_byte).collect(),
        ),
    ]
}

pub(super) const READY: &str = "round_trips_ready";
pub(super) const HANDSHAKE: &str = "round_trips_handshake";
pub(super) const FIRST_BYTE: &str = "round_trips_first_byte";

fn derived(taken: &[Taken]) -> BTreeMap<String, f64> {
    let all = round_trips(taken).into_iter();
    all.filter_map(|(name, trips)| {
        let trips: Vec<_> = trips.into_iter().map(f64::from).collect();
        Some((name.to_owned(), median(&trips)?))
    })
    .collect()
}

/// What there is to compare a scenario to, one for each mode.
fn counterparts<'a>(scenario: &Scenario, all: &'a [Measured]) -> Vec<&'a Measured> {
    let modes = counterpart_modes(scenario.layer, scenario.mode).iter();
    modes
        .filter_map(|mode| {
            let exact = Scenario {
                mode: *mode,
                ..scenario.clone()
            };
            let same = |other: &&Measured| other.scenario == exact;
            let alike = |other: &&Measured| without_quic(&other.scenario) == without_quic(&exact);
            all.iter().find(same).or_else(|| all.iter().find(alike))
        })
        .collect()
}

/// The scenario with the factors of QUIC alone as they are by default.
fn without_quic(scenario: &Scenario) -> Scenario {
    let default = Scenario::of(scenario.layer, scenario.mode);
    Scenario {
        mtu_discovery: default.mtu_discovery,
        initial_mtu: default.initial_mtu,
        initial_rtt_ms: default.initial_rtt_ms,
        ..scenario.clone()
    }
}

const fn counterpart_modes(layer: Layer, mode: Mode) -> &'static [Mode] {
    match (layer, mode) {
        (Layer::Floor, Mode::QuicFull | Mode::QuicRetry | Mode::QuicToken) => &[Mode::TlsFull],
        (Layer::Floor, Mode::QuicResumed) => &[Mode::TlsResumed],
        (Layer::Floor, Mode::Quic0Rtt) => &[Mode::Tls0Rtt],
        (_, Mode::QuicFull | Mode::QuicRetry | Mode::QuicToken) => &[Mode::TcpFull],
        (_, Mode::QuicResumed) => &[Mode::TcpResumed],
        (_, Mode::Quic0Rtt) => &[Mode::Tcp0Rtt],
        (_, Mode::QuicRebind | Mode::QuicAddress | Mode::QuicFlip) => &[
            Mode::TcpReconnect,
            Mode::TcpReconnectResumed,
            Mode::TcpReconnect0Rtt,
        ],
        (
            _,
            Mode::Crypto
            | Mode::TlsFull
            | Mode::TlsResumed
            | Mode::Tls0Rtt
            | Mode::TcpFull
            | Mode::TcpResumed
            | Mode::Tcp0Rtt
            | Mode::TcpFastOpen
            | Mode::TcpReconnect
            | Mode::TcpReconnectResumed
            | Mode::TcpReconnect0Rtt,
        ) => &[],
    }
}

fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// The figures that a busy machine changes, whose noise is worth showing.
const NOISY: &[Metric] = &[
    Metric::Ready,
    Metric::Handshake,
    Metric::FirstByte,
    Metric::Recovery,
    Metric::Latency,
    Metric::ClientCpu,
    Metric::NodeCpu,
    Metric::HandshakeRate,
];

//! Handshakes under load, and the memory of connections that do nothing.
//!
//! The load is open: each handshake has an intended start, whether or not those before it are done, and
//! its latency counts from there. A client that falls behind would otherwise make a slow node look fast.
//! What the client could not keep up with is refused, not reported.

mod burst;
mod error;
mod histograms;
mod memory;
mod node;
mod pressure;
mod table;

use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;

pub use error::LoadError;
pub use node::{Node, NodeProcess};
pub use pressure::Pressure;

use self::burst::Burst;
use super::dial::{Dialer, Flip, Trust, Way};
use super::statistics::{Measured, Taken};
use super::{Metric, Mode, Sample, Scenario};

/// What to do to a node.
#[derive(Clone, Debug)]
pub struct LoadPlan {
    /// What clients do, one mode after the other.
    pub scenarios: Vec<Scenario>,
    /// Handshakes begun in a second, step by step; each mode stops at the first that its client cannot
    /// keep up with.
    pub rates: Vec<u32>,
    /// How long each step takes, in whole seconds.
    pub seconds: u32,
    /// Idle connections over QUIC at which memory is read, rising; with less than two it is not read.
    pub connections: Vec<u32>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct LoadReport {
    /// Of each mode and rate, and of the memory of each mode.
    pub measured: Vec<Measured>,
    /// What is not reported.
    pub refused: Vec<Refused>,
    /// From intended start to first byte, in microseconds, by mode and rate.
    pub histograms: Vec<(Mode, u32, Histogram<u64>)>,
}

/// A step without figures.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// What clients did.
    pub mode: Mode,
    /// Handshakes begun in a second, or connections.
    pub step: u32,
    /// Why there are none, in words.
    pub reason: String,
}

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Handshakes of a mode at a rate.
    Rate(Mode, u32),
    /// Connections of a mode being opened.
    Connections(Mode, u32),
}

/// Runs a plan against a node, and tells `watch` what it begins. Needs a runtime of one thread, whose
/// processor time is the client's.
///
/// # Errors
/// [`LoadError`] where nothing can be measured at all. What fails on the way is in the report.
pub async fn run(
    plan: &LoadPlan,
    node: &Node,
    mut watch: impl FnMut(Step),
) -> Result<LoadReport, LoadError> {
    let way = Arc::new(way(node));
    let mut report = LoadReport::default();
    for scenario in &plan.scenarios {
        let dialer = Arc::new(Dialer::new(scenario, &way)?);
        for rate in &plan.rates {
            watch(Step::Rate(scenario.mode, *rate));
            let burst = Burst::run(&dialer, node, (*rate, plan.seconds)).await?;
            if let Some(reason) = burst.pressure.refusal() {
                report.refused.push(Refused {
                    mode: scenario.mode,
                    step: *rate,
                    reason,
                });
                break;
            }
            report.add(scenario, *rate, burst)?;
        }
    }
    if plan.connections.len() > 1 {
        let process = node.process().ok_or(LoadError::NoProcess)?;
        // Of one mode alone: a process keeps what connections gave back, and others would take it unseen.
        let stay = |scenario: &&Scenario| scenario.mode == Mode::QuicFull;
        for scenario in plan.scenarios.iter().filter(stay) {
            let dialer = Arc::new(Dialer::new(scenario, &way)?);
            let mut begin = |count| watch(Step::Connections(scenario.mode, count));
            let read = memory::read(&dialer, process, &plan.connections, &mut begin).await;
            let mut measured = Measured::of(scenario.clone());
            match read {
                Ok(slopes) => measured.taken = slopes,
                Err(failure) => {
                    *measured.failures.entry(failure.to_string()).or_default() += 1;
                    measured.partial = true;
                }
            }
            report.measured.push(measured);
        }
    }
    Ok(report)
}

impl LoadReport {
    fn add(&mut self, scenario: &Scenario, rate: u32, burst: Burst) -> Result<(), LoadError> {
        let mut histogram = Histogram::new(SIGNIFICANT_DIGITS)?;
        let mut measured = Measured::of(Scenario {
            offered_per_second: Some(rate),
            ..scenario.clone()
        });
        for (block, latency) in &burst.latencies {
            histogram.record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX))?;
            let latency = (Metric::Latency, latency.as_secs_f64() * 1e3);
            measured.taken.push(taken(*block, [latency]));
        }
        let done = f64::from(u32::try_from(burst.latencies.len()).unwrap_or(u32::MAX));
        let mut whole = vec![(Metric::HandshakeRate, done / burst.elapsed.as_secs_f64())];
        if let Some(busy) = burst.node_busy.filter(|busy| !busy.is_zero()) {
            whole.push((Metric::HandshakeRatePerCore, done / busy.as_secs_f64()));
            whole.push((Metric::NodeCpu, busy.as_secs_f64() * 1e6 / done.max(1.0)));
        }
        let client = burst.client_busy.as_secs_f64() * 1e6 / done.max(1.0);
        whole.push((Metric::ClientCpu, client));
        measured.taken.push(taken(0, whole));
        measured.failures = burst.failures;
        self.measured.push(measured);
        self.histograms.push((scenario.mode, rate, histogram));
        Ok(())
    }
}

fn taken(block: u32, metrics: impl IntoIterator<Item = (Metric, f64)>) -> Taken {
    Taken {
        block,
        sample: Sample {
            metrics: metrics.into_iter().collect(),
            round_trips: None,
        },
    }
}

fn way(node: &Node) -> Way {
    let local = if node.address.is_ipv4() {
        std::net::Ipv4Addr::UNSPECIFIED.into()
    } else {
        std::net::Ipv6Addr::UNSPECIFIED.into()
    };
    Way {
        node: node.address,
        name: node.name.clone(),
        authority: node.authority.clone(),
        path: node.path.clone(),
        local,
        other_local: local,
        flip: Flip::Never,
        trust: Trust {
            roots: node.roots.clone(),
            key_log: None,
        },
        limit: ATTEMPT_LIMIT,
        quiet: Duration::ZERO,
    }
}

/// Three digits: a latency of 10 ms is known to 10 us.
const SIGNIFICANT_DIGITS: u8 = 3;
const ATTEMPT_LIMIT: Duration = Duration::from_secs(10);

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::bed::{Bed, pause};
use super::clocks::{NodeClock, Shares};
use crate::bench::dial::{DialError, Dialer, KeyLogFile};
use crate::bench::stand::StandError;
use crate::bench::trace::{Exchange, Marks};
use crate::bench::{Metric, Mode, Sample, Scenario};
use crate::testbed::emulator::{Fate, Trace};

/// A scenario whose node runs and whose client is ready.
#[derive(Debug)]
pub(super) struct Case {
    /// Its place in the plan.
    pub(super) index: usize,
    pub(super) scenario: Scenario,
    pub(super) shares: Shares,
    dialer: Dialer,
    clock: NodeClock,
}

/// What an attempt came to.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) sample: Sample,
    pub(super) marks: Marks,
    pub(super) trace: Option<Trace>,
    /// By how much the latest packet that mattered was late.
    pub(super) lateness: Duration,
}

/// Why there was no attempt, or nothing came of it.
#[derive(Debug, thiserror::Error)]
pub(super) enum CaseError {
    #[error(transparent)]
    Stand(#[from] StandError),
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("the link emulator: {0}")]
    Emulator(#[source] std::io::Error),
}

impl CaseError {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Stand(_) => "stand",
            Self::Dial(error) => error.name(),
            Self::Emulator(_) => "emulator",
        }
    }

    /// Whether nobody answered, which is not worth waiting for once more.
    pub(super) fn is_silence(&self) -> bool {
        matches!(self, Self::Dial(DialError::TimedOut { .. }))
    }
}

impl Case {
    pub(super) fn new(
        bed: &mut Bed,
        (index, scenario): (usize, Scenario),
        key_log: Option<Arc<KeyLogFile>>,
    ) -> Result<Self, CaseError> {
        let (way, clock) = bed.way(&scenario, key_log)?;
        Ok(Self {
            index,
            dialer: Dialer::new(&scenario, &Arc::new(way))?,
            shares: Shares::default(),
            scenario,
            clock,
        })
    }

    /// Does what the scenario says once. `seed` decides what is lost by chance.
    pub(super) async fn attempt(&mut self, bed: &Bed, seed: u64) -> Result<Attempt, CaseError> {
        bed.calm(&self.scenario).map_err(CaseError::Emulator)?;
        let ready = self.dialer.prepare().await?;
        // What came before must not show in the trace, nor on the node's clock.
        sleep(pause(&self.scenario)).await;
        bed.record(&self.scenario, ready.port(), seed);
        let before = self.clock.read();
        let dialed = self.dialer.dial(ready).await;
        let client = NodeClock::read_client();
        // The client's last packets are on their way only now.
        sleep(SETTLE).await;
        let after = self.clock.read();
        let trace = bed.trace().map_err(CaseError::Emulator)?;
        bed.calm(&self.scenario).map_err(CaseError::Emulator)?;
        let dialed = dialed?;
        self.shares.add(&before, &after);
        let marks = dialed.marks();
        dialed.close().await;
        let mut sample = Sample {
            metrics: before.spent(client, &after),
            round_trips: None,
        };
        sample.metrics.extend(times(&marks, self.scenario.mode));
        let mut lateness = Duration::ZERO;
        if let Some(trace) = &trace {
            let rtt = Duration::from_millis(self.scenario.rtt_ms.into());
            let exchange = Exchange::of(trace, marks, rtt);
            sample.metrics.extend(exchange.metrics());
            sample.round_trips = exchange.round_trips().ok();
            lateness = latest(trace, &marks);
        }
        Ok(Attempt {
            sample,
            marks,
            trace,
            lateness,
        })
    }
}

/// The times of the marks, and what a move took as that.
fn times(marks: &Marks, mode: Mode) -> impl Iterator<Item = (Metric, f64)> {
    let times = marks.metrics();
    let recovery = moves(mode)
        .then(|| times.get(&Metric::FirstByte).copied())
        .flatten()
        .map(|time| (Metric::Recovery, time));
    times.into_iter().chain(recovery)
}

const fn moves(mode: Mode) -> bool {
    matches!(
        mode,
        Mode::QuicRebind
            | Mode::QuicAddress
            | Mode::QuicFlip
            | Mode::TcpReconnect
            | Mode::TcpReconnectResumed
            | Mode::TcpReconnect0Rtt
    )
}

/// By how much the latest packet that was delivered before the first byte was late.
fn latest(trace: &Trace, marks: &Marks) -> Duration {
    let counts = trace
        .packets
        .iter()
        .filter(|packet| packet.sent >= marks.start);
    let late = counts.filter_map(|packet| match packet.fate {
        Fate::Delivered { at, late } if marks.first_byte.is_none_or(|end| at <= end) => Some(late),
        _ => None,
    });
    late.max().unwrap_or_default()
}

/// What the node does at the end of an exchange, such as writing tickets, counts as its.
const SETTLE: Duration = Duration::from_millis(2);

//! Requests that begin at random times, whatever becomes of those before them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use tokio::task::JoinSet;
use wayhold::client::Target;
use wayhold::sys::processor::thread_time;

use super::client::Connection;
use super::{Error, Result};

/// How many are to begin in a second, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) rate: f64,
    pub(crate) time: Duration,
}

/// What became of all requests of one load.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// From the time at which each was to begin up to its last byte.
    pub(crate) accepted: Times,
    /// How long after that time each began.
    pub(crate) late: Times,
    pub(crate) refused: usize,
    pub(crate) failed: usize,
    /// Processor time.
    pub(crate) client_busy: Duration,
    pub(crate) gateway_busy: Duration,
    offered: Duration,
    lasted: Duration,
}

/// Times in milliseconds.
#[derive(Debug, Default)]
pub(crate) struct Times(Vec<f64>);

impl Times {
    fn push(&mut self, time: Duration) {
        self.0.push(time.as_secs_f64() * 1e3);
    }

    /// The time that this part of them does not exceed.
    pub(crate) fn at(&mut self, part: f64) -> f64 {
        self.0.sort_by(f64::total_cmp);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index of a list of thousands"
        )]
        let index = (self.0.len() as f64 * part) as usize;
        self.0.get(index).copied().unwrap_or(f64::NAN)
    }
}

impl Outcome {
    /// Takes another run of the same load.
    pub(crate) fn add(&mut self, other: Self) {
        self.accepted.0.extend(other.accepted.0);
        self.late.0.extend(other.late.0);
        self.refused += other.refused;
        self.failed += other.failed;
        self.client_busy += other.client_busy;
        self.gateway_busy += other.gateway_busy;
        self.offered += other.offered;
        self.lasted += other.lasted;
    }

    pub(crate) fn asked(&self) -> f64 {
        each_second(self.late.0.len(), self.offered)
    }

    pub(crate) fn goodput(&self) -> f64 {
        each_second(self.accepted.0.len(), self.lasted)
    }

    pub(crate) fn refused_share(&self) -> f64 {
        each_second(self.refused, self.offered) / self.asked()
    }

    /// The share of one processor that the client's thread left alone.
    pub(crate) fn client_idle(&self) -> f64 {
        1.0 - self.client_busy.as_secs_f64() / self.lasted.as_secs_f64()
    }

    /// The share of one processor that the gateway left alone.
    pub(crate) fn gateway_idle(&self) -> f64 {
        1.0 - self.gateway_busy.as_secs_f64() / self.lasted.as_secs_f64()
    }
}

/// Offers a load over these connections by turns.
pub(crate) async fn offer(
    load: Load,
    target: &Target,
    connections: &[Arc<Connection>],
) -> Result<Outcome> {
    let (begun, spent) = (now(), thread_time());
    let mut outcome = Outcome::default();
    let mut requests = JoinSet::new();
    let mut due = Duration::ZERO;
    for connection in connections.iter().cycle() {
        due += gap(load.rate)?;
        if due > load.time {
            break;
        }
        // Those of one millisecond begin together, because the runtime wakes no sooner.
        let wait = due.saturating_sub(begun.elapsed());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        outcome.late.push(begun.elapsed().saturating_sub(due));
        let (connection, target) = (Arc::clone(connection), target.clone());
        requests.spawn(async move {
            let answer = connection.get(&target, "/").await;
            let took = begun.elapsed().saturating_sub(due);
            (answer.map(|(status, _)| status), took)
        });
        while let Some(done) = requests.try_join_next() {
            outcome.count(done?);
        }
    }
    while let Some(done) = requests.join_next().await {
        outcome.count(done?);
    }
    outcome.offered = load.time;
    outcome.client_busy = thread_time().saturating_sub(spent);
    outcome.lasted = begun.elapsed();
    Ok(outcome)
}

impl Outcome {
    fn count(&mut self, (answer, took): (std::result::Result<StatusCode, Error>, Duration)) {
        match answer {
            Ok(StatusCode::OK) => self.accepted.push(took),
            Ok(StatusCode::SERVICE_UNAVAILABLE) => self.refused += 1,
            Ok(_) | Err(_) => self.failed += 1,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of thousands")]
fn each_second(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

/// The time to the next of events that come at random with this rate.
fn gap(rate: f64) -> Result<Duration> {
    let mut bytes = [0; 4];
    aws_lc_rs::rand::fill(&mut bytes)?;
    let part = (f64::from(u32::from_le_bytes(bytes)) + 1.0) / (f64::from(u32::MAX) + 1.0);
    Ok(Duration::from_secs_f64(-part.ln() / rate))
}

#[expect(clippy::disallowed_methods, reason = "a benchmark times")]
fn now() -> Instant {
    Instant::now()
}

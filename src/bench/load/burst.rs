use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

use super::pressure::{Idle, Pressure};
use super::{LoadError, Node};
use crate::bench::clock::now;
use crate::bench::dial::{DialError, Dialer, Ready};
use crate::sys::processor::thread_time;

/// One step: handshakes at one rate.
pub(super) struct Burst {
    /// From the intended start to the first byte, each with the second in which it was to start.
    pub(super) latencies: Vec<(u32, Duration)>,
    /// By what failed.
    pub(super) failures: BTreeMap<String, u32>,
    /// From the first intended start to the last first byte.
    pub(super) elapsed: Duration,
    /// The node's processor time, where its process is known.
    pub(super) node_busy: Option<Duration>,
    /// The client's.
    pub(super) client_busy: Duration,
    pub(super) pressure: Pressure,
}

/// What became of one attempt.
struct Attempt {
    second: u32,
    late: Duration,
    outcome: Result<Instant, DialError>,
    intended: Instant,
}

impl Burst {
    /// Begins so many handshakes in each of so many seconds.
    pub(super) async fn run(
        dialer: &Arc<Dialer>,
        node: &Node,
        (rate, seconds): (u32, u32),
    ) -> Result<Self, LoadError> {
        let mut ready = Vec::new();
        let mut failures = BTreeMap::new();
        for _ in 0..rate * seconds {
            match dialer.prepare().await {
                Ok(client) => ready.push(client),
                Err(error) => count(&mut failures, &error),
            }
        }
        let node_clock = node.clock().map_err(|source| LoadError::Clock {
            whom: "the node",
            source,
        })?;
        let read = |clock: crate::sys::processor::ProcessorClock| clock.read().ok();
        let (idle, node_before) = (Idle::read()?, node_clock.and_then(read));
        let client_before = thread_time();
        let start = now() + HEAD_START;
        let attempts = attempts(dialer, ready, (rate, start)).await;
        let client_busy = thread_time().saturating_sub(client_before);
        let node_after = node_clock.and_then(read);
        let ended = now();
        let mut burst = Self {
            latencies: Vec::new(),
            failures,
            elapsed: Duration::from_secs(seconds.into()),
            node_busy: node_after
                .zip(node_before)
                .map(|(after, before)| after.saturating_sub(before)),
            client_busy,
            pressure: Pressure {
                late: attempts.iter().map(|attempt| attempt.late).collect(),
                client: client_busy.as_secs_f64() / (ended - start).as_secs_f64(),
                idle: Idle::read()?.since(&idle),
            },
        };
        burst.pressure.late.sort_unstable();
        for attempt in attempts {
            match attempt.outcome {
                Ok(first_byte) => {
                    let latency = first_byte.saturating_duration_since(attempt.intended);
                    burst.latencies.push((attempt.second, latency));
                    burst.elapsed = burst
                        .elapsed
                        .max(first_byte.saturating_duration_since(start));
                }
                Err(error) => count(&mut burst.failures, &error),
            }
        }
        Ok(burst)
    }
}

/// Begins each attempt at its time, and waits for all.
async fn attempts(
    dialer: &Arc<Dialer>,
    ready: Vec<Ready>,
    (rate, start): (u32, Instant),
) -> Vec<Attempt> {
    let mut tasks = JoinSet::new();
    for (number, client) in (0_u32..).zip(ready) {
        let since = Duration::from_secs_f64(f64::from(number) / f64::from(rate));
        let intended = start + since;
        sleep_until(intended.into()).await;
        let dialer = Arc::clone(dialer);
        tasks.spawn(async move {
            let late = now().saturating_duration_since(intended);
            let dialed = dialer.dial(client).await;
            let outcome = match dialed {
                Ok(dialed) => {
                    let first_byte = dialed.marks().first_byte.unwrap_or_else(now);
                    // How the end goes changes nothing for what was measured.
                    drop(timeout(CLOSE_LIMIT, dialed.close()).await);
                    Ok(first_byte)
                }
                Err(error) => Err(error),
            };
            Attempt {
                second: number / rate,
                late,
                outcome,
                intended,
            }
        });
    }
    tasks.join_all().await
}

fn count(failures: &mut BTreeMap<String, u32>, error: &DialError) {
    *failures.entry(error.name().to_owned()).or_default() += 1;
}

/// Enough for the last preparation to be over.
const HEAD_START: Duration = Duration::from_millis(50);
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

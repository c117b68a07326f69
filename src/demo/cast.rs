use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::plan::{Plan, schedule};
use super::report::Transport;
use super::stage::{DELAY, NODES, Stage};
use super::tally::{Moves, Totals};
use super::workload::{Role, Samples, Work, Worker};
use super::{DemoError, Status};
use crate::client::{Client, Patience};
use crate::request::Protocol;
use crate::testbed::{Relay, now};

/// All clients of both transports, connected.
#[derive(Debug)]
pub(super) struct Cast {
    http3: Arc<Work>,
    tcp_tls: Arc<Work>,
    moves: Arc<Moves>,
    stop: CancellationToken,
    workers: Vec<Worker>,
}

/// What the clients have been through when the last of them has ended.
#[derive(Debug)]
pub(super) struct Performance {
    pub(super) http3: Transport,
    pub(super) tcp_tls: Transport,
    /// Moves that found a body in flight on both transports.
    pub(super) in_flight: u64,
}

impl Cast {
    /// Connects all clients, in turn through each node so that each owns some, and sends a request
    /// on every connection, so that no handshake is under way when moves begin.
    pub(super) async fn connect(stage: &Stage, plan: &Plan) -> Result<Self, DemoError> {
        let moves = Arc::new(Moves::default());
        let stop = CancellationToken::new();
        let samples = Arc::new(Samples::make());
        let work = || {
            Arc::new(Work::new(
                Arc::clone(&moves),
                Arc::clone(&samples),
                DELAY,
                plan.deadline(),
                stop.clone(),
            ))
        };
        let mut cast = Self {
            http3: work(),
            tcp_tls: work(),
            moves: Arc::clone(&moves),
            stop,
            workers: Vec::new(),
        };
        for (number, role) in ROLES.into_iter().enumerate() {
            stage.relay().route_to(number % NODES).await?;
            for protocol in [Protocol::Http3, Protocol::Http2] {
                let work = match protocol {
                    Protocol::Http3 => &cast.http3,
                    _ => &cast.tcp_tls,
                };
                let connecting = Client::connect(protocol, stage.target(), stage.tls(), PATIENCE);
                let worker = Worker::new(connecting.await?, role, number, Arc::clone(work));
                worker.warm_up().await?;
                cast.workers.push(worker);
            }
        }
        Ok(cast)
    }

    /// Runs the plan to its end, and every client to the end of its last request.
    pub(super) async fn perform(
        mut self,
        plan: &Plan,
        relay: &Relay,
        watch: impl FnMut(Status),
    ) -> Result<Performance, DemoError> {
        let mut running = JoinSet::new();
        for worker in std::mem::take(&mut self.workers) {
            running.spawn(worker.run());
        }
        let in_flight = self.make_moves(plan, relay, watch).await?;
        self.stop.cancel();
        let all = async { while running.join_next().await.is_some() {} };
        // Each request has its own, shorter deadline; who passes this one is counted as it stands.
        drop(tokio::time::timeout(plan.deadline() + GOODBYE, all).await);
        Ok(Performance {
            http3: self.http3.outcome(),
            tcp_tls: self.tcp_tls.outcome(),
            in_flight,
        })
    }

    async fn make_moves(
        &self,
        plan: &Plan,
        relay: &Relay,
        mut watch: impl FnMut(Status),
    ) -> Result<u64, DemoError> {
        let start = now();
        let mut in_flight = 0;
        for (moves, (at, event)) in (0..).zip(schedule()) {
            let status = self.status(start, moves);
            watch(status);
            if self.is_over(plan, &status, relay).await? {
                break;
            }
            tokio::time::sleep_until((start + at).into()).await;
            let both = [&self.http3, &self.tcp_tls];
            in_flight += u64::from(both.iter().all(|work| work.tally.has_body_in_flight()));
            self.moves.push(relay.make(event).await?);
        }
        Ok(in_flight)
    }

    fn status(&self, start: Instant, moves: u64) -> Status {
        Status {
            elapsed: now().saturating_duration_since(start),
            moves,
            http3: self.http3.tally.totals(),
            tcp_tls: self.tcp_tls.tally.totals(),
        }
    }

    async fn is_over(
        &self,
        plan: &Plan,
        status: &Status,
        relay: &Relay,
    ) -> Result<bool, DemoError> {
        if status.elapsed >= plan.hard_limit() || status.http3.lost >= ENOUGH_LOST {
            return Ok(true);
        }
        if status.elapsed < plan.duration {
            return Ok(false);
        }
        let counts = relay.counts().await?;
        let minimums = &plan.minimums;
        let reached = |totals: &Totals| {
            totals.answered() >= minimums.requests
                && totals.downloaded.min(totals.uploaded) >= minimums.bytes
        };
        Ok(reached(&status.http3)
            && reached(&status.tcp_tls)
            && counts.rebinds >= minimums.rebinds
            && counts.addresses >= minimums.addresses
            && counts.flips >= minimums.flips)
    }
}

impl Work {
    fn outcome(&self) -> Transport {
        let mut recovered = self.tally.recovered();
        recovered.sort_unstable();
        Transport {
            totals: self.tally.totals(),
            recovered,
            first_failure: self.tally.first_failure(),
        }
    }
}

/// For each transport; neighbours get different nodes.
const ROLES: [Role; 6] = [
    Role::Download,
    Role::Download,
    Role::Upload,
    Role::Upload,
    Role::Small,
    Role::Small,
];
/// HTTP/3 connections, each kept for the whole run.
pub(super) const CONNECTIONS: u64 = ROLES.len() as u64;
/// The run has failed and more losses teach nothing.
const ENOUGH_LOST: u64 = 3;
const GOODBYE: Duration = Duration::from_secs(2);
/// The keep-alive is what brings back a client that only receives: three round trips of the relay.
const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(5),
    response: Duration::from_secs(10),
    idle: Duration::from_secs(10),
    keep_alive: Duration::from_millis(60),
};

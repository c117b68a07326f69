use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::plan::{Act, Event, NODES, Plan, VICTIM, schedule};
use super::report::Transport;
use super::stage::{DELAY, Stage};
use super::tally::{Moves, Totals};
use super::workload::{Dial, Role, Samples, Work, Worker};
use super::{DemoError, Status};
use crate::client::Patience;
use crate::request::Protocol;
use crate::testbed::now;

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
    /// How often each kind of event happened.
    pub(super) counts: [u64; Event::ALL.len()],
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
        let dial = Arc::new(Dial {
            target: stage.target().clone(),
            tls: Arc::clone(stage.tls()),
            patience: Patience {
                response: plan.deadline(),
                idle: plan.deadline(),
                ..PATIENCE
            },
        });
        for (number, role) in roles(plan).enumerate() {
            stage.relay().route_to(number % NODES).await?;
            for protocol in protocols(plan) {
                let work = match protocol {
                    Protocol::Http3 => &cast.http3,
                    _ => &cast.tcp_tls,
                };
                let client = dial.connect(*protocol).await?;
                let (dial, work) = (Arc::clone(&dial), Arc::clone(work));
                let worker = Worker::new(client, dial, role, number, work);
                cast.workers.push(worker);
            }
        }
        Ok(cast)
    }

    /// Runs the plan to its end, and every client to the end of its last request.
    pub(super) async fn perform(
        mut self,
        plan: &Plan,
        stage: &mut Stage,
        watch: impl FnMut(Status),
    ) -> Result<Performance, DemoError> {
        let mut running = JoinSet::new();
        for worker in std::mem::take(&mut self.workers) {
            running.spawn(worker.run());
        }
        let in_flight = self.direct(plan, stage, watch).await?;
        self.stop.cancel();
        let all = async { while running.join_next().await.is_some() {} };
        // Each request has its own, shorter deadline; who passes this one is counted as it stands.
        drop(tokio::time::timeout(plan.deadline() + GOODBYE, all).await);
        Ok(Performance {
            http3: self.http3.outcome(),
            tcp_tls: self.tcp_tls.outcome(),
            in_flight,
            counts: Event::ALL.map(|event| self.moves.count(event)),
        })
    }

    /// Makes everything happen in its order: what moves the clients, and what is done to the nodes.
    async fn direct(
        &self,
        plan: &Plan,
        stage: &mut Stage,
        mut watch: impl FnMut(Status),
    ) -> Result<u64, DemoError> {
        let began = now();
        let (mut start, mut in_flight) = (began, 0);
        let mut acts = plan.acts().peekable();
        for (moves, (at, made)) in (0..).zip(schedule()) {
            let status = self.status(at, moves);
            watch(status);
            let out_of_time = now().saturating_duration_since(began) >= plan.hard_limit();
            if out_of_time || self.is_over(plan, &status, stage).await? {
                break;
            }
            if let Some((_, act)) = acts.next_if(|(due, _)| *due <= at) {
                self.act(act, stage).await?;
            }
            tokio::time::sleep_until((start + at).into()).await;
            // What was late pushes back what follows: moves keep their distances.
            start += now().saturating_duration_since(start + at);
            let flying = self.happens(made.into());
            in_flight += u64::from(flying[..protocols(plan).len()].iter().all(|body| *body));
            self.moves
                .push(stage.relay().make(made).await?, made.into());
        }
        if plan.kills() {
            self.kill(plan, stage).await?;
        }
        Ok(in_flight)
    }

    async fn act(&self, act: Act, stage: &mut Stage) -> Result<(), DemoError> {
        let event = match act {
            Act::Drain(_) => Event::Drain,
            Act::Upgrade(_) => Event::Upgrade,
            Act::Rotate => Event::Rotate,
            Act::Reload => Event::Reload,
            Act::Join => Event::Join,
            Act::Leave => Event::Leave,
            Act::Undrain(node) => return stage.undrain(node).await,
            Act::Part => return stage.part().await,
        };
        self.happens(event);
        self.moves.push(now(), event);
        match act {
            Act::Drain(node) => stage.drain(node).await,
            Act::Upgrade(node) => stage.upgrade(node).await,
            Act::Rotate => stage.rotate().await,
            Act::Reload => stage.reroute().await,
            Act::Join => stage.join().await,
            Act::Leave => stage.leave().await,
            Act::Undrain(_) | Act::Part => Ok(()),
        }
    }

    /// Kills a node, after which nothing moves, and waits until every client has got something again.
    async fn kill(&self, plan: &Plan, stage: &mut Stage) -> Result<(), DemoError> {
        self.happens(Event::Kill);
        let killed = stage.kill(VICTIM).await?;
        self.moves.push(killed, Event::Kill);
        let both = [&self.http3, &self.tcp_tls];
        let back = |work: &Arc<Work>| {
            work.tally.aftermath(Event::Kill).recovered.len() >= roles(plan).count()
        };
        let all_back = async {
            while !both.into_iter().all(back) {
                tokio::time::sleep(LOOK).await;
            }
        };
        // Who is not back by then has lost a request, and that is counted.
        drop(tokio::time::timeout(plan.deadline() * 2, all_back).await);
        Ok(())
    }

    /// Counts an event on both transports; the answer is whether both have a body in flight.
    /// Notes an event, and tells whether bodies were in flight then: over HTTP/3, and over TCP.
    fn happens(&self, event: Event) -> [bool; 2] {
        [&self.http3, &self.tcp_tls].map(|work| work.tally.happens(event))
    }

    fn status(&self, elapsed: Duration, moves: u64) -> Status {
        Status {
            elapsed,
            moves,
            http3: self.http3.tally.totals(),
            tcp_tls: self.tcp_tls.tally.totals(),
        }
    }

    async fn is_over(
        &self,
        plan: &Plan,
        status: &Status,
        stage: &Stage,
    ) -> Result<bool, DemoError> {
        if status.http3.lost >= ENOUGH_LOST {
            return Ok(true);
        }
        if let Some(soak) = &plan.soak {
            return Ok(status.http3.answered() >= soak.requests);
        }
        if status.elapsed < plan.duration {
            return Ok(false);
        }
        let counts = stage.relay().counts().await?;
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

/// What the clients of each transport do.
fn roles(plan: &Plan) -> impl Iterator<Item = Role> + use<> {
    let (times, roles) = match plan.soak {
        None => (1, ROLES.as_slice()),
        Some(_) => (SOAK_TIMES, SOAK_ROLES.as_slice()),
    };
    std::iter::repeat_n(roles, times).flatten().copied()
}

/// HTTP/3 connections, each kept until its node sends it away.
pub(super) fn connections(plan: &Plan) -> u64 {
    roles(plan).count() as u64
}

/// A soak is about HTTP/3 alone.
fn protocols(plan: &Plan) -> &'static [Protocol] {
    match plan.soak {
        None => &[Protocol::Http3, Protocol::Http2],
        Some(_) => &[Protocol::Http3],
    }
}

impl Work {
    fn outcome(&self) -> Transport {
        let after = Event::ALL.map(|event| self.tally.aftermath(event));
        let mut recovered: Vec<_> = after
            .iter()
            .flat_map(|after| after.recovered.iter().copied())
            .collect();
        recovered.sort_unstable();
        Transport {
            totals: self.tally.totals(),
            recovered,
            after,
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
/// Of a soak: small requests make the number, and large ones are always in flight. Four roles and three
/// nodes, so that each node has clients of every role.
const SOAK_ROLES: [Role; 4] = [Role::Small, Role::Download, Role::Small, Role::Upload];
const SOAK_TIMES: usize = 12;
/// The run has failed and more losses teach nothing.
const ENOUGH_LOST: u64 = 3;
const LOOK: Duration = Duration::from_millis(5);
const GOODBYE: Duration = Duration::from_secs(2);
/// The keep-alive is what brings back a client that only receives: three round trips of the relay.
const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(5),
    response: Duration::from_secs(10),
    idle: Duration::from_secs(10),
    keep_alive: Duration::from_millis(60),
};

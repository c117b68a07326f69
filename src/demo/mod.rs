//! The demo: three gateway nodes in processes of their own, two stateless backends and a dozen
//! clients in this one, on loopback, with a [relay](crate::testbed::Relay) between them under which
//! everything moves, while nodes are drained, upgraded, given new keys and at the end killed.
//!
//! The same work runs over HTTP/3 and, through the same moves, over TCP and TLS. Every body is
//! checked by hash, and the relay's counts are compared with the metrics of the nodes: a demo that
//! only looked at its own success could not tell a gateway that works from a network that never
//! moved.

mod audit;
mod cast;
mod files;
mod guest;
mod node;
mod plan;
mod report;
mod stage;
mod storm;
mod tally;
mod workload;

use std::io;
use std::time::Duration;

pub use plan::{Break, Event, Minimums, Plan, Soak};
pub use report::{Happened, Moved, Report, Transport};
pub use storm::{StormReport, storm};
pub use tally::{Aftermath, Totals};

use self::audit::{NodeBooks, disagreements};
use self::cast::{Cast, connections};
use self::stage::Stage;
use crate::bridge::Origin;
use crate::client::ClientError;
use crate::control::KeyFileError;
use crate::testbed::{Counts, RelayGone, now};

/// Where a run is.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    /// Since the first move was due.
    pub elapsed: Duration,
    /// Moves made.
    pub moves: u64,
    /// What HTTP/3 has been through.
    pub http3: Totals,
    /// What TCP has been through.
    pub tcp_tls: Totals,
}

/// Why a run could not be made; a run that was made and went badly is a [`Report`] with problems.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// A socket or a temporary file failed.
    #[error("cannot set the demo up")]
    Io(#[from] io::Error),
    /// No certificate could be made.
    #[error("cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
    /// The fleet's key file could not be made.
    #[error("cannot make the fleet's key file")]
    KeyFile(#[from] KeyFileError),
    /// A node did not do what it should.
    #[error("node {number} {what}; it has written:\n{log}")]
    Node {
        /// Its number, from 1.
        number: usize,
        /// The exit code of its process, if that has ended.
        code: Option<i32>,
        /// What it did.
        what: String,
        /// The end of its log.
        log: String,
    },
    /// A client could not connect before anything moved.
    #[error("a client could not connect")]
    Client(#[from] ClientError),
    /// Not all clients of a storm could connect before it.
    #[error("{connected} of {connections} clients could connect")]
    Crowd {
        /// Clients that could.
        connected: usize,
        /// Clients that should have.
        connections: usize,
    },
    /// The relay stopped.
    #[error("the relay stopped")]
    Relay(#[from] RelayGone),
}

impl DemoError {
    /// Whether a node had no port, which is no fault of its own.
    fn is_bind(&self) -> bool {
        matches!(
            self,
            Self::Node {
                code: Some(BIND),
                ..
            }
        )
    }
}

/// Runs the demo and tells `watch` several times a second where it is. Needs a tokio runtime with
/// more than one thread to be fair to everyone.
///
/// # Errors
/// [`DemoError`] when the run could not be made.
pub async fn run(plan: &Plan, watch: impl FnMut(Status)) -> Result<Report, DemoError> {
    let began = now();
    let mut stage = Stage::set(plan, Origin).await?;
    let cast = Cast::connect(&stage, plan).await?;
    let performance = cast.perform(plan, &mut stage, watch).await?;
    let (counts, nodes, disagreements) = settle(&mut stage, connections(plan)).await?;

    let mut report = Report {
        moves: Moved::new(&counts, performance.in_flight),
        events: Happened::of(plan.events(), &performance),
        http3: performance.http3,
        tcp_tls: performance.tcp_tls,
        forwarded: nodes.iter().map(|node| node.forwarded).sum(),
        resets: nodes.iter().map(|node| node.resets).sum(),
        elapsed: now().saturating_duration_since(began),
        problems: disagreements,
        logs: Vec::new(),
    };
    report.problems.extend(report.violations());
    if plan.fault.is_none() {
        report.problems.extend(report.shortfalls(&plan.minimums));
    }
    report.problems.extend(report.soak_shortfall(plan.soak));
    if !report.succeeded() {
        report.logs = stage.logs();
    }
    Ok(report)
}

/// Gives the last datagrams the time to arrive, and reads all books until they agree.
async fn settle(
    stage: &mut Stage,
    connections: u64,
) -> Result<(Counts, Vec<NodeBooks>, Vec<String>), DemoError> {
    let mut rounds = 0;
    loop {
        let (counts, nodes) = stage.books().await?;
        let found = disagreements(&counts, &nodes, connections);
        rounds += 1;
        if (found.is_empty() && counts.under_way == 0) || rounds == SETTLE_ROUNDS {
            return Ok((counts, nodes, found));
        }
        tokio::time::sleep(SETTLE_PAUSE).await;
    }
}

const SETTLE_ROUNDS: u32 = 40;
const SETTLE_PAUSE: Duration = Duration::from_millis(25);
/// The exit code of `wayhold run` without a port.
const BIND: i32 = 4;

//! What a killed node does to its clients: they learn of it by a stateless reset, and all connect
//! again at once.

mod client;
mod ledger;
mod report;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::Barrier;
use tokio::task::JoinSet;

pub use report::StormReport;

use self::client::{Crowd, INTERVAL};
use self::ledger::Ledger;
use self::report::Times;
use super::DemoError;
use super::plan::{Plan, VICTIM};
use super::stage::Stage;
use super::workload::Dial;
use crate::client::{Client, Patience};
use crate::testbed::now;

/// Runs a storm of so many connections between nodes of this `wayhold` program.
///
/// Before and after, as many clients connect to a node at once and leave again: that is what
/// connecting costs. In between another node has all of them, is killed, and they connect to the
/// first.
///
/// # Errors
/// [`DemoError`] when the run could not be made.
pub async fn storm(program: PathBuf, connections: usize) -> Result<StormReport, DemoError> {
    let plan = Plan::new(program, Duration::ZERO, None);
    let ledger = Ledger::default();
    let mut stage = Stage::set(&plan, ledger.clone()).await?;
    let crowd = Arc::new(Crowd {
        dial: Dial {
            target: stage.target().clone(),
            tls: Arc::clone(stage.tls()),
            patience: Patience::default(),
        },
        next_id: AtomicU64::new(0),
        all_know: Barrier::new(connections),
    });

    stage.relay().route_to(HEIR).await?;
    let before = fresh(&crowd, connections).await?;

    stage.relay().route_to(VICTIM).await?;
    let clients = connect(&crowd, connections, FEW).await?;
    let mut living = JoinSet::new();
    for (number, client) in (0..).zip(clients) {
        let phase = INTERVAL * (number % PHASES) / PHASES;
        living.spawn(Arc::clone(&crowd).live(client, phase));
    }
    tokio::time::sleep(LEAD).await;
    let killed = stage.kill(VICTIM).await?;
    let detected = stage.until_dead(VICTIM, HEIR).await?;
    let (mut fates, mut clients) = (Vec::new(), Vec::new());
    while let Some(lived) = living.join_next().await {
        let (fate, client) = lived.unwrap_or_default();
        fates.push(fate);
        clients.extend(client);
    }
    close(clients).await;
    let after = fresh(&crowd, connections).await?;
    let times = Times {
        killed,
        detected,
        fresh: [before, after],
    };
    let mut report = StormReport::new(times, &fates, &ledger);
    if !report.succeeded() {
        report.logs = stage.logs();
    }
    Ok(report)
}

/// How long it takes until so many clients that connect at once have an answer.
async fn fresh(crowd: &Arc<Crowd>, connections: usize) -> Result<Duration, DemoError> {
    let began = now();
    let clients = connect(crowd, connections, connections).await?;
    let took = now().saturating_duration_since(began);
    close(clients).await;
    Ok(took)
}

async fn close(clients: Vec<Client>) {
    let mut closing: JoinSet<()> = clients.into_iter().map(Client::close).collect();
    while closing.join_next().await.is_some() {}
}

/// Connects so many clients, at most `at_once` of them at the same time.
async fn connect(
    crowd: &Arc<Crowd>,
    connections: usize,
    at_once: usize,
) -> Result<Vec<Client>, DemoError> {
    let (mut connecting, mut clients) = (JoinSet::new(), Vec::new());
    for _ in 0..connections {
        if connecting.len() == at_once {
            clients.extend(connecting.join_next().await.and_then(Result::ok).flatten());
        }
        let crowd = Arc::clone(crowd);
        connecting.spawn(async move { crowd.connect().await.map(|(client, _)| client) });
    }
    while let Some(connected) = connecting.join_next().await {
        clients.extend(connected.ok().flatten());
    }
    if clients.len() < connections {
        let connected = clients.len();
        return Err(DemoError::Crowd {
            connected,
            connections,
        });
    }
    Ok(clients)
}

/// The node that the route leads to after the kill, and to which all new connections go.
const HEIR: usize = 0;
/// Connections that are made at the same time when that is not what is measured.
const FEW: usize = 32;
const PHASES: u32 = 100;
/// How long the clients send before the kill.
const LEAD: Duration = Duration::from_secs(2);

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::{Method, Request};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::ledger::PATH;
use crate::client::{Client, ClientError};
use crate::demo::workload::{Dial, SERVICE_NAME, describe};
use crate::request::{Body, Protocol};
use crate::testbed::now;

/// What all clients share.
#[derive(Debug)]
pub(super) struct Crowd {
    pub(super) dial: Dial,
    pub(super) next_id: AtomicU64,
}

/// What became of one client.
#[derive(Clone, Debug, Default)]
pub(super) struct Fate {
    /// When its first request failed, and why.
    pub(super) failed: Option<(Instant, String)>,
    /// When the first request on its new connection was answered.
    pub(super) back: Option<Instant>,
    /// Requests that it has sent, and those of them that were answered.
    pub(super) sent: u64,
    pub(super) answered: Vec<u64>,
}

impl Crowd {
    /// Connects, as often as it takes, and sends a request; answers when that was answered, or that
    /// it was not in time.
    pub(super) async fn connect(&self) -> Option<(Client, Instant)> {
        let connecting = async {
            loop {
                match self.dial.connect(Protocol::Http3).await {
                    Ok(client) => return (client, now()),
                    Err(_) => tokio::time::sleep(PAUSE).await,
                }
            }
        };
        tokio::time::timeout(CONNECT_LIMIT, connecting).await.ok()
    }

    /// Sends a request every [`INTERVAL`], whether or not those before were answered, until one fails;
    /// then connects again. None is sent twice. The first goes out after `phase`.
    pub(super) async fn live(self: Arc<Self>, client: Client, phase: Duration) -> Fate {
        let client = Arc::new(client);
        let mut fate = Fate::default();
        let mut pending = JoinSet::new();
        let mut ticks = tokio::time::interval_at((now() + phase).into(), INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let error = loop {
            tokio::select! {
                _ = ticks.tick(), if pending.len() < MOST_PENDING => {
                    let id = self.next_id.fetch_add(1, Ordering::Relaxed);
                    fate.sent += 1;
                    let client = Arc::clone(&client);
                    pending.spawn(async move { (id, post(&client, id).await) });
                }
                Some(ended) = pending.join_next() => match ended {
                    Ok((id, Ok(()))) => fate.answered.push(id),
                    Ok((_, Err(error))) => break describe(&error),
                    Err(error) => break describe(&error),
                },
            }
        };
        fate.failed = Some((now(), error));
        drop(client);
        pending.shutdown().await;
        if let Some((client, back)) = self.connect().await {
            fate.back = Some(back);
            client.close().await;
        }
        fate
    }
}

async fn post(client: &Client, id: u64) -> Result<(), ClientError> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("https://{SERVICE_NAME}{PATH}{id}"))
        .body(Body::empty())
        .expect("the URI is valid");
    let mut response = client.send(request).await?;
    response.body_mut().collect(0).await?;
    Ok(())
}

/// A client sends at least every 250 ms.
pub(super) const INTERVAL: Duration = Duration::from_millis(200);
/// As many as a node allows at once.
const MOST_PENDING: usize = 128;
const CONNECT_LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);

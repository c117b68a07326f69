use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request};
use http_body::Frame;
use tokio::sync::{Barrier, mpsc};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::ledger::PATH;
use crate::client::{Client, ClientError};
use crate::demo::workload::{Dial, SERVICE_NAME, describe};
use crate::request::{Body, BodyError, Protocol};
use crate::testbed::now;

/// What all clients share.
#[derive(Debug)]
pub(super) struct Crowd {
    pub(super) dial: Dial,
    pub(super) next_id: AtomicU64,
    /// Where clients that know wait for the others.
    pub(super) all_know: Barrier,
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

    /// Sends a piece of a request every [`INTERVAL`], and the next request when one has all its pieces,
    /// until one fails; then connects again. No request is sent twice. The first goes out after `phase`.
    ///
    /// It connects when all others know too: real clients have processors of their own, and what a
    /// thousand handshakes cost on this one would be counted as the time in which the rest learns.
    ///
    /// Its new connection stays open, for the caller to close when all are back: closing is no part of
    /// connecting.
    pub(super) async fn live(
        self: Arc<Self>,
        client: Client,
        phase: Duration,
    ) -> (Fate, Option<Client>) {
        let client = Arc::new(client);
        let mut fate = Fate::default();
        let mut pending = JoinSet::new();
        let mut ticks = tokio::time::interval_at((now() + phase).into(), INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut upload = None;
        let error = loop {
            tokio::select! {
                _ = ticks.tick() => {
                    let (pieces, sent) = upload.take().unwrap_or_else(|| {
                        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
                        fate.sent += 1;
                        let (pieces, queue) = mpsc::channel(PIECES);
                        let client = Arc::clone(&client);
                        pending.spawn(async move { (id, post(&client, id, queue).await) });
                        (pieces, 0)
                    });
                    // Fails only when the request has, of which its task tells.
                    drop(pieces.try_send(Bytes::from_static(b".")));
                    upload = (sent + 1 < PIECES).then_some((pieces, sent + 1));
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
        // A client that never knows must not keep the others for ever.
        drop(tokio::time::timeout(KNOW_LIMIT, self.all_know.wait()).await);
        let (client, back) = self.connect().await.unzip();
        fate.back = back;
        (fate, client)
    }
}

async fn post(client: &Client, id: u64, pieces: mpsc::Receiver<Bytes>) -> Result<(), ClientError> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("https://{SERVICE_NAME}{PATH}{id}"))
        .body(Body::new(Pieces(pieces)))
        .expect("the URI is valid");
    let mut response = client.send(request).await?;
    response.body_mut().collect(0).await?;
    Ok(())
}

/// A body that comes through a channel.
struct Pieces(mpsc::Receiver<Bytes>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let piece = self.0.poll_recv(cx);
        piece.map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// A client sends at least every 250 ms.
pub(super) const INTERVAL: Duration = Duration::from_millis(240);
/// Of a request, which so lasts a second: there is always one in flight.
const PIECES: usize = 4;
const CONNECT_LIMIT: Duration = Duration::from_secs(60);
const KNOW_LIMIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(5);

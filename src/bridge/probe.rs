//! Asking backends how they are.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::dial::Stream;
use super::pool::Pool;
use super::upstream::Upstream;
use crate::balance::BackendId;
use crate::config::Probe;
use crate::request::{Protocol, RequestError};

/// Starts to probe the backends of every pool that wants it, each by itself.
pub(super) fn start(pools: &[Arc<Pool>]) -> JoinSet<()> {
    let mut probes = JoinSet::new();
    for pool in pools {
        if pool.config.probe == Probe::Off {
            continue;
        }
        for (id, upstream) in pool.backends() {
            probes.spawn(watch(Arc::clone(pool), id, upstream));
        }
    }
    probes
}

/// Probes a backend until the task is aborted.
#[expect(clippy::infinite_loop, reason = "the set that owns it ends it")]
async fn watch(pool: Arc<Pool>, id: BackendId, upstream: Arc<Upstream>) {
    let config = &pool.config;
    loop {
        // Nodes that were started together do not probe together.
        sleep(config.probe_interval.mul_f64(0.7 + 0.4 * pool.part())).await;
        let asked = timeout(config.probe_timeout, ask(&config.probe, &upstream)).await;
        let outcome = asked.unwrap_or(Err(ProbeFailed::Late));
        if let Err(error) = &outcome {
            tracing::debug!(pool = %config.name, backend = %upstream.name, %error, "probe failed");
        }
        pool.probed(id, outcome.is_ok());
    }
}

/// Why a probe did not succeed.
#[derive(Debug, thiserror::Error)]
enum ProbeFailed {
    #[error("no answer in time")]
    Late,
    #[error("{0}")]
    Connect(#[from] RequestError),
    #[error("no answer: {0}")]
    Http(#[from] hyper::Error),
    #[error("the probe cannot be written: {0}")]
    Request(#[from] http::Error),
    #[error("answered with {0}")]
    Status(StatusCode),
}

async fn ask(probe: &Probe, upstream: &Upstream) -> Result<(), ProbeFailed> {
    let stream = upstream.probe().await?;
    let Probe::Path(path) = probe else {
        return Ok(());
    };
    let status = get(stream, path, &upstream.name).await?;
    if status.is_success() || status.is_redirection() {
        Ok(())
    } else {
        Err(ProbeFailed::Status(status))
    }
}

/// Asks for a path on a connection of its own, which ends with the answer's header section.
async fn get(stream: Stream, path: &str, name: &str) -> Result<StatusCode, ProbeFailed> {
    let way = stream.way();
    let io = TokioIo::new(stream);
    if way.protocol == Protocol::Http1 {
        let (mut sender, connection) = http1::handshake(io).await?;
        let request = Request::get(path)
            .header(header::HOST, name)
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())?;
        return answered(sender.send_request(request), connection).await;
    }
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
    let uri = Uri::builder()
        .scheme(way.scheme)
        .authority(name)
        .path_and_query(path)
        .build()?;
    let request = Request::get(uri).body(Empty::<Bytes>::new())?;
    answered(sender.send_request(request), connection).await
}

/// Drives a connection until the response has begun.
async fn answered(
    response: impl Future<Output = hyper::Result<Response<Incoming>>>,
    connection: impl Future<Output = hyper::Result<()>>,
) -> Result<StatusCode, ProbeFailed> {
    let mut response = pin!(response);
    let response = tokio::select! {
        response = &mut response => response,
        // It may end with the response that it has just read.
        ended = connection => {
            ended?;
            response.await
        }
    };
    Ok(response?.status())
}

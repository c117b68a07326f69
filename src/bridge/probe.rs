//! Asking backends how they are.

use std::pin::pin;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::dial::Stream;
use super::upstream::Upstream;
use crate::config::Probe;
use crate::request::{Protocol, RequestError};

/// Why a probe did not succeed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeFailed {
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

impl ProbeFailed {
    /// The outcome in the status.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Late => "timeout",
            Self::Connect(_) => "no_connection",
            Self::Http(_) => "no_answer",
            Self::Request(_) => "not_written",
            Self::Status(_) => "status",
        }
    }
}

/// Asks once.
pub(super) async fn ask(probe: &Probe, upstream: &Upstream) -> Result<(), ProbeFailed> {
    let stream = upstream.probe().await?;
    let Probe::Path(path) = probe else {
        return Ok(());
    };
    let status = get(stream, path, &upstream.host).await?;
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

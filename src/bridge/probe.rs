//! Asking backends how they are.

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Full, Limited};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::dial::{Stream, Way};
use super::driven::driven;
use super::grpc;
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
    #[error("gRPC's health protocol needs HTTP/2, and the backend chose HTTP/1.1")]
    NotHttp2,
    #[error("the service is not serving")]
    NotServing,
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
            Self::NotHttp2 => "not_http2",
            Self::NotServing => "not_serving",
        }
    }
}

/// Asks once.
pub(super) async fn ask(probe: &Probe, upstream: &Upstream) -> Result<(), ProbeFailed> {
    let stream = upstream.probe().await?;
    match probe {
        Probe::Off | Probe::Tcp => Ok(()),
        Probe::Path(path) => match get(stream, path, &upstream.host).await? {
            status if status.is_success() || status.is_redirection() => Ok(()),
            status => Err(ProbeFailed::Status(status)),
        },
        Probe::Grpc(service) => {
            if check(stream, service, &upstream.host).await? {
                Ok(())
            } else {
                Err(ProbeFailed::NotServing)
            }
        }
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
        let response = sender.send_request(request);
        return Ok(driven(response, connection).await?.status());
    }
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
    let request = Request::get(uri(way, name, path)?).body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request);
    Ok(driven(response, connection).await?.status())
}

/// Asks by gRPC's health protocol whether a service is serving, on a connection of its own.
async fn check(stream: Stream, service: &str, name: &str) -> Result<bool, ProbeFailed> {
    let way = stream.way();
    if way.protocol == Protocol::Http1 {
        return Err(ProbeFailed::NotHttp2);
    }
    let io = TokioIo::new(stream);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
    let request = Request::post(uri(way, name, grpc::HEALTH)?)
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(Full::new(grpc::health_request(service)))?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let content = Limited::new(response.into_body(), MAX_ANSWER);
        Ok::<_, hyper::Error>((status, content.collect().await))
    };
    let (status, content) = driven(answer, connection).await?;
    if status != StatusCode::OK {
        return Err(ProbeFailed::Status(status));
    }
    Ok(content.is_ok_and(|content| grpc::is_serving(&content.to_bytes())))
}

fn uri(way: Way, name: &str, path: &str) -> http::Result<Uri> {
    Uri::builder()
        .scheme(way.scheme)
        .authority(name)
        .path_and_query(path)
        .build()
}

/// More than any answer of gRPC's health protocol has.
const MAX_ANSWER: usize = 1024;

use std::fmt;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use h3::error::{Code, StreamError};

use crate::request::BodyError;

/// Why a client failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// A file with certificates could not be read.
    #[error("cannot read certificates from {}: {reason}", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The system's certificates could not be read; name a file with `--ca`.
    #[error("the system has no certificates to trust")]
    NoSystemCertificates,
    /// The name is neither a DNS name nor an IP address.
    #[error("{0} is not a name that a certificate can have")]
    Name(String),
    /// TLS could not be set up.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
    /// No socket, or TCP could not connect, or the TLS handshake failed.
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    /// QUIC refused to begin.
    #[error("cannot begin QUIC")]
    Begin(#[from] quinn::ConnectError),
    /// The QUIC handshake failed.
    #[error("the QUIC handshake failed")]
    Quic(#[from] quinn::ConnectionError),
    /// The other side did not agree to the protocol (RFC 7301).
    #[error("the other side does not speak {0}")]
    Alpn(&'static str),
    /// A step took too long.
    #[error("{stage} took longer than {limit:?}")]
    TimedOut {
        /// The step.
        stage: Stage,
        /// Its limit.
        limit: Duration,
    },
    /// HTTP/3 failed on the connection.
    #[error("the HTTP/3 connection failed")]
    Http3Connection(#[from] h3::error::ConnectionError),
    /// HTTP/3 failed on the request's stream.
    #[error("the HTTP/3 request failed")]
    Http3(#[from] StreamError),
    /// HTTP/2 failed.
    #[error("the HTTP/2 request failed")]
    Http2(#[from] hyper::Error),
    /// The caller's request body failed.
    #[error("the request body failed")]
    Source(#[from] BodyError),
    /// The response ended cleanly, but its length is not its content-length (RFC 9110, section 8.6).
    #[error("the response has {received} bytes where {announced} were announced")]
    Length {
        /// Bytes announced.
        announced: u64,
        /// Bytes received.
        received: u64,
    },
}

impl ClientError {
    /// Whether the other side certainly has not processed the HTTP/3 request, because it was sent, or
    /// would have been, after the GOAWAY: it can be sent again on another connection (RFC 9114,
    /// section 5.2).
    pub fn is_unprocessed(&self) -> bool {
        match self {
            Self::Http3(StreamError::RemoteClosing { .. }) => true,
            Self::Http3(StreamError::RemoteTerminate { code, .. }) => {
                *code == Code::H3_REQUEST_REJECTED
            }
            _ => false,
        }
    }
}

/// The step in which a deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Connecting.
    Connect,
    /// Sending the request.
    Request,
    /// Waiting for the response's header section.
    Response,
    /// Waiting for the next piece of the response's body.
    Body,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connecting",
            Self::Request => "sending the request",
            Self::Response => "the response",
            Self::Body => "the next piece of the body",
        })
    }
}

/// Runs one step under its limit.
pub(super) async fn within<T>(
    limit: Duration,
    stage: Stage,
    step: impl Future<Output = T>,
) -> Result<T, ClientError> {
    let Ok(output) = tokio::time::timeout(limit, step).await else {
        return Err(ClientError::TimedOut { stage, limit });
    };
    Ok(output)
}

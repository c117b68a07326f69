use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};

/// A streamed message body with optional trailers, in either direction.
///
/// A body is never collected by the gateway: each frame is passed on when the other side has
/// room. A body that ends with an error was cut short, and the message must not be ended cleanly.
pub struct Body(UnsyncBoxBody<Bytes, BodyError>);

impl Body {
    /// Wraps any body whose errors are [`BodyError`]s.
    pub fn new(
        body: impl http_body::Body<Data = Bytes, Error = BodyError> + Send + 'static,
    ) -> Self {
        Self(body.boxed_unsync())
    }

    /// A body of no bytes.
    pub fn empty() -> Self {
        Self::new(Empty::new().map_err(|never| match never {}))
    }

    /// A body whose bytes are all known.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Self::new(Full::new(bytes.into()).map_err(|never| match never {}))
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").finish_non_exhaustive()
    }
}

/// Why a body ended before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// The client reset the stream or closed the connection.
    #[error("the client ended the request early")]
    ClientGone,
    /// The upstream broke off its response.
    #[error("the upstream broke off its response")]
    UpstreamGone,
    /// The body differs in length from its content-length (RFC 9110, section 8.6).
    #[error("the body's length differs from its content-length")]
    LengthMismatch,
    /// The body passed the configured limit.
    #[error("the body is larger than the limit")]
    TooLarge,
    /// The upstream's response passed the configured limit.
    #[error("the response is larger than the limit")]
    ResponseTooLarge,
    /// No byte arrived for the configured time.
    #[error("the body stalled")]
    TimedOut,
    /// The client was slower than the configured rate.
    #[error("the body is too slow")]
    TooSlow,
    /// The framing or the trailers break the rules of the protocol.
    #[error("the body is malformed")]
    Malformed,
    /// The response did not end within the time that the request may take.
    #[error("the response took longer than it may")]
    DeadlinePassed,
    /// The gateway is ending and did not wait longer.
    #[error("the gateway is ending")]
    Shutdown,
    /// The handler failed while it made the body.
    #[error("the handler failed")]
    Internal,
}

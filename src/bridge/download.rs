use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

use super::pool::Place;
use super::upload::Lease;
use super::upstream::Hold;
use crate::request::BodyError;

/// A response body on its way from an upstream. Dropping it cancels the request there.
#[derive(Debug)]
pub(super) struct Download {
    body: Incoming,
    held: Option<Held>,
    end: End,
    upstream: Arc<str>,
    /// When it must have ended, if it must.
    deadline: Option<Pin<Box<Sleep>>>,
}

/// What shows that a body came to its end.
#[derive(Clone, Copy, Debug)]
enum End {
    /// That there is no more of it: over HTTP/1.1, hyper tells a cut from an end.
    NoMore,
    /// The end of the stream, or as many bytes as were declared. hyper takes a stream that was reset
    /// with `NO_ERROR` or `CANCEL` for one that ended.
    Shown(Option<u64>),
}

/// What a request holds until its response has ended. The place is given back last, so that whoever gets
/// it finds the connection.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) _lease: Lease,
    pub(super) hold: Hold,
    pub(super) _place: Place,
}

impl Download {
    pub(super) fn new(body: Incoming, held: Held, upstream: Arc<str>) -> Self {
        let end = match held.hold {
            Hold::Http1(_) => End::NoMore,
            Hold::Http2 { .. } => End::Shown(body.size_hint().exact()),
        };
        Self {
            body,
            held: Some(held),
            end,
            upstream,
            deadline: None,
        }
    }

    /// Breaks it off at that time.
    pub(super) fn until(mut self, deadline: Option<Instant>) -> Self {
        self.deadline = deadline.map(|deadline| Box::pin(sleep_until(deadline)));
        self
    }
}

impl End {
    fn note(&mut self, frame: &Frame<Bytes>) {
        let Self::Shown(left) = self else { return };
        match frame.data_ref() {
            Some(data) => {
                let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
                *left = left.map(|left| left.saturating_sub(length));
            }
            None => *self = Self::NoMore,
        }
    }

    fn is_shown(self, body: &Incoming) -> bool {
        match self {
            Self::NoMore | Self::Shown(Some(0)) => true,
            Self::Shown(_) => body.is_end_stream(),
        }
    }
}

impl http_body::Body for Download {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Some(deadline) = &mut this.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            this.held = None;
            return Poll::Ready(Some(Err(BodyError::DeadlinePassed)));
        }
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => this.end.note(frame),
            Poll::Ready(None) if !this.end.is_shown(&this.body) => {
                // Not again after its end.
                this.end = End::NoMore;
                this.held = None;
                return Poll::Ready(Some(Err(BodyError::UpstreamGone)));
            }
            Poll::Ready(None | Some(Err(_))) => this.held = None,
            Poll::Pending => {}
        }
        polled.map_err(|error| {
            tracing::debug!(upstream = %this.upstream, %error, "response broke off");
            BodyError::UpstreamGone
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

use super::http2::Busy;
use super::pool::Place;
use super::upload::Lease;
use crate::request::BodyError;

/// A response body on its way from an upstream. Dropping it cancels the request there.
#[derive(Debug)]
pub(super) struct Download {
    body: Incoming,
    held: Option<Held>,
    upstream: Arc<str>,
    /// When it must have ended, if it must.
    deadline: Option<Pin<Box<Sleep>>>,
}

/// What a request holds until its response has ended.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) _place: Place,
    pub(super) _lease: Lease,
    pub(super) _busy: Option<Busy>,
}

impl Download {
    pub(super) fn new(body: Incoming, held: Held, upstream: Arc<str>) -> Self {
        Self {
            body,
            held: Some(held),
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
        if let Poll::Ready(None | Some(Err(_))) = polled {
            this.held = None;
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

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

use super::pool::Place;
use super::upload::Lease;
use super::upstream::Hold;
use crate::request::BodyError;

/// A response body on its way from an upstream. Dropping it cancels the request there.
#[derive(Debug)]
pub(super) struct Download {
    body: Incoming,
    held: Option<Held>,
    upstream: Arc<str>,
}

/// What a request holds until its response has ended. The place is given back last, so that whoever gets
/// it finds the connection.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) _lease: Lease,
    pub(super) _hold: Hold,
    pub(super) _place: Place,
}

impl Download {
    pub(super) fn new(body: Incoming, held: Held, upstream: Arc<str>) -> Self {
        Self {
            body,
            held: Some(held),
            upstream,
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

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::request::{Body, BodyError};

/// A response body that breaks off when it has more bytes than it may.
#[derive(Debug)]
pub(super) struct Sized {
    /// None once it has had too many.
    body: Option<Body>,
    left: u64,
}

impl Sized {
    pub(super) fn new(body: Body, limit: u64) -> Self {
        Self {
            body: Some(body),
            left: limit,
        }
    }
}

impl http_body::Body for Sized {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        let length = match &frame {
            Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
            _ => 0,
        };
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        if let Some(left) = this.left.checked_sub(length) {
            this.left = left;
            return Poll::Ready(frame);
        }
        // Dropping it cancels the request at the backend.
        this.body = None;
        Poll::Ready(Some(Err(BodyError::ResponseTooLarge)))
    }

    fn is_end_stream(&self) -> bool {
        self.body
            .as_ref()
            .is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map(http_body::Body::size_hint)
            .unwrap_or_default()
    }
}

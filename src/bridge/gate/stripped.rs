use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use http_body::{Frame, SizeHint};

use crate::request::{Body, BodyError, fields};

/// Removes what only the gateway says from fields of a client, in every spelling that applications cannot
/// tell apart.
pub(super) fn strip(headers: &mut HeaderMap, names: &[HeaderName]) {
    fields::remove_where(headers, |field| {
        names
            .iter()
            .any(|name| fields::is_alike(field, name.as_str()))
    });
}

/// A request body without such fields in its trailers.
#[derive(Debug)]
pub(super) struct Stripped {
    body: Body,
    names: Arc<[HeaderName]>,
}

impl Stripped {
    pub(super) fn new(body: Body, names: Arc<[HeaderName]>) -> Self {
        Self { body, names }
    }
}

impl http_body::Body for Stripped {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        Pin::new(&mut this.body).poll_frame(cx).map_ok(|mut frame| {
            if let Some(trailers) = frame.trailers_mut() {
                strip(trailers, &this.names);
            }
            frame
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

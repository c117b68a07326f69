use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use http_body::{Frame, SizeHint};

use crate::request::{Body, BodyError};

/// Removes what only the gateway says from fields of a client.
///
/// Many applications cannot tell `x_user` from `x-user`, so both are removed.
pub(super) fn strip(fields: &mut HeaderMap, names: &[HeaderName]) {
    let forged: Vec<HeaderName> = fields
        .keys()
        .filter(|field| {
            names
                .iter()
                .any(|name| is_alike(field.as_str(), name.as_str()))
        })
        .cloned()
        .collect();
    for name in forged {
        fields.remove(name);
    }
}

fn is_alike(one: &str, other: &str) -> bool {
    let plain = |byte: u8| if byte == b'_' { b'-' } else { byte };
    one.len() == other.len() && one.bytes().map(plain).eq(other.bytes().map(plain))
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

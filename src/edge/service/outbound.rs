use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};

use super::exchange::Exchange;
use super::idle::Idle;
use crate::request::fields;
use crate::request::{Body, BodyError, RequestError};

/// A response body that holds the handler to its content-length and the pace, and that ends the
/// exchange when it ends.
///
/// Trailers go to those clients that say they want them. To others they mean nothing, and Chromium 156
/// loses a response over HTTP/3 that ends with them.
///
/// A body that is short, long, late or broken ends with an error, never cleanly, so the transport
/// resets the stream.
#[derive(Debug)]
pub(super) struct Outbound {
    body: Body,
    declared: Option<u64>,
    idle: Idle,
    exchange: Exchange,
    ended: bool,
}

impl Outbound {
    pub(super) fn new(body: Body, declared: Option<u64>, idle: Idle, exchange: Exchange) -> Self {
        Self {
            body,
            declared,
            idle,
            exchange,
            ended: false,
        }
    }

    fn accept(&mut self, frame: Frame<Bytes>) -> Result<Option<Frame<Bytes>>, BodyError> {
        match frame.into_data() {
            Ok(data) => {
                self.exchange.count_response_bytes(data.len());
                if self
                    .declared
                    .is_some_and(|declared| self.exchange.response_bytes() > declared)
                {
                    return Err(BodyError::LengthMismatch);
                }
                Ok(Some(Frame::data(data)))
            }
            Err(frame) => {
                self.check_length()?;
                let mut trailers = frame
                    .into_trailers()
                    .map_err(|_other| BodyError::Malformed)?;
                fields::remove_misplaced_trailers(&mut trailers);
                self.end();
                Ok(self
                    .exchange
                    .wants_trailers()
                    .then(|| Frame::trailers(trailers)))
            }
        }
    }

    fn check_length(&self) -> Result<(), BodyError> {
        if self.is_whole() {
            Ok(())
        } else {
            Err(BodyError::LengthMismatch)
        }
    }

    fn is_whole(&self) -> bool {
        self.declared
            .is_none_or(|declared| declared == self.exchange.response_bytes())
    }

    /// Nothing comes after trailers, and a transport need not ask whether something does.
    fn end(&mut self) {
        self.ended = true;
        self.exchange.complete();
    }

    fn fail(&mut self, error: BodyError) -> BodyError {
        self.ended = true;
        self.exchange.fail(RequestError::Body(error));
        error
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        catch_unwind(AssertUnwindSafe(|| Pin::new(&mut self.body).poll_frame(cx))).unwrap_or_else(
            |_panic| {
                self.exchange.count_panic();
                Poll::Ready(Some(Err(BodyError::Internal)))
            },
        )
    }
}

impl http_body::Body for Outbound {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        let piece = loop {
            let polled = this.poll_body(cx);
            match ready!(this.idle.bound(cx, polled)) {
                // A handler that takes in a long upload has nothing to say meanwhile.
                Err(_stalled) if this.exchange.upload_moved() => {}
                piece => break piece,
            }
        };
        let result = match piece {
            Err(_stalled) => Err(BodyError::TimedOut),
            Ok(Some(Ok(frame))) => match this.accept(frame).transpose() {
                Some(accepted) => accepted,
                None => return Poll::Ready(None),
            },
            Ok(Some(Err(error))) => Err(error),
            Ok(None) => match this.check_length() {
                Ok(()) => {
                    this.end();
                    return Poll::Ready(None);
                }
                Err(error) => Err(error),
            },
        };
        Poll::Ready(Some(result.map_err(|error| this.fail(error))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || (self.body.is_end_stream() && self.is_whole())
    }

    fn size_hint(&self) -> SizeHint {
        match self.declared {
            Some(declared) => {
                SizeHint::with_exact(declared.saturating_sub(self.exchange.response_bytes()))
            }
            None => self.body.size_hint(),
        }
    }
}

impl Drop for Outbound {
    fn drop(&mut self) {
        // A transport may skip the last poll of a body that says that it has ended.
        if !self.ended && self.is_end_stream() {
            self.exchange.complete();
        }
    }
}

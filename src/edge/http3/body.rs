use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Frame;
use tokio::sync::oneshot;

use super::incoming::{Failure, Incoming};
use crate::http3::Part;
use crate::request::{BodyError, Interim};

/// The body of a request, read from its stream only when somebody wants more.
pub(super) struct RequestBody {
    incoming: Incoming,
    peeked: Option<Result<Frame<Bytes>, Failure>>,
    ended: bool,
    /// Told once when somebody wants the body and none of it is there.
    held_back: Option<Arc<Interim>>,
    /// Dropped with the body, which somebody may wait for.
    open: Option<oneshot::Sender<Infallible>>,
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming) -> Self {
        Self {
            incoming,
            peeked: None,
            ended: false,
            held_back: None,
            open: None,
        }
    }

    /// Takes what is there already, without waiting.
    ///
    /// # Errors
    /// When the request has broken a rule.
    pub(super) async fn peek(&mut self) -> Result<(), Failure> {
        let peeked = poll_fn(|cx| Poll::Ready(self.poll_peek(cx))).await;
        match peeked {
            Poll::Ready(Err(failure)) => Err(failure),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }

    /// Waits until it is certain whether there is any content; cancel safe.
    pub(super) async fn is_empty(&mut self) -> bool {
        // A failure is told to whoever reads the body.
        poll_fn(|cx| self.poll_peek(cx)).await.is_ok() && self.peeked.is_none()
    }

    /// Asks the client to go on when the body is first wanted while none of it is there (RFC 9110,
    /// section 10.1.1).
    pub(super) fn proceed_when_wanted(&mut self, interim: Arc<Interim>) {
        self.held_back = Some(interim);
    }

    /// Drops `open` with the body.
    pub(super) fn hold_until_over(&mut self, open: oneshot::Sender<Infallible>) {
        self.open = Some(open);
    }

    fn poll_peek(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        if self.peeked.is_none() && !self.ended {
            self.peeked = ready!(self.poll_read(cx));
        }
        Poll::Ready(match self.peeked {
            Some(Err(failure)) => Err(failure),
            Some(Ok(_)) | None => Ok(()),
        })
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let part = ready!(self.incoming.poll_part(cx));
        Poll::Ready(match part {
            Ok(Some(Part::Data(data))) => Some(Ok(Frame::data(data))),
            Ok(Some(Part::Trailers(trailers))) => Some(Ok(Frame::trailers(trailers))),
            // Only the first part is a head, and sections that refer to the table were read.
            Ok(Some(Part::Head(_) | Part::Referring) | None) => {
                self.ended = true;
                None
            }
            Err(failure) => {
                self.ended = true;
                Some(Err(failure))
            }
        })
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let read = match self.peeked.take() {
            Some(peeked) => Some(peeked),
            None if self.ended => None,
            None => match self.poll_read(cx) {
                Poll::Ready(read) => read,
                Poll::Pending => {
                    if let Some(interim) = self.held_back.take() {
                        interim.proceed();
                    }
                    return Poll::Pending;
                }
            },
        };
        self.held_back = None;
        Poll::Ready(read.map(|read| read.map_err(BodyError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.ended && self.peeked.is_none()
    }
}

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h3::error::StreamError;
use h3::server::RequestStream;
use http_body::{Body as _, Frame};

use super::adapter::Receiver;
use crate::request::BodyError;

/// The body of a request, read from its stream only when somebody wants more.
pub(super) struct RequestBody {
    stream: RequestStream<Receiver, Bytes>,
    state: State,
    peeked: Option<Result<Frame<Bytes>, BodyError>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Data,
    Trailers,
    Done,
}

impl RequestBody {
    pub(super) fn new(stream: RequestStream<Receiver, Bytes>) -> Self {
        Self {
            stream,
            state: State::Data,
            peeked: None,
        }
    }

    /// Waits until it is certain whether there is any content; cancel safe.
    pub(super) async fn is_empty(&mut self) -> bool {
        if self.peeked.is_none() {
            self.peeked = poll_fn(|cx| Pin::new(&mut *self).poll_frame(cx)).await;
        }
        self.peeked.is_none()
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(peeked) = self.peeked.take() {
            return Poll::Ready(Some(peeked));
        }
        if self.state == State::Data {
            match ready!(self.stream.poll_recv_data(cx)) {
                Ok(Some(mut data)) => {
                    let data = data.copy_to_bytes(data.remaining());
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Ok(None) => self.state = State::Trailers,
                Err(error) => return Poll::Ready(Some(Err(self.fail(&error)))),
            }
        }
        if self.state == State::Trailers {
            let trailers = ready!(self.stream.poll_recv_trailers(cx));
            self.state = State::Done;
            match trailers {
                Ok(Some(trailers)) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(self.fail(&error)))),
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.state == State::Done && self.peeked.is_none()
    }
}

impl RequestBody {
    fn fail(&mut self, error: &StreamError) -> BodyError {
        self.state = State::Done;
        match error {
            StreamError::RemoteTerminate { .. }
            | StreamError::ConnectionError { .. }
            | StreamError::RemoteClosing { .. } => BodyError::ClientGone,
            _ => BodyError::Malformed,
        }
    }
}

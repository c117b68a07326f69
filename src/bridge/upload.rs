use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::headers;
use crate::request::{Body, BodyError, clock};

/// A request body on its way to an upstream.
///
/// It lives as long as its [`Lease`]: a client that goes away takes its half-sent request from the
/// upstream too.
#[derive(Debug)]
pub(super) struct Upload {
    body: Body,
    first: Option<Frame<Bytes>>,
    ended: bool,
    lease: oneshot::Receiver<Infallible>,
    pace: Arc<Pace>,
}

/// Dropping it ends the [`Upload`] with an error.
#[derive(Debug)]
pub(super) struct Lease {
    _open: oneshot::Sender<Infallible>,
}

/// Whose turn it is while a request is being sent.
#[derive(Debug)]
pub(super) struct Pace(Mutex<Turn>);

#[derive(Clone, Copy, Debug)]
enum Turn {
    /// The client's: the upstream has taken everything.
    Client,
    /// The upstream's, since then.
    Upstream(Instant),
}

impl Upload {
    pub(super) fn new(body: Body) -> (Self, Lease, Arc<Pace>) {
        let (open, lease) = oneshot::channel();
        let pace = Arc::new(Pace(Mutex::new(Turn::Upstream(clock::now()))));
        let upload = Self {
            body,
            first: None,
            ended: false,
            lease,
            pace: Arc::clone(&pace),
        };
        (upload, Lease { _open: open }, pace)
    }

    /// Waits until it is certain whether the body is empty, so that an empty one is not announced.
    pub(super) async fn settle(&mut self) -> Result<(), BodyError> {
        while self.first.is_none() && !self.ended && !self.body.is_end_stream() {
            match poll_fn(|cx| self.poll_own(cx)).await {
                None => self.ended = true,
                Some(frame) => {
                    self.first = Some(frame?)
                        .filter(|frame| frame.data_ref().is_none_or(|data| !data.is_empty()));
                }
            }
        }
        Ok(())
    }

    /// The next piece, without what clients must not say in trailers.
    fn poll_own(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        polled.map_ok(|mut frame| {
            if let Some(trailers) = frame.trailers_mut() {
                headers::own_trailers(trailers);
            }
            frame
        })
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        if this.ended {
            return Poll::Ready(None);
        }
        if Pin::new(&mut this.lease).poll(cx).is_ready() {
            this.ended = true;
            return Poll::Ready(Some(Err(BodyError::ClientGone)));
        }
        let polled = this.poll_own(cx);
        this.pace.turn(match polled {
            Poll::Pending => Turn::Client,
            Poll::Ready(_) => Turn::Upstream(clock::now()),
        });
        let frame = ready!(polled);
        this.ended = !matches!(frame, Some(Ok(_)));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && (self.ended || self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        if self.ended && self.first.is_none() {
            return SizeHint::with_exact(0);
        }
        match &self.first {
            None => self.body.size_hint(),
            // What was read ahead no longer counts in the body's own hint.
            Some(_) => SizeHint::default(),
        }
    }
}

impl Pace {
    /// Ends when it has been the upstream's turn for this long, counted from now at the earliest.
    pub(super) async fn upstream_idle(&self, limit: Duration) {
        if let Turn::Upstream(_) = self.read() {
            self.turn(Turn::Upstream(clock::now()));
        }
        loop {
            let now = clock::now();
            let deadline = match self.read() {
                Turn::Client => now + limit,
                Turn::Upstream(since) => since + limit,
            };
            if deadline <= now {
                return;
            }
            tokio::time::sleep_until(deadline).await;
        }
    }

    /// Whether the client has more to send before the upstream can answer.
    pub(super) fn waits_for_client(&self) -> bool {
        matches!(self.read(), Turn::Client)
    }

    fn read(&self) -> Turn {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self, turn: Turn) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = turn;
    }
}

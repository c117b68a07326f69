//! The two directions of a tunnel (RFC 8441, section 5; RFC 9220), each of which may end before the other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Method, Request};
use http_body::Frame;

use super::Rules;
use super::exchange::Exchange;
use super::idle::Idle;
use super::inbound::Tally;
use crate::request::{Body, BodyError, ConnectProtocol, RequestError};

/// What the directions have in common.
#[derive(Debug, Default)]
pub(super) struct Tunnel {
    /// Pieces that passed, in either direction.
    passed: AtomicU64,
    /// Whether the handler bounds the silence itself.
    keeps_time: AtomicBool,
    upload: Mutex<State>,
}

/// Where the client's direction is.
#[derive(Debug, Default)]
enum State {
    #[default]
    Open,
    Over,
    /// The other direction has ended; the exchange ends with this one.
    Last(Box<Exchange>),
}

/// Bounds how long nothing may pass in both directions.
#[derive(Debug)]
struct Silence {
    idle: Idle,
    seen: u64,
}

/// From the client.
#[derive(Debug)]
pub(super) struct Upload {
    body: Body,
    silence: Silence,
    tally: Arc<Tally>,
    tunnel: Arc<Tunnel>,
    ended: bool,
}

/// To the client.
#[derive(Debug)]
pub(super) struct Download {
    body: Body,
    silence: Silence,
    tunnel: Arc<Tunnel>,
    /// None when this direction has ended.
    exchange: Option<Exchange>,
}

/// Whether a request is for a tunnel.
pub(super) fn is_asked_for<B>(request: &Request<B>) -> bool {
    request.method() == Method::CONNECT && request.extensions().get::<ConnectProtocol>().is_some()
}

impl Tunnel {
    /// Leaves it to the handler how long nothing may pass.
    pub(super) fn keeps_time(&self) {
        self.keeps_time.store(true, Ordering::Relaxed);
    }

    fn count(&self) {
        self.passed.fetch_add(1, Ordering::Relaxed);
    }

    /// The exchange is over when both directions are.
    fn download_over(&self, mut exchange: Exchange) {
        let mut upload = self.upload.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Over = *upload {
            exchange.complete();
        } else {
            *upload = State::Last(Box::new(exchange));
        }
    }

    fn upload_over(&self, failure: Option<BodyError>) {
        let mut upload = self.upload.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Last(mut exchange) = std::mem::replace(&mut *upload, State::Over) {
            match failure {
                Some(failure) => exchange.fail(RequestError::Body(failure)),
                None => exchange.complete(),
            }
        }
    }
}

impl Silence {
    fn new(rules: &Rules) -> Self {
        Self {
            idle: Idle::new(rules.tunnel_idle),
            seen: 0,
        }
    }

    /// Polls a direction until something comes or nothing has passed in either for too long.
    fn bound<T>(
        &mut self,
        tunnel: &Tunnel,
        cx: &mut Context<'_>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<Result<T, BodyError>> {
        loop {
            let polled = poll(cx);
            match ready!(self.idle.bound(cx, polled)) {
                Ok(piece) => {
                    tunnel.count();
                    return Poll::Ready(Ok(piece));
                }
                Err(_stalled) => {
                    let passed = tunnel.passed.load(Ordering::Relaxed);
                    let keeps_time = tunnel.keeps_time.load(Ordering::Relaxed);
                    if !keeps_time && std::mem::replace(&mut self.seen, passed) == passed {
                        return Poll::Ready(Err(BodyError::TimedOut));
                    }
                }
            }
        }
    }
}

impl Upload {
    pub(super) fn new(body: Body, rules: &Rules, tally: Arc<Tally>, tunnel: Arc<Tunnel>) -> Self {
        Self {
            body,
            silence: Silence::new(rules),
            tally,
            tunnel,
            ended: false,
        }
    }

    fn end(&mut self, failure: Option<BodyError>) {
        if !std::mem::replace(&mut self.ended, true) {
            self.tunnel.upload_over(failure);
        }
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
        if this.ended {
            return Poll::Ready(None);
        }
        let body = &mut this.body;
        let poll = |cx: &mut Context<'_>| Pin::new(&mut *body).poll_frame(cx);
        let piece = ready!(this.silence.bound(&this.tunnel, cx, poll));
        match piece.and_then(data) {
            Ok(Some(data)) => {
                this.tally.count(data.len());
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Ok(None) => {
                this.end(None);
                Poll::Ready(None)
            }
            Err(error) => {
                let error = this.tally.fail(error);
                this.end(Some(error));
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

impl Drop for Upload {
    /// Nobody wants more of it.
    fn drop(&mut self) {
        self.end(None);
    }
}

impl Download {
    /// `exchange` is that of a request for a tunnel.
    pub(super) fn new(body: Body, rules: &Rules, mut exchange: Exchange) -> Self {
        Self {
            body,
            silence: Silence::new(rules),
            tunnel: exchange.open_tunnel(),
            exchange: Some(exchange),
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
        let Some(exchange) = &mut this.exchange else {
            return Poll::Ready(None);
        };
        let body = &mut this.body;
        let poll = |cx: &mut Context<'_>| {
            catch_unwind(AssertUnwindSafe(|| Pin::new(&mut *body).poll_frame(cx))).unwrap_or_else(
                |_panic| {
                    exchange.count_panic();
                    Poll::Ready(Some(Err(BodyError::Internal)))
                },
            )
        };
        let piece = ready!(this.silence.bound(&this.tunnel, cx, poll));
        match piece.and_then(data) {
            Ok(Some(data)) => {
                exchange.count_response_bytes(data.len());
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Ok(None) => {
                if let Some(exchange) = this.exchange.take() {
                    this.tunnel.download_over(exchange);
                }
                Poll::Ready(None)
            }
            Err(error) => {
                exchange.fail(RequestError::Body(error));
                this.exchange = None;
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.exchange.is_none()
    }
}

/// A tunnel has bytes and nothing else (RFC 9114, section 4.4).
fn data(frame: Option<Result<Frame<Bytes>, BodyError>>) -> Result<Option<Bytes>, BodyError> {
    let Some(frame) = frame.transpose()? else {
        return Ok(None);
    };
    frame
        .into_data()
        .map(Some)
        .map_err(|_trailers| BodyError::Malformed)
}

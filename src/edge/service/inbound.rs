use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use super::Rules;
use super::idle::Idle;
use crate::edge::pace::Pace;
use crate::request::fields;
use crate::request::{Body, BodyError};

/// A request body that holds the client to its content-length, the limits and the pace.
#[derive(Debug)]
pub(super) struct Inbound {
    body: Body,
    declared: Option<u64>,
    limit: Option<u64>,
    trailer_bytes: u64,
    trailer_fields: usize,
    idle: Idle,
    stream_idle: Duration,
    pace: Pace,
    tally: Arc<Tally>,
    ended: bool,
}

/// What a request body came to, readable while the handler owns the body.
#[derive(Debug, Default)]
pub(super) struct Tally {
    bytes: AtomicU64,
    failure: OnceLock<BodyError>,
    answered: AtomicBool,
    stream: AtomicBool,
}

impl Tally {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Counts a piece, and gives the sum.
    pub(super) fn count(&self, bytes: usize) -> u64 {
        let length = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.bytes.fetch_add(length, Ordering::Relaxed) + length
    }

    /// Notes why it failed, and gives the first reason.
    pub(super) fn fail(&self, error: BodyError) -> BodyError {
        *self.failure.get_or_init(|| error)
    }

    /// The response begins. From here on the upload may be as slow as it likes: the handler knows of it,
    /// and whoever talks both ways at once says little for long.
    pub(super) fn answer(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }

    /// The response that begins is a stream of messages, whose other side may be silent for as long as
    /// in a tunnel.
    pub(super) fn stream(&self) {
        self.stream.store(true, Ordering::Relaxed);
    }

    /// Why the body failed. It explains a handler's failure better than the handler can.
    pub(super) fn failure(&self) -> Option<BodyError> {
        self.failure.get().copied()
    }
}

impl Inbound {
    pub(super) fn new(body: Body, declared: Option<u64>, rules: &Rules, tally: Arc<Tally>) -> Self {
        Self {
            body,
            declared,
            limit: rules.body_bytes,
            trailer_bytes: rules.header_bytes,
            trailer_fields: rules.header_fields,
            idle: Idle::new(rules.body_idle),
            stream_idle: rules.tunnel_idle,
            pace: Pace::new(rules.body_rate),
            tally,
            ended: false,
        }
    }

    fn accept(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, BodyError> {
        match frame.into_data() {
            Ok(data) => {
                self.pace
                    .moved(u64::try_from(data.len()).unwrap_or(u64::MAX));
                let paced = self.pace.waited(self.idle.take_waited());
                if paced.is_err() && !self.tally.answered.load(Ordering::Relaxed) {
                    return Err(BodyError::TooSlow);
                }
                let seen = self.tally.count(data.len());
                if self.declared.is_some_and(|declared| seen > declared) {
                    Err(BodyError::LengthMismatch)
                } else if self.limit.is_some_and(|limit| seen > limit) {
                    Err(BodyError::TooLarge)
                } else {
                    Ok(Frame::data(data))
                }
            }
            Err(frame) => {
                self.check_length()?;
                let trailers = frame
                    .into_trailers()
                    .map_err(|_other| BodyError::Malformed)?;
                self.check_trailers(trailers).map(Frame::trailers)
            }
        }
    }

    fn check_trailers(&self, mut trailers: HeaderMap) -> Result<HeaderMap, BodyError> {
        if trailers.keys().any(fields::reframes) {
            return Err(BodyError::Malformed);
        }
        if trailers.len() > self.trailer_fields
            || fields::section_bytes(&trailers) > self.trailer_bytes
        {
            return Err(BodyError::TooLarge);
        }
        fields::remove_misplaced_trailers(&mut trailers);
        Ok(trailers)
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
            .is_none_or(|declared| declared == self.tally.bytes())
    }

    fn fail(&mut self, error: BodyError) -> BodyError {
        self.ended = true;
        self.tally.fail(error)
    }
}

impl http_body::Body for Inbound {
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
        if this.tally.stream.load(Ordering::Relaxed) {
            this.idle.lengthen(this.stream_idle);
        }
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        let result = match ready!(this.idle.bound(cx, polled)) {
            Err(_stalled) => Err(BodyError::TimedOut),
            Ok(Some(Ok(frame))) => this.accept(frame),
            Ok(Some(Err(error))) => Err(error),
            Ok(None) => match this.check_length() {
                Ok(()) => {
                    this.ended = true;
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
            Some(declared) => SizeHint::with_exact(declared.saturating_sub(self.tally.bytes())),
            None => self.body.size_hint(),
        }
    }
}

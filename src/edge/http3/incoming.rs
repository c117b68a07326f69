use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::shared::RequestPlace;
use super::var_int;
use crate::edge::quic::transport::{ReadError, RecvStream};
use crate::http3::{Code, Consequence, Part, RequestStream, Violation};
use crate::request::{BodyError, RequestError};

/// The client's side of a request stream.
pub(super) struct Incoming {
    receive: RecvStream,
    stream: RequestStream,
    held: Bytes,
    place: Arc<RequestPlace>,
    broken: Broken,
    /// Whether the stream has ended.
    finished: bool,
    /// Whether everything was read.
    ended: bool,
}

/// The rule that a request broke; the same for all clones.
#[derive(Clone, Debug, Default)]
pub(super) struct Broken(Arc<OnceLock<Violation>>);

/// Why a request goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The client reset the stream, or the connection ended.
    Gone,
    /// The client broke a rule.
    Broken(Violation),
}

impl Broken {
    /// The code with which the response is to be reset, whatever it says.
    pub(super) fn code(&self) -> Option<Code> {
        match self.0.get()?.consequence() {
            Consequence::Reset(code) | Consequence::Close(code) => Some(code),
            Consequence::TooLarge => None,
        }
    }
}

impl Incoming {
    pub(super) fn new(
        receive: RecvStream,
        stream: RequestStream,
        place: Arc<RequestPlace>,
    ) -> Self {
        Self {
            receive,
            stream,
            held: Bytes::new(),
            place,
            broken: Broken::default(),
            finished: false,
            ended: false,
        }
    }

    /// Where the first violation is to be found.
    pub(super) fn broken(&self) -> Broken {
        self.broken.clone()
    }

    /// Reads up to the next part; none at the end of the request. Cancel safe.
    pub(super) fn poll_part(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Part>, Failure>> {
        loop {
            if self.ended {
                return Poll::Ready(Ok(None));
            }
            let mut part = self.stream.next(&mut self.held);
            if let Ok(Some(Part::Referring)) = part {
                part = self.place.read_section(&mut self.stream);
                if let Ok(None) = part {
                    continue;
                }
            }
            let glitches = self.stream.take_glitches();
            if glitches > 0 {
                self.place.shared.count_glitches(glitches);
            }
            if let Some(part) = part.map_err(|violation| self.refuse(violation))? {
                return Poll::Ready(Ok(Some(part)));
            }
            if self.finished {
                self.ended = true;
                return Poll::Ready(Ok(None));
            }
            // Dropping the future of a pending read loses nothing, so a read can always be cancelled.
            let chunk = ready!(pin!(self.receive.read_chunk(READ_SIZE, true)).poll(cx));
            match chunk {
                Ok(Some(chunk)) => self.held = chunk.bytes,
                Ok(None) => {
                    let finished = self.stream.finish();
                    finished.map_err(|violation| self.refuse(violation))?;
                    self.finished = true;
                }
                Err(error) => return Poll::Ready(Err(self.lose(&error))),
            }
        }
    }

    fn refuse(&mut self, violation: Violation) -> Failure {
        if self.broken.0.set(violation).is_ok() {
            match violation.consequence() {
                Consequence::Close(_) => self.place.shared.close(violation),
                Consequence::Reset(code) => self.stop(code),
                Consequence::TooLarge => self.stop(Code::ExcessiveLoad),
            }
        }
        Failure::Broken(violation)
    }

    fn lose(&mut self, error: &ReadError) -> Failure {
        tracing::trace!(%error, "the request was broken off");
        self.ended = true;
        Failure::Gone
    }

    fn stop(&mut self, code: Code) {
        // Fails only when the stream has ended already.
        drop(self.receive.stop(var_int(code)));
    }
}

impl Drop for Incoming {
    /// A request that nobody reads to its end is no error of the client (RFC 9114, section 4.1).
    fn drop(&mut self) {
        if !self.finished {
            self.place.abandoned();
            if !self.ended {
                self.stop(Code::NoError);
            }
        }
    }
}

impl From<Failure> for BodyError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Gone => Self::ClientGone,
            Failure::Broken(Violation::LongBody | Violation::ShortBody) => Self::LengthMismatch,
            Failure::Broken(violation) => match violation.consequence() {
                Consequence::TooLarge => Self::TooLarge,
                Consequence::Close(_) | Consequence::Reset(_) => Self::Malformed,
            },
        }
    }
}

impl From<Failure> for RequestError {
    /// For a request whose header section never was whole or acceptable.
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Gone => Self::Body(BodyError::ClientGone),
            Failure::Broken(violation @ (Violation::LongBody | Violation::ShortBody)) => {
                Self::Body(Failure::Broken(violation).into())
            }
            Failure::Broken(violation) => match violation.consequence() {
                Consequence::TooLarge => Self::HeadersTooLarge,
                Consequence::Close(_) | Consequence::Reset(_) => Self::Malformed(violation.text()),
            },
        }
    }
}

/// How much is taken off a stream at once.
const READ_SIZE: usize = 64 << 10;

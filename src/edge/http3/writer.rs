use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, Response};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;

use super::incoming::Broken;
use super::shared::RequestPlace;
use super::var_int;
use crate::edge::pace::{Pace, PaceTerms};
use crate::edge::quic::transport::{SendStream, VarInt, WriteError};
use crate::edge::service::Blame;
use crate::http3::{Code, ResponseStream};
use crate::request::{Body, BodyError, RequestError, Section, clock, fields};
use crate::telemetry::Informed;

/// The gateway's side of a request stream.
pub(super) struct Writer {
    send: SendStream,
    stream: ResponseStream,
    place: Arc<RequestPlace>,
    pace: Pace,
    priority: i32,
    ended: bool,
}

/// A response that must not be ended cleanly.
#[derive(Clone, Copy, Debug)]
pub(super) enum CutShort {
    /// The gateway or the handler failed.
    Failed(RequestError),
    /// The client broke a rule meanwhile.
    Broken(Code),
}

impl From<RequestError> for CutShort {
    fn from(error: RequestError) -> Self {
        Self::Failed(error)
    }
}

impl Writer {
    pub(super) fn new(send: SendStream, place: Arc<RequestPlace>) -> Self {
        Self {
            send,
            stream: ResponseStream::default(),
            pace: Pace::new(place.shared.rules().body_rate),
            place,
            priority: 0,
            ended: false,
        }
    }

    /// The response is one direction of a tunnel, of which the client may take little for long.
    pub(super) fn unpaced(&mut self) {
        self.pace = Pace::new(PaceTerms {
            rate: 0,
            ..self.place.shared.rules().body_rate
        });
    }

    /// Resolves when the client no longer wants the response or has all of it.
    pub(super) fn stopped(&self) -> impl Future<Output = ()> + use<> {
        let stopped = self.send.stopped();
        async move { drop(stopped.await) }
    }

    /// Writes a response to its end. The client may take `body_idle` to make room for more, and no less
    /// at a time than `body_rate` over as long.
    pub(super) async fn respond(
        &mut self,
        response: Response<Body>,
        broken: &Broken,
        blame: &Blame,
    ) -> Result<(), CutShort> {
        let (head, mut body) = response.into_parts();
        let responded = self.respond_with(&head, &mut body, broken).await;
        if let Err(CutShort::Failed(RequestError::Body(
            error @ (BodyError::TimedOut | BodyError::TooSlow),
        ))) = responded
        {
            blame.put(error);
        }
        responded
    }

    async fn respond_with(
        &mut self,
        head: &Parts,
        body: &mut Body,
        broken: &Broken,
    ) -> Result<(), CutShort> {
        self.check_section(&head.headers)?;
        let length = body.size_hint().exact();
        let first = poll_fn(|cx| Poll::Ready(Pin::new(&mut *body).poll_frame(cx))).await;
        let mut next = match first {
            Poll::Ready(frame) => Some(frame),
            Poll::Pending => None,
        };
        check(broken)?;
        let mut before = self.stream.head(head.status, &head.headers, length);
        loop {
            let frame = if let Some(frame) = next.take() {
                frame
            } else {
                self.write([std::mem::take(&mut before)]).await?;
                body.frame().await
            };
            check(broken)?;
            let Some(frame) = frame.transpose().map_err(RequestError::from)? else {
                break;
            };
            if self.frame(frame, std::mem::take(&mut before)).await? == Last::Yes {
                break;
            }
        }
        self.write([before]).await?;
        check(broken)?;
        self.finish()
    }

    /// Writes a head that promises another one (RFC 9110, section 15.2), unless it is larger than the
    /// client takes.
    pub(super) async fn inform(&mut self, (status, fields): Section) -> Result<Informed, CutShort> {
        if self.check_section(&fields).is_err() {
            return Ok(Informed::EXCESS);
        }
        let interim = ResponseStream::interim(status, &fields);
        self.write([interim]).await?;
        Ok(Informed::SENT)
    }

    /// Answers a request whose header section is over the limit. Ten bytes fit into any new stream's
    /// window, so nothing waits here.
    pub(super) async fn too_large(&mut self) -> Result<(), CutShort> {
        self.write([ResponseStream::too_large()]).await?;
        self.finish()
    }

    pub(super) fn reset(&mut self, code: u32) {
        // Fails only when the stream has ended already.
        drop(self.send.reset(VarInt::from_u32(code)));
        self.ended = true;
    }

    async fn frame(&mut self, frame: Frame<Bytes>, before: Bytes) -> Result<Last, CutShort> {
        match frame.into_data() {
            Ok(data) if data.is_empty() => {
                self.write([before]).await?;
                Ok(Last::No)
            }
            Ok(data) => {
                let header = self.stream.data(data.len());
                let header = header.map_err(|_overrun| RequestError::Internal)?;
                self.write([before, header, data]).await?;
                Ok(Last::No)
            }
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                let trailers = if trailers.is_empty() {
                    Bytes::new()
                } else {
                    ResponseStream::trailers(&trailers)
                };
                self.write([before, trailers]).await?;
                Ok(Last::Yes)
            }
        }
    }

    /// Writes pieces without a copy, of which any may be empty.
    async fn write<const N: usize>(&mut self, mut pieces: [Bytes; N]) -> Result<(), CutShort> {
        let mut count = 0;
        for index in 0..N {
            if !pieces[index].is_empty() {
                pieces.swap(count, index);
                count += 1;
            }
        }
        if count == 0 {
            return Ok(());
        }
        let urgency = self.place.urgency.get();
        if urgency != self.priority {
            self.priority = urgency;
            // Fails only when the stream has ended, which writing tells as well.
            drop(self.send.set_priority(urgency));
        }
        let mut left = &mut pieces[..count];
        while !left.is_empty() {
            let written = self.write_some(left).await?;
            left = &mut left[written..];
        }
        Ok(())
    }

    /// Writes what there is room for, at least a byte, and gives the number of pieces that were whole.
    async fn write_some(&mut self, pieces: &mut [Bytes]) -> Result<usize, CutShort> {
        let mut writing = pin!(self.send.write_chunks(pieces));
        let at_once = poll_fn(|cx| Poll::Ready(writing.as_mut().poll(cx))).await;
        let (written, waited) = if let Poll::Ready(written) = at_once {
            (written, Duration::ZERO)
        } else {
            let shared = &self.place.shared;
            let _waiting = shared.usage().wait();
            shared.fit_send_window();
            let begun = clock::now();
            let written = tokio::time::timeout(shared.rules().body_idle, writing).await;
            let written = written.map_err(|_elapsed| BodyError::TimedOut.into());
            (written.map_err(CutShort::Failed)?, clock::now() - begun)
        };
        let written = written.map_err(|error| lost(&error))?;
        self.pace.moved(written.bytes as u64);
        let paced = self.pace.waited(waited);
        paced.map_err(|_too_slow| CutShort::Failed(BodyError::TooSlow.into()))?;
        Ok(written.chunks)
    }

    fn finish(&mut self) -> Result<(), CutShort> {
        if !self.stream.is_whole() {
            return Err(CutShort::Failed(BodyError::LengthMismatch.into()));
        }
        self.ended = true;
        self.send
            .finish()
            .map_err(|_ended| CutShort::Failed(BodyError::ClientGone.into()))
    }

    /// A client that says what it takes is sent no more (RFC 9114, section 4.2.2).
    fn check_section(&self, head: &HeaderMap) -> Result<(), CutShort> {
        let bytes = fields::section_bytes(head) + STATUS_BYTES;
        match self.place.shared.max_response_section() {
            Some(most) if bytes > most => Err(CutShort::Failed(RequestError::UpstreamMalformed)),
            Some(_) | None => Ok(()),
        }
    }
}

impl Drop for Writer {
    /// quinn ends a dropped stream cleanly, which would make a truncated response look whole.
    fn drop(&mut self) {
        if !self.ended {
            drop(self.send.reset(var_int(Code::RequestCancelled)));
        }
    }
}

/// Whether a frame ends the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Yes,
    No,
}

/// A malformed request is a stream error, whatever the handler makes of it (RFC 9114, section 4.1.2).
fn check(broken: &Broken) -> Result<(), CutShort> {
    broken
        .code()
        .map_or(Ok(()), |code| Err(CutShort::Broken(code)))
}

fn lost(error: &WriteError) -> CutShort {
    tracing::trace!(%error, "the response was broken off");
    CutShort::Failed(BodyError::ClientGone.into())
}

/// `:status` and three digits, as RFC 9114, section 4.2.2 counts them.
const STATUS_BYTES: u64 = 42;

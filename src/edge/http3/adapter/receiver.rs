use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use h3::error::Code;
use h3::quic::{self, ConnectionErrorIncoming, StreamErrorIncoming, StreamId};

use super::super::gate::{Gate, GateError, varint};
use super::{Shared, code, lost, stream_id};
use crate::edge::quic::transport::{ReadError, RecvStream, VarInt};

/// The receiving side of a stream.
pub(in crate::edge::http3) struct Receiver {
    shared: Arc<Shared>,
    stream: RecvStream,
    gate: Lane,
    held: Bytes,
    ended: bool,
}

/// Whether and how a receiving side is filtered.
pub(super) enum Lane {
    Gated(Gate),
    /// A stream of which not even the type is known yet, with what has come of it.
    Untyped(BytesMut),
    Open,
}

/// Why reading from a stream failed.
pub(super) enum Failure {
    Read(ReadError),
    Gate(GateError),
}

impl Failure {
    pub(super) fn into_incoming(self) -> StreamErrorIncoming {
        match self {
            Self::Read(ReadError::Reset(code)) => StreamErrorIncoming::StreamTerminated {
                error_code: code.into_inner(),
            },
            Self::Read(ReadError::ConnectionLost(error)) => lost(error),
            Self::Read(
                error @ (ReadError::ClosedStream
                | ReadError::IllegalOrderedRead
                | ReadError::ZeroRttRejected),
            ) => StreamErrorIncoming::Unknown(Box::new(error)),
            Self::Gate(error @ GateError::HeadersTooLarge) => {
                StreamErrorIncoming::Unknown(Box::new(error))
            }
            Self::Gate(error) => StreamErrorIncoming::ConnectionErrorIncoming {
                connection_error: ConnectionErrorIncoming::Undefined(Arc::new(error)),
            },
        }
    }
}

impl Receiver {
    pub(super) fn new(shared: &Arc<Shared>, stream: RecvStream, gate: Lane) -> Self {
        Self {
            shared: Arc::clone(shared),
            stream,
            gate,
            held: Bytes::new(),
            ended: false,
        }
    }

    pub(super) fn poll_frames(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, Failure>> {
        loop {
            let held = self.take_held().map_err(|error| self.refuse(error))?;
            if held.is_some() {
                return Poll::Ready(Ok(held));
            }
            // Dropping the future of a pending read loses nothing, so a read can always be cancelled.
            let chunk = ready!(pin!(self.stream.read_chunk(READ_SIZE, true)).poll(cx));
            if let Some(chunk) = chunk.map_err(Failure::Read)? {
                self.held = chunk.bytes;
            } else {
                self.ended = true;
                let finished = match &self.gate {
                    Lane::Gated(gate) => gate.finish(),
                    Lane::Untyped(_) | Lane::Open => Ok(()),
                };
                return Poll::Ready(finished.map(|()| None).map_err(|error| self.refuse(error)));
            }
        }
    }

    /// Ends the connection for what RFC 9114 makes a connection error.
    fn refuse(&self, error: GateError) -> Failure {
        let code = match error {
            GateError::HeadersTooLarge => return Failure::Gate(error),
            GateError::ControlTooLarge => Code::H3_EXCESSIVE_LOAD,
            GateError::Unexpected(_) => Code::H3_FRAME_UNEXPECTED,
            GateError::Truncated => Code::H3_FRAME_ERROR,
        };
        self.shared
            .connection
            .close(self::code(code), error.to_string().as_bytes());
        Failure::Gate(error)
    }

    fn take_held(&mut self) -> Result<Option<Bytes>, GateError> {
        if self.held.is_empty() {
            return Ok(None);
        }
        match &mut self.gate {
            Lane::Gated(gate) => gate.next(&mut self.held),
            Lane::Open => Ok(Some(std::mem::take(&mut self.held))),
            Lane::Untyped(begun) => {
                while !self.held.is_empty() {
                    begun.extend_from_slice(&self.held.split_to(1));
                    let Some((kind, _)) = varint(begun) else {
                        continue;
                    };
                    let typed = begun.split().freeze();
                    self.gate = if kind == CONTROL {
                        Lane::Gated(Gate::control())
                    } else {
                        Lane::Open
                    };
                    return Ok(Some(typed));
                }
                Ok(None)
            }
        }
    }
}

impl quic::RecvStream for Receiver {
    type Buf = Bytes;

    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.poll_frames(cx).map_err(Failure::into_incoming)
    }

    fn stop_sending(&mut self, error_code: u64) {
        // Fails only when the stream has ended already.
        drop(
            self.stream
                .stop(VarInt::from_u64(error_code).unwrap_or(VarInt::MAX)),
        );
        self.ended = true;
    }

    fn recv_id(&self) -> StreamId {
        stream_id(self.stream.id())
    }
}

impl Drop for Receiver {
    /// A request that nobody reads to its end is no error of the client (RFC 9114, section 4.1).
    fn drop(&mut self) {
        if !self.ended {
            drop(self.stream.stop(code(Code::H3_NO_ERROR)));
        }
    }
}

/// How much is taken off a stream at once.
const READ_SIZE: usize = 64 << 10;
const CONTROL: u64 = 0x00;

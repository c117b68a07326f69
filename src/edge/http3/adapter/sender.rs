use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use h3::error::Code;
use h3::quic::{self, StreamErrorIncoming, StreamId, WriteBuf};

use super::{code, lost, stream_id};
use crate::edge::quic::transport::{SendStream, VarInt, WriteError};

/// The sending side of a stream.
pub(in crate::edge::http3) struct Sender<B> {
    stream: SendStream,
    pending: Option<WriteBuf<B>>,
    ended: bool,
}

impl<B> Sender<B> {
    pub(super) fn new(stream: SendStream) -> Self {
        Self {
            stream,
            pending: None,
            ended: false,
        }
    }

    /// The library has no request to answer yet, so the answer is written here: ten bytes fit into
    /// any new stream's window, and a client without even that gets the reset alone.
    pub(super) fn answer_too_large(&mut self, cx: &mut Context<'_>) {
        let written = Pin::new(&mut self.stream).poll_write(cx, &TOO_LARGE);
        if matches!(written, Poll::Ready(Ok(len)) if len == TOO_LARGE.len()) {
            self.ended = self.stream.finish().is_ok();
        }
    }
}

impl<B: Buf> quic::SendStream<B> for Sender<B> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        while let Some(pending) = &mut self.pending {
            if !pending.has_remaining() {
                self.pending = None;
                break;
            }
            let written = Pin::new(&mut self.stream).poll_write(cx, pending.chunk());
            let written = ready!(written).map_err(write_error)?;
            pending.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    fn send_data<T: Into<WriteBuf<B>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.pending = Some(data.into());
        Ok(())
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        ready!(self.poll_ready(cx))?;
        if !self.ended {
            self.stream
                .finish()
                .map_err(|error| StreamErrorIncoming::Unknown(Box::new(error)))?;
            self.ended = true;
        }
        Poll::Ready(Ok(()))
    }

    fn reset(&mut self, reset_code: u64) {
        // Fails only when the stream has ended already.
        drop(
            self.stream
                .reset(VarInt::from_u64(reset_code).unwrap_or(VarInt::MAX)),
        );
        self.ended = true;
    }

    fn send_id(&self) -> StreamId {
        stream_id(self.stream.id())
    }
}

impl<B> Drop for Sender<B> {
    /// quinn ends a dropped stream cleanly, which would make a truncated response look whole.
    fn drop(&mut self) {
        if !self.ended {
            drop(self.stream.reset(code(Code::H3_REQUEST_CANCELLED)));
        }
    }
}

fn write_error(error: WriteError) -> StreamErrorIncoming {
    match error {
        WriteError::Stopped(code) => StreamErrorIncoming::StreamTerminated {
            error_code: code.into_inner(),
        },
        WriteError::ConnectionLost(error) => lost(error),
        error @ (WriteError::ClosedStream | WriteError::ZeroRttRejected) => {
            StreamErrorIncoming::Unknown(Box::new(error))
        }
    }
}

/// HEADERS with nothing but `:status: 431` (RFC 9204, appendix A: name of entry 24).
const TOO_LARGE: [u8; 10] = [0x01, 0x08, 0x00, 0x00, 0x5f, 0x09, 0x03, b'4', b'3', b'1'];

//! quinn's streams in the form that the h3 crate wants.
//!
//! It differs from h3-quinn in what a front door needs: every stream passes a [`Gate`], a stopped
//! read can be cancelled at any time, and a stream that is dropped unfinished is reset.

mod receiver;
mod sender;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use h3::error::Code;
use h3::quic::{self, ConnectionErrorIncoming, StreamErrorIncoming, StreamId, WriteBuf};

pub(super) use self::receiver::Receiver;
use self::receiver::{Failure, Lane};
pub(super) use self::sender::Sender;
use super::gate::{Gate, GateError};
use crate::edge::quic::transport::{Connection, ConnectionError, RecvStream, SendStream, VarInt};

type Opening<T> = Pin<Box<dyn Future<Output = Result<T, ConnectionError>> + Send + Sync>>;
pub(in crate::edge::http3) type Stopped = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// A connection as the library sees it.
pub(super) struct Adapter {
    shared: Arc<Shared>,
    accepting_bidi: Option<Opening<(SendStream, RecvStream)>>,
    accepting_uni: Option<Opening<RecvStream>>,
    opener: Opener,
}

/// What the driver knows of a connection beside the library.
pub(super) struct Shared {
    connection: Connection,
    max_headers: u64,
    accepted: Mutex<Option<Stopped>>,
}

/// Opens the gateway's own streams.
pub(super) struct Opener {
    shared: Arc<Shared>,
    opening_bidi: Option<Opening<(SendStream, RecvStream)>>,
    opening_uni: Option<Opening<SendStream>>,
}

/// A request stream.
pub(super) struct Bidi<B> {
    send: Sender<B>,
    recv: Receiver,
}

impl Adapter {
    /// Takes a connection; `max_headers` bounds the bytes of one HEADERS frame.
    pub(super) fn new(connection: Connection, max_headers: u64) -> (Self, Arc<Shared>) {
        let shared = Arc::new(Shared {
            connection,
            max_headers,
            accepted: Mutex::new(None),
        });
        let opener = Opener::new(Arc::clone(&shared));
        let adapter = Self {
            shared: Arc::clone(&shared),
            accepting_bidi: None,
            accepting_uni: None,
            opener,
        };
        (adapter, shared)
    }

    fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(SendStream, RecvStream), ConnectionErrorIncoming>> {
        let connection = &self.shared.connection;
        let accepting = self.accepting_bidi.get_or_insert_with(|| {
            let connection = connection.clone();
            Box::pin(async move { connection.accept_bi().await })
        });
        let accepted = ready!(accepting.as_mut().poll(cx));
        self.accepting_bidi = None;
        Poll::Ready(accepted.map_err(connection_error))
    }
}

impl Shared {
    /// Rejects every request stream that the library has not seen yet (RFC 9114, section 5.2), until
    /// the connection ends. The library must not accept meanwhile.
    pub(super) async fn reject_new(&self) {
        let code = code(Code::H3_REQUEST_REJECTED);
        while let Ok((mut send, mut recv)) = self.connection.accept_bi().await {
            // Both fail only when the client ended the stream itself.
            drop(send.reset(code));
            drop(recv.stop(code));
        }
    }

    /// How long so many round trips take: at least 100 ms, at most a second.
    pub(super) fn round_trips(&self, count: u32) -> Duration {
        (self.connection.rtt() * count).clamp(LEAST_WAIT, MOST_WAIT)
    }

    /// Takes the end of the request stream that the library accepted last: it resolves when the
    /// client no longer wants the response or has all of it.
    pub(super) fn take_accepted(&self) -> Option<Stopped> {
        self.accepted.lock().expect("no holder panics").take()
    }
}

impl quic::Connection<Bytes> for Adapter {
    type RecvStream = Receiver;
    type OpenStreams = Opener;

    fn poll_accept_recv(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Receiver, ConnectionErrorIncoming>> {
        let connection = &self.shared.connection;
        let accepting = self.accepting_uni.get_or_insert_with(|| {
            let connection = connection.clone();
            Box::pin(async move { connection.accept_uni().await })
        });
        let accepted = ready!(accepting.as_mut().poll(cx));
        self.accepting_uni = None;
        let stream = accepted.map_err(connection_error)?;
        Poll::Ready(Ok(Receiver::new(
            &self.shared,
            stream,
            Lane::Untyped(BytesMut::new()),
        )))
    }

    fn poll_accept_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Bidi<Bytes>, ConnectionErrorIncoming>> {
        let (send, recv) = ready!(self.poll_accept(cx))?;
        let stopped = send.stopped();
        let stopped = Box::pin(async move { drop(stopped.await) });
        *self.shared.accepted.lock().expect("no holder panics") = Some(stopped);
        let gate = Gate::request(self.shared.max_headers);
        Poll::Ready(Ok(Bidi {
            send: Sender::new(send),
            recv: Receiver::new(&self.shared, recv, Lane::Gated(gate)),
        }))
    }

    fn opener(&self) -> Opener {
        Opener::new(Arc::clone(&self.shared))
    }
}

impl Opener {
    fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            opening_bidi: None,
            opening_uni: None,
        }
    }
}

impl quic::OpenStreams<Bytes> for Opener {
    type BidiStream = Bidi<Bytes>;
    type SendStream = Sender<Bytes>;

    fn poll_open_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Bidi<Bytes>, StreamErrorIncoming>> {
        let connection = &self.shared.connection;
        let opening = self.opening_bidi.get_or_insert_with(|| {
            let connection = connection.clone();
            Box::pin(async move { connection.open_bi().await })
        });
        let opened = ready!(opening.as_mut().poll(cx));
        self.opening_bidi = None;
        let (send, recv) = opened.map_err(lost)?;
        let recv = Receiver::new(&self.shared, recv, Lane::Open);
        Poll::Ready(Ok(Bidi {
            send: Sender::new(send),
            recv,
        }))
    }

    fn poll_open_send(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Sender<Bytes>, StreamErrorIncoming>> {
        let connection = &self.shared.connection;
        let opening = self.opening_uni.get_or_insert_with(|| {
            let connection = connection.clone();
            Box::pin(async move { connection.open_uni().await })
        });
        let opened = ready!(opening.as_mut().poll(cx));
        self.opening_uni = None;
        Poll::Ready(opened.map(Sender::new).map_err(lost))
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.shared.connection.close(self::code(code), reason);
    }
}

impl quic::OpenStreams<Bytes> for Adapter {
    type BidiStream = Bidi<Bytes>;
    type SendStream = Sender<Bytes>;

    fn poll_open_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Bidi<Bytes>, StreamErrorIncoming>> {
        self.opener.poll_open_bidi(cx)
    }

    fn poll_open_send(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Sender<Bytes>, StreamErrorIncoming>> {
        self.opener.poll_open_send(cx)
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.opener.close(code, reason);
    }
}

impl<B: Buf> quic::BidiStream<B> for Bidi<B> {
    type SendStream = Sender<B>;
    type RecvStream = Receiver;

    fn split(self) -> (Sender<B>, Receiver) {
        (self.send, self.recv)
    }
}

impl<B: Buf> quic::SendStream<B> for Bidi<B> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_ready(cx)
    }

    fn send_data<T: Into<WriteBuf<B>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.send.send_data(data)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_finish(cx)
    }

    fn reset(&mut self, reset_code: u64) {
        self.send.reset(reset_code);
    }

    fn send_id(&self) -> StreamId {
        self.send.send_id()
    }
}

impl<B: Buf> quic::RecvStream for Bidi<B> {
    type Buf = Bytes;

    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        let polled = self.recv.poll_frames(cx);
        if let Poll::Ready(Err(Failure::Gate(GateError::HeadersTooLarge))) = polled {
            self.send.answer_too_large(cx);
        }
        polled.map_err(Failure::into_incoming)
    }

    fn stop_sending(&mut self, error_code: u64) {
        self.recv.stop_sending(error_code);
    }

    fn recv_id(&self) -> StreamId {
        self.recv.recv_id()
    }
}

/// The estimate of a short round trip knows nothing of a busy machine at either end.
const LEAST_WAIT: Duration = Duration::from_millis(100);
const MOST_WAIT: Duration = Duration::from_secs(1);

fn lost(error: ConnectionError) -> StreamErrorIncoming {
    StreamErrorIncoming::ConnectionErrorIncoming {
        connection_error: connection_error(error),
    }
}

fn connection_error(error: ConnectionError) -> ConnectionErrorIncoming {
    match error {
        ConnectionError::ApplicationClosed(close) => ConnectionErrorIncoming::ApplicationClose {
            error_code: close.error_code.into(),
        },
        ConnectionError::TimedOut => ConnectionErrorIncoming::Timeout,
        error => ConnectionErrorIncoming::Undefined(Arc::new(error)),
    }
}

fn stream_id(id: impl Into<VarInt>) -> StreamId {
    StreamId::try_from(id.into().into_inner()).expect("both count streams alike")
}

fn code(code: Code) -> VarInt {
    VarInt::from_u64(code.value()).unwrap_or(VarInt::MAX)
}

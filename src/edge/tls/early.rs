//! TLS over TCP from which a request can be read, and to which its response can be written, before the
//! handshake is complete (RFC 8446, section 2.3).
//!
//! The TLS library's own stream for tokio gives a connection only when its handshake is over.

use std::io::{self, IoSlice, Read, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};
use std::{fmt, future};

use rustls::{HandshakeKind, ServerConfig, ServerConnection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A client's connection, from its first flight on: early data first, then what follows it.
pub(crate) struct EarlyStream(Arc<Mutex<Halves>>);

/// The rest of a handshake, which goes on whether or not anybody reads from the stream meanwhile.
///
/// It has to be awaited in the task that uses the stream, because they share its wake-ups.
#[derive(Debug)]
pub(crate) struct Completion(EarlyStream);

struct Halves {
    transport: TcpStream,
    tls: ServerConnection,
    closing: bool,
}

impl EarlyStream {
    /// Takes a client's first flight, and the rest of the handshake unless it holds early data that may
    /// be used.
    pub(super) async fn accept(
        transport: TcpStream,
        config: Arc<ServerConfig>,
    ) -> io::Result<(Self, Option<Completion>)> {
        let tls = ServerConnection::new(config).map_err(io::Error::other)?;
        let stream = Self(Arc::new(Mutex::new(Halves {
            transport,
            tls,
            closing: false,
        })));
        let early = future::poll_fn(|cx| stream.lock().poll_first_flight(cx)).await?;
        let completion = early.then(|| Completion(Self(Arc::clone(&stream.0))));
        Ok((stream, completion))
    }

    /// The protocol that the two sides agreed on (RFC 7301).
    pub(super) fn protocol(&self) -> Option<Vec<u8>> {
        self.lock().tls.alpn_protocol().map(<[u8]>::to_vec)
    }

    /// How keys came about, if that is known yet.
    pub(super) fn handshake_kind(&self) -> Option<HandshakeKind> {
        self.lock().tls.handshake_kind()
    }

    pub(super) fn reset_when_dropped(&self) -> io::Result<()> {
        self.lock().transport.set_zero_linger()
    }

    fn lock(&self) -> MutexGuard<'_, Halves> {
        self.0.lock().expect("no holder panics")
    }
}

impl Completion {
    /// Resolves when the handshake is complete, which proves that the client sent its early data itself.
    ///
    /// # Errors
    /// The client broke off, or sent what TLS does not allow.
    pub(crate) async fn completed(self) -> io::Result<()> {
        future::poll_fn(|cx| self.0.lock().poll_completed(cx)).await
    }
}

impl Halves {
    /// Whether there is early data; if there is none, the handshake is complete.
    fn poll_first_flight(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            self.send(cx)?;
            if self.tls.early_data().is_some() {
                return Poll::Ready(Ok(true));
            }
            if !self.tls.is_handshaking() {
                return Poll::Ready(Ok(false));
            }
            ready!(self.poll_progress(cx))?;
        }
    }

    fn poll_completed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.is_handshaking() {
            self.send(cx)?;
            ready!(self.poll_progress(cx))?;
        }
        self.send(cx)?;
        Poll::Ready(Ok(()))
    }

    /// Receives more of a handshake.
    fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.tls.wants_read() {
            // What was to be sent first could not be; the transport wakes this task.
            return Poll::Pending;
        }
        match ready!(self.poll_receive(cx))? {
            0 => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Receives what is there and has TLS read it.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let handshaking = self.tls.is_handshaking();
        let mut transport = Polled {
            transport: &mut self.transport,
            cx,
        };
        let received = match self.tls.read_tls(&mut transport) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            received => received?,
        };
        if let Err(error) = self.tls.process_new_packets() {
            // The alert, if the transport takes it; the error is what counts.
            drop(self.send(cx));
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
        }
        if handshaking && !self.tls.is_handshaking() {
            // Whoever waits for the handshake shares this task, and may have been asked before.
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(received))
    }

    /// Sends what the transport takes; says whether that was everything.
    fn send(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        while self.tls.wants_write() {
            let mut transport = Polled {
                transport: &mut self.transport,
                cx,
            };
            match self.tls.write_tls(&mut transport) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if let Some(read) = self.take(buffer.initialize_unfilled())? {
                buffer.advance(read);
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_receive(cx))?;
            self.send(cx)?;
        }
    }

    /// Takes what the client sent; nothing, if more has to come first, and no bytes at the end.
    fn take(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        if let Some(mut early) = self.tls.early_data() {
            let read = early.read(buffer)?;
            if read > 0 {
                return Ok(Some(read));
            }
        }
        match self.tls.reader().read(buffer) {
            Ok(read) => Ok(Some(read)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            let written = self.tls.writer().write_vectored(slices)?;
            let everything = self.send(cx)?;
            if written > 0 || slices.iter().all(|slice| slice.is_empty()) {
                return Poll::Ready(Ok(written));
            }
            if !everything {
                return Poll::Pending;
            }
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tls.writer().flush()?;
        if self.send(cx)? {
            Pin::new(&mut self.transport).poll_flush(cx)
        } else {
            Poll::Pending
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closing {
            self.closing = true;
            self.tls.send_close_notify();
        }
        if self.send(cx)? {
            Pin::new(&mut self.transport).poll_shutdown(cx)
        } else {
            Poll::Pending
        }
    }
}

impl AsyncRead for EarlyStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.lock().poll_read(cx, buffer)
    }
}

impl AsyncWrite for EarlyStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.lock().poll_write(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.lock().poll_write(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.lock().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.lock().poll_shutdown(cx)
    }
}

impl fmt::Debug for EarlyStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EarlyStream").finish_non_exhaustive()
    }
}

/// The transport as TLS wants it: what cannot be done at once would block, and wakes the task.
struct Polled<'a, 'cx> {
    transport: &'a mut TcpStream,
    cx: &'a mut Context<'cx>,
}

impl Read for Polled<'_, '_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(bytes);
        at_once(Pin::new(&mut *self.transport).poll_read(self.cx, &mut buffer))?;
        Ok(buffer.filled().len())
    }
}

impl Write for Polled<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        at_once(Pin::new(&mut *self.transport).poll_write(self.cx, bytes))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        at_once(Pin::new(&mut *self.transport).poll_write_vectored(self.cx, slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        at_once(Pin::new(&mut *self.transport).poll_flush(self.cx))
    }
}

fn at_once<T>(polled: Poll<io::Result<T>>) -> io::Result<T> {
    match polled {
        Poll::Ready(done) => done,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

//! A stream of HTTP/2 that became a tunnel, as bytes both ways.
//!
//! hyper takes a dropped tunnel for one that ended, and a stream that the client cancelled too; a tunnel
//! that broke off must look otherwise at both ends. It sends in a task of its own, which tells the rest.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker, ready};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a tunnel and the task that sends for it know of each other; the same for all clones.
#[derive(Clone, Debug, Default)]
pub(super) struct Sending(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// This side ends its direction.
    ending: bool,
    /// The tunnel broke off.
    broken: bool,
    /// The task has ended: by itself only after this side's end or when the client has reset the stream.
    over: bool,
    /// The task is to look, and has looked.
    asked: bool,
    looked: bool,
    task: Option<Waker>,
    reader: Option<Waker>,
}

/// The task that sends; it ends with a reset when the tunnel breaks off.
#[derive(Debug)]
pub(super) struct Task<F> {
    /// None once it has ended.
    sends: Option<Pin<Box<F>>>,
    sending: Sending,
}

/// The tunnel. Dropped before its own direction was ended, it is reset.
#[derive(Debug)]
pub(super) struct Http2Tunnel {
    stream: TokioIo<Upgraded>,
    sending: Sending,
}

impl Sending {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no holder panics")
    }

    /// Whether the client ended its direction, rather than reset the stream. A reset behind the end of
    /// this side's direction is not seen: hyper has let go of what tells then.
    fn poll_clean(&self, cx: &Context<'_>) -> Poll<bool> {
        let mut state = self.state();
        if state.over {
            return Poll::Ready(state.ending);
        }
        if state.looked {
            return Poll::Ready(true);
        }
        state.asked = true;
        state.reader = Some(cx.waker().clone());
        let task = state.task.take();
        drop(state);
        task.into_iter().for_each(Waker::wake);
        Poll::Pending
    }
}

impl<F: Future<Output = ()>> Task<F> {
    pub(super) fn new(sends: F, sending: Sending) -> Self {
        Self {
            sends: Some(Box::pin(sends)),
            sending,
        }
    }
}

impl<F: Future<Output = ()>> Future for Task<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut state = this.sending.state();
        state.task = Some(cx.waker().clone());
        let broken = state.broken;
        drop(state);
        let pending = match &mut this.sends {
            Some(sends) if !broken => sends.as_mut().poll(cx).is_pending(),
            Some(_) | None => false,
        };
        if !pending {
            this.sends = None;
        }
        let mut state = this.sending.state();
        state.over |= !pending;
        state.looked |= state.asked;
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
        if pending {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }
}

impl<F> Drop for Task<F> {
    fn drop(&mut self) {
        let mut state = self.sending.state();
        state.over = true;
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
    }
}

impl Http2Tunnel {
    pub(super) fn new(stream: Upgraded, sending: Sending) -> Self {
        Self {
            stream: TokioIo::new(stream),
            sending,
        }
    }
}

impl AsyncRead for Http2Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() == before
            && buffer.remaining() > 0
            && !ready!(self.sending.poll_clean(cx))
        {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Http2Tunnel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.sending.state().ending = true;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Drop for Http2Tunnel {
    /// Runs before hyper sees that its tunnel is dropped.
    fn drop(&mut self) {
        let mut state = self.sending.state();
        if !state.ending {
            state.broken = true;
            let task = state.task.take();
            drop(state);
            task.into_iter().for_each(Waker::wake);
        }
    }
}

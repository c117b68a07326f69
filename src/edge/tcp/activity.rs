use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::sending::Sending;
use crate::config::Timeouts;

/// What a connection is doing, which says how long it may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No request runs and none has begun to arrive.
    Idle,
    /// A part of a request's header section has arrived (HTTP/1.1 only).
    Head,
    /// This many requests run.
    Busy(u32),
    /// The client opens requests only to cancel them (CVE-2023-44487); nothing leads out of this.
    Abusive,
}

/// The phase of one connection, told by its reads and its requests.
#[derive(Clone, Debug)]
pub(super) struct Activity(Arc<State>);

#[derive(Debug)]
struct State {
    phase: watch::Sender<Phase>,
    begun: AtomicU64,
    cancelled: AtomicU64,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self(Arc::new(State {
            phase: watch::Sender::new(Phase::Idle),
            begun: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
        }))
    }

    /// A request's header section is complete; the request runs until the guard is dropped.
    pub(super) fn begin(&self) -> Busy {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        self.0.phase.send_modify(|phase| {
            *phase = match *phase {
                Phase::Idle | Phase::Head => Phase::Busy(1),
                Phase::Busy(requests) => Phase::Busy(requests + 1),
                Phase::Abusive => Phase::Abusive,
            };
        });
        Busy {
            activity: self.clone(),
            answered: false,
        }
    }

    /// Resolves when the first request has begun.
    pub(super) async fn used(&self) {
        let begun = || self.0.begun.load(Ordering::Relaxed) > 0;
        // The sender lives as long as this, so the wait ends by what it waits for.
        drop(self.0.phase.subscribe().wait_for(|_| begun()).await);
    }

    fn received(&self) {
        self.0.phase.send_if_modified(|phase| {
            let first = *phase == Phase::Idle;
            if first {
                *phase = Phase::Head;
            }
            first
        });
    }

    /// Resolves when the connection has stayed idle, or a header section incomplete, for too long,
    /// or has become abusive; else never while a request runs.
    pub(super) async fn overdue(&self, timeouts: &Timeouts) -> Phase {
        let mut watched = self.0.phase.subscribe();
        loop {
            let phase = *watched.borrow_and_update();
            let limit = match phase {
                Phase::Idle => timeouts.idle,
                Phase::Head => timeouts.header,
                Phase::Busy(_) => Duration::MAX,
                Phase::Abusive => Duration::ZERO,
            };
            if timeout(limit, watched.changed()).await.is_err() {
                return phase;
            }
        }
    }
}

/// Held while a request runs.
#[derive(Debug)]
pub(super) struct Busy {
    activity: Activity,
    answered: bool,
}

impl Busy {
    /// The response begins; to drop the request from here on is no longer a sign of abuse.
    pub(super) fn answered(&mut self) {
        self.answered = true;
    }

    fn is_abuse(&self) -> bool {
        if self.answered {
            return false;
        }
        let State {
            begun, cancelled, ..
        } = &*self.activity.0;
        let cancelled = cancelled.fetch_add(1, Ordering::Relaxed) + 1;
        cancelled > CANCELLED && cancelled * 2 > begun.load(Ordering::Relaxed)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let abuse = self.is_abuse();
        self.activity.0.phase.send_modify(|phase| {
            *phase = match *phase {
                _ if abuse => Phase::Abusive,
                Phase::Busy(requests) if requests > 1 => Phase::Busy(requests - 1),
                Phase::Abusive => Phase::Abusive,
                Phase::Idle | Phase::Head | Phase::Busy(_) => Phase::Idle,
            };
        });
    }
}

/// Requests that a client may cancel before their response begins; one more ends the connection if
/// they are also more than half of all. A person who leaves page after page stays far below.
const CANCELLED: u64 = 500;

/// Whose turn it is in sending a response: odd while a piece waits for the client to take it.
#[derive(Debug, Default)]
pub(super) struct Progress {
    turn: AtomicU64,
    tunnel: OnceLock<Sending>,
}

impl Progress {
    /// The transport asks for a piece or has done with the response, so the client has taken the
    /// piece before.
    pub(super) fn asked(&self) {
        let turn = self.turn.load(Ordering::Relaxed);
        self.turn.store(turn + (turn & 1), Ordering::Relaxed);
    }

    /// A piece was handed to the transport.
    pub(super) fn handed(&self) {
        self.turn.fetch_add(1, Ordering::Relaxed);
    }

    /// Says that the response opens a tunnel over HTTP/2.
    pub(super) fn open_tunnel(&self) -> Sending {
        self.tunnel.get_or_init(Sending::default).clone()
    }

    /// The tunnel that the response opened, if it did.
    pub(super) fn tunnel(&self) -> Option<Sending> {
        self.tunnel.get().cloned()
    }

    /// Resolves when the client has not taken a piece for `limit`, and at the latest for twice
    /// that: looking now and then costs a response nothing, a timer for each piece would.
    pub(super) async fn stalled(&self, limit: Duration) {
        let mut before = self.turn.load(Ordering::Relaxed);
        loop {
            sleep(limit).await;
            let turn = self.turn.load(Ordering::Relaxed);
            if turn == before && turn & 1 == 1 {
                return;
            }
            before = turn;
        }
    }
}

/// A stream that tells its reads to an [`Activity`] and knows whether its writes are out.
#[derive(Debug)]
pub(super) struct Watched<T> {
    inner: T,
    activity: Activity,
    flushed: bool,
}

impl<T> Watched<T> {
    pub(super) fn new(inner: T, activity: Activity) -> Self {
        Self {
            inner,
            activity,
            flushed: true,
        }
    }

    /// The stream.
    pub(super) fn into_inner(self) -> T {
        self.inner
    }

    /// The stream, if nothing of what was written to it is held back.
    pub(super) fn into_flushed(self) -> Option<T> {
        self.flushed.then_some(self.inner)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.activity.received();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.flushed = false;
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.flushed = false;
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        self.flushed = true;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_is_overdue_after_the_idle_timeout() {
        let timeouts = Timeouts::default();
        let begun = sleep(Duration::ZERO).deadline();
        let activity = Activity::new();
        assert_eq!(activity.overdue(&timeouts).await, Phase::Idle);
        assert_eq!(elapsed(begun), timeouts.idle);
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_section_has_its_own_time_however_it_trickles() {
        let timeouts = Timeouts::default();
        let begun = sleep(Duration::ZERO).deadline();
        let activity = Activity::new();
        let trickle = async {
            loop {
                activity.received();
                sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::select! {
            phase = activity.overdue(&timeouts) => assert_eq!(phase, Phase::Head),
            () = trickle => {}
        }
        assert_eq!(elapsed(begun), timeouts.header);
    }

    #[tokio::test(start_paused = true)]
    async fn a_running_request_is_never_overdue() {
        let timeouts = Timeouts::default();
        let activity = Activity::new();
        let first = activity.begin();
        let second = activity.begin();
        drop(first);
        let day = Duration::from_hours(24);
        assert!(timeout(day, activity.overdue(&timeouts)).await.is_err());
        drop(second);
        assert_eq!(activity.overdue(&timeouts).await, Phase::Idle);
    }

    #[tokio::test]
    async fn a_client_that_cancels_most_of_its_requests_is_abusive() {
        let timeouts = Timeouts::default();
        let activity = Activity::new();
        let _running = activity.begin();
        for _ in 0..CANCELLED {
            drop(activity.begin());
        }
        assert_eq!(*activity.0.phase.borrow(), Phase::Busy(1));
        drop(activity.begin());
        assert_eq!(activity.overdue(&timeouts).await, Phase::Abusive);
        activity.begin().answered();
        assert_eq!(activity.overdue(&timeouts).await, Phase::Abusive);
    }

    #[tokio::test]
    async fn a_client_that_cancels_less_than_half_is_not_abusive() {
        let activity = Activity::new();
        for _ in 0..CANCELLED * 2 {
            activity.begin().answered();
            drop(activity.begin());
            activity.begin().answered();
        }
        assert_eq!(*activity.0.phase.borrow(), Phase::Idle);
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_client_that_takes_nothing_is_stalled() {
        let limit = Duration::from_mins(1);
        let progress = Progress::default();
        progress.asked();
        assert!(timeout(limit * 10, progress.stalled(limit)).await.is_err());
        let moving = async {
            for _ in 0..100 {
                progress.handed();
                sleep(limit / 2).await;
                progress.asked();
            }
        };
        tokio::select! {
            biased;
            () = progress.stalled(limit) => panic!("a moving response is not stalled"),
            () = moving => {}
        }
        progress.handed();
        assert!(timeout(limit * 2, progress.stalled(limit)).await.is_ok());
    }

    fn elapsed(since: Instant) -> Duration {
        sleep(Duration::ZERO).deadline() - since
    }
}

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use crate::request::clock;

/// Bounds the wait for the next piece of a body.
///
/// The timer runs only while the body is pending, so a reader that holds back does not use it up.
#[derive(Debug)]
pub(super) struct Idle {
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    running: bool,
    waited: Duration,
}

/// Nothing came in time.
#[derive(Debug)]
pub(super) struct Stalled;

impl Idle {
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            limit,
            timer: None,
            running: false,
            waited: Duration::ZERO,
        }
    }

    /// Lets every wait be as long as this, the present one too.
    pub(super) fn lengthen(&mut self, limit: Duration) {
        let more = limit.saturating_sub(self.limit);
        if more.is_zero() {
            return;
        }
        self.limit = limit;
        if let (true, Some(timer)) = (self.running, &mut self.timer) {
            let deadline = timer.deadline() + more;
            timer.as_mut().reset(deadline);
        }
    }

    /// How long the body was waited for since the last call.
    pub(super) fn take_waited(&mut self) -> Duration {
        std::mem::take(&mut self.waited)
    }

    /// Passes on what the body returned, or [`Stalled`] when it has been pending for too long. The
    /// next call starts anew then.
    pub(super) fn bound<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<T>,
    ) -> Poll<Result<T, Stalled>> {
        if let Poll::Ready(piece) = polled {
            if let (true, Some(timer)) = (self.running, &self.timer) {
                let left = timer.deadline().saturating_duration_since(clock::now());
                self.waited += self.limit.saturating_sub(left);
            }
            self.running = false;
            return Poll::Ready(Ok(piece));
        }
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| {
            self.running = true;
            Box::pin(sleep(limit))
        });
        if !self.running {
            timer.as_mut().reset(clock::now() + limit);
            self.running = true;
        }
        ready!(timer.as_mut().poll(cx));
        self.running = false;
        Poll::Ready(Err(Stalled))
    }
}

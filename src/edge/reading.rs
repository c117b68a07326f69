use std::fmt;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use tokio::sync::watch;

/// Whether this process reads the sockets of its node; shared by all clones, and off at first.
///
/// While two processes share sockets, one of them reads. What arrives meanwhile waits in the kernel.
#[derive(Clone)]
pub(crate) struct Reading(Arc<State>);

struct State {
    on: watch::Sender<bool>,
    /// Those who wait in [`Reading::poll_on`], each once: the endpoints of this process.
    waiting: Mutex<Vec<Waker>>,
}

impl Default for Reading {
    fn default() -> Self {
        Self(Arc::new(State {
            on: watch::Sender::new(false),
            waiting: Mutex::default(),
        }))
    }
}

impl Reading {
    /// Reads from the beginning.
    pub(crate) fn on() -> Self {
        let reading = Self::default();
        reading.resume();
        reading
    }

    /// Begins to read, or reads on.
    pub(crate) fn resume(&self) {
        self.0.on.send_replace(true);
        let waiting = std::mem::take(&mut *self.0.waiting.lock().expect("no holder panics"));
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Stops reading. What was taken off a socket already is still handled.
    pub(crate) fn pause(&self) {
        self.0.on.send_replace(false);
    }

    /// Whether this process reads now.
    pub(crate) fn is_on(&self) -> bool {
        *self.0.on.borrow()
    }

    /// Is ready while this process reads; wakes the task when it begins to.
    pub(crate) fn poll_on(&self, cx: &Context<'_>) -> Poll<()> {
        if self.is_on() {
            return Poll::Ready(());
        }
        let mut waiting = self.0.waiting.lock().expect("no holder panics");
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        drop(waiting);
        // It may have begun between the look and the note.
        if self.is_on() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Waits for what `next` gives, only while this process reads. As cancel safe as `next`.
    pub(crate) async fn next<T, F: Future<Output = T>>(&self, mut next: impl FnMut() -> F) -> T {
        let mut on = self.0.on.subscribe();
        loop {
            // The sender lives as long as `self`.
            drop(on.wait_for(|on| *on).await);
            tokio::select! {
                biased;
                _ = on.wait_for(|on| !*on) => {}
                value = next() => return value,
            }
        }
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reading").field(&self.is_on()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_task_that_polls_is_woken_once_when_reading_begins() {
        let reading = Reading::default();
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let context = Context::from_waker(&waker);
        assert!(reading.poll_on(&context).is_pending());
        assert!(reading.poll_on(&context).is_pending());
        reading.resume();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(reading.poll_on(&context).is_ready());
        reading.pause();
        assert!(reading.poll_on(&context).is_pending());
    }

    #[test]
    fn nothing_is_taken_while_paused() {
        let reading = Reading::default();
        let mut context = Context::from_waker(Waker::noop());
        let mut next = pin!(reading.next(|| ready(7)));
        assert!(next.as_mut().poll(&mut context).is_pending());
        reading.resume();
        assert_eq!(next.as_mut().poll(&mut context), Poll::Ready(7));
        let mut waits = pin!(reading.next(pending::<()>));
        assert!(waits.as_mut().poll(&mut context).is_pending());
        reading.pause();
        assert!(waits.as_mut().poll(&mut context).is_pending());
    }
}

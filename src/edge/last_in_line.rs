use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// What drives a connection, which lets everything else that is ready go first.
///
/// The task of a request that writes its response wakes the one of its connection, and the runtime runs
/// what was woken last at once: each response would be a packet and a system call of its own, although
/// those of other requests are ready too. Last in line, the connection finds all of them.
#[derive(Debug)]
pub(super) struct LastInLine<F> {
    connection: F,
    gave_way: bool,
}

impl<F> LastInLine<F> {
    pub(super) fn new(connection: F) -> Self {
        Self {
            connection,
            gave_way: false,
        }
    }
}

impl<F: Future + Unpin> Future for LastInLine<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.gave_way = !self.gave_way;
        if self.gave_way {
            // A task that wakes itself goes to the end of the queue.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.connection).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_connection_goes_to_the_end_of_the_queue_each_time_before_it_runs() {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut cx = Context::from_waker(&waker);
        let mut ran = 0;
        let mut driver = LastInLine::new(poll_fn(|_| {
            ran += 1;
            if ran < 2 {
                Poll::Pending
            } else {
                Poll::Ready(ran)
            }
        }));
        let outcomes = [(); 4].map(|()| {
            let polled = Pin::new(&mut driver).poll(&mut cx);
            (polled, woken.0.load(Ordering::Relaxed))
        });
        let waits = |woken| (Poll::Pending, woken);
        assert_eq!(
            outcomes,
            [waits(1), waits(1), waits(2), (Poll::Ready(2), 2)]
        );
    }
}

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
    use std::sync::{Arc, Mutex};

    use tokio::sync::Notify;
    use tokio::task::JoinSet;

    use super::*;

    /// Names in the order in which tasks ran of which the first wakes a connection, while others are
    /// ready.
    async fn order(
        connection: impl FnOnce(Arc<Notify>, Ran) -> Driver + Send + 'static,
    ) -> Vec<&'static str> {
        let ran = Ran::default();
        let notes = ran.clone();
        let mut all = JoinSet::new();
        // On the runtime's one worker, where tasks do not come in from outside.
        all.spawn(async move {
            let written = Arc::new(Notify::new());
            let mut tasks = JoinSet::new();
            tasks.spawn(connection(Arc::clone(&written), notes.clone()));
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            for name in ["second", "third"] {
                let notes = notes.clone();
                tasks.spawn(async move { notes.add(name) });
            }
            tasks.spawn(async move {
                notes.add("first");
                written.notify_one();
            });
            tasks.join_all().await;
        });
        all.join_all().await;
        ran.0.lock().unwrap().clone()
    }

    type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

    #[derive(Clone, Default)]
    struct Ran(Arc<Mutex<Vec<&'static str>>>);

    impl Ran {
        fn add(&self, name: &'static str) {
            self.0.lock().unwrap().push(name);
        }
    }

    fn driver(written: Arc<Notify>, ran: Ran) -> Driver {
        Box::pin(async move {
            written.notified().await;
            ran.add("connection");
        })
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_connection_runs_after_all_requests_that_are_ready() {
        let last = |written, ran| -> Driver { Box::pin(LastInLine::new(driver(written, ran))) };
        assert_eq!(
            order(last).await,
            ["first", "second", "third", "connection"]
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn without_it_the_runtime_runs_the_connection_before_requests_that_are_ready() {
        assert_eq!(
            order(driver).await,
            ["first", "connection", "second", "third"]
        );
    }
}

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::request::clock;

/// How many requests a connection has, how many of them wait for nobody but the client, and since when
/// there is none.
#[derive(Debug)]
pub(super) struct Usage {
    requests: AtomicUsize,
    waiting: AtomicUsize,
    unused_since: Mutex<Instant>,
}

/// A request waits for its client until this is dropped.
#[derive(Debug)]
pub(super) struct Waiting<'a>(&'a Usage);

impl Usage {
    pub(super) fn new() -> Self {
        Self {
            requests: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            unused_since: Mutex::new(clock::now()),
        }
    }

    /// A request has come.
    pub(super) fn begin(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// A request that has come is over.
    pub(super) fn end(&self) {
        let mut unused_since = self.unused_since.lock().expect("no holder panics");
        if self.requests.fetch_sub(1, Ordering::Relaxed) == 1 {
            *unused_since = clock::now();
        }
    }

    /// A request has its response, or a piece of it, ready for the client.
    pub(super) fn wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(self)
    }

    /// Resolves when there has been no request for this long. Cancel safe.
    pub(super) async fn unused(&self, limit: Duration) {
        loop {
            // Under way it is looked at again after this time, so that a request costs no timer.
            let since = {
                let unused_since = self.unused_since.lock().expect("no holder panics");
                match self.requests.load(Ordering::Relaxed) {
                    0 => *unused_since,
                    _ => clock::now(),
                }
            };
            let due = since + limit;
            if due <= clock::now() {
                return;
            }
            sleep_until(due).await;
        }
    }

    /// Resolves when for this long nothing has come from a client for which alone all requests wait.
    /// `heard` is how many datagrams have. A client that is there acknowledges what it is sent again and
    /// again. Cancel safe.
    pub(super) async fn forsaken(&self, limit: Duration, heard: impl Fn() -> u64) {
        let (mut before, mut silent) = (None, 0);
        while silent < LOOKS {
            sleep((limit / LOOKS).max(SHORTEST_LOOK)).await;
            let now = Some(heard());
            let waits =
                self.waiting.load(Ordering::Relaxed) == self.requests.load(Ordering::Relaxed);
            silent = if waits && before == now {
                silent + 1
            } else {
                0
            };
            before = now;
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How often a client is looked at within the time after which it is given up.
const LOOKS: u32 = 10;
const SHORTEST_LOOK: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::timeout;

    use super::*;

    const LIMIT: Duration = Duration::from_mins(2);
    const DAY: Duration = Duration::from_hours(24);

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_unused_when_its_last_request_is_long_over() {
        let usage = Usage::new();
        let begun = clock::now();
        usage.unused(LIMIT).await;
        assert_eq!(clock::now() - begun, LIMIT, "nothing was ever asked");
        usage.begin();
        usage.begin();
        assert!(timeout(DAY, usage.unused(LIMIT)).await.is_err());
        usage.end();
        assert!(timeout(DAY, usage.unused(LIMIT)).await.is_err());
        let asking = async {
            usage.end();
            for _ in 0..100 {
                sleep(LIMIT / 2).await;
                usage.begin();
                usage.end();
            }
        };
        tokio::select! {
            biased;
            () = usage.unused(LIMIT) => panic!("it is in use"),
            () = asking => {}
        }
        let last = clock::now();
        usage.unused(LIMIT).await;
        assert_eq!(clock::now() - last, LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_is_given_up_only_while_all_wait_for_it_and_it_says_nothing() {
        let usage = Usage::new();
        let heard = Cell::new(0);
        let forsaken = || usage.forsaken(LIMIT, || heard.get());
        usage.begin();
        usage.begin();
        let first = usage.wait();
        assert!(
            timeout(DAY, forsaken()).await.is_err(),
            "one is answered yet"
        );
        let second = usage.wait();
        let acknowledging = async {
            for _ in 0..100 {
                sleep(LIMIT / 2).await;
                heard.set(heard.get() + 1);
            }
        };
        tokio::select! {
            biased;
            () = forsaken() => panic!("it is there"),
            () = acknowledging => {}
        }
        assert!(timeout(LIMIT * 2, forsaken()).await.is_ok());
        drop((first, second));
        assert!(timeout(DAY, forsaken()).await.is_err());
    }
}

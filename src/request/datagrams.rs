use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

/// The HTTP datagrams of one request in QUIC DATAGRAM frames (RFC 9297, section 2.1).
///
/// A transport puts it into the extensions of a request whose protocol has a use for datagrams; where it
/// is missing, they are carried by DATAGRAM capsules in the two bodies alone. A client may use both.
#[derive(Clone)]
pub struct Datagrams {
    received: Arc<DatagramQueue>,
    send: Arc<dyn SendDatagrams>,
}

/// Sends the datagrams of one request.
pub(crate) trait SendDatagrams: Send + Sync {
    /// As [`Datagrams::send`].
    fn send(&self, payload: &[u8]) -> Result<(), SendDatagramError>;
}

/// Why a datagram was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendDatagramError {
    /// The client takes none in QUIC DATAGRAM frames, or has not said yet that it does: a capsule may
    /// carry it.
    #[error("the client takes no datagrams")]
    Unsupported,
    /// It does not fit into a packet; it has to be dropped (RFC 9298, section 6.1).
    #[error("the datagram is larger than the path carries")]
    TooLarge,
    /// As much waits as may; it has to be dropped.
    #[error("too many datagrams wait")]
    Full,
    /// The connection has ended.
    #[error("the connection has ended")]
    Gone,
}

/// The datagrams of one request that came and were not taken yet.
pub(crate) struct DatagramQueue {
    most: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    datagrams: VecDeque<Bytes>,
    taker: Option<Waker>,
}

impl Datagrams {
    pub(crate) fn new(received: Arc<DatagramQueue>, send: Arc<dyn SendDatagrams>) -> Self {
        Self { received, send }
    }

    /// Waits for the next datagram of the client; cancel safe. One task at a time.
    pub async fn receive(&self) -> Bytes {
        poll_fn(|cx| self.poll_receive(cx)).await
    }

    /// As [`Datagrams::receive`].
    pub fn poll_receive(&self, cx: &Context<'_>) -> Poll<Bytes> {
        self.received.poll_take(cx)
    }

    /// Sends a datagram, or not at all.
    ///
    /// # Errors
    /// [`SendDatagramError`].
    pub fn send(&self, payload: &[u8]) -> Result<(), SendDatagramError> {
        self.send.send(payload)
    }
}

impl fmt::Debug for Datagrams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datagrams").finish_non_exhaustive()
    }
}

impl DatagramQueue {
    /// Holds at most so many.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            waiting: Mutex::default(),
        }
    }

    /// Puts a datagram behind the others, if there is room. Whether there was.
    pub(crate) fn put(&self, datagram: Bytes) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.datagrams.len() >= self.most {
            return false;
        }
        waiting.datagrams.push_back(datagram);
        let taker = waiting.taker.take();
        drop(waiting);
        if let Some(taker) = taker {
            taker.wake();
        }
        true
    }

    fn poll_take(&self, cx: &Context<'_>) -> Poll<Bytes> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(datagram) = waiting.datagrams.pop_front() {
            return Poll::Ready(datagram);
        }
        waiting.taker = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;

    impl SendDatagrams for Nobody {
        fn send(&self, _payload: &[u8]) -> Result<(), SendDatagramError> {
            Err(SendDatagramError::Unsupported)
        }
    }

    #[tokio::test]
    async fn datagrams_are_taken_in_order_and_the_last_are_dropped_at_the_bound() {
        let queue = Arc::new(DatagramQueue::new(2));
        let datagrams = Datagrams::new(Arc::clone(&queue), Arc::new(Nobody));
        let put: Vec<bool> = [1, 2, 3]
            .map(|number| queue.put(Bytes::from(vec![number])))
            .to_vec();
        assert_eq!(put, [true, true, false]);
        assert_eq!(datagrams.receive().await, [1][..]);
        assert_eq!(datagrams.receive().await, [2][..]);
        let waiting = async { datagrams.receive().await };
        let putting = async { queue.put(Bytes::from_static(b"x")) };
        let (received, put) = tokio::join!(waiting, putting);
        assert_eq!((received, put), (Bytes::from_static(b"x"), true));
    }
}

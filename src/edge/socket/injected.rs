use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::fleet::NodeId;
use crate::steer::Arrival;
use crate::wire::{Ecn, Path};

/// Datagrams of one path, all of `stride` bytes but the last, which may be shorter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch<'a> {
    /// All of them; no bytes are one empty datagram.
    pub(crate) bytes: &'a [u8],
    /// Bytes of each, at least 1.
    pub(crate) stride: usize,
    /// How they came.
    pub(crate) origin: Origin,
}

/// How datagrams of a client came to this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Between which addresses they travelled.
    pub(crate) path: Path,
    /// Their ECN mark.
    pub(crate) ecn: Ecn,
    /// How they reached this process.
    pub(crate) arrival: Arrival,
    /// The node that they reached first, if that was a peer.
    pub(crate) ingress: Option<NodeId>,
}

/// A batch for an endpoint whose socket it did not reach.
#[derive(Clone, Debug)]
pub(crate) struct Injected {
    /// As in [`Batch`].
    pub(crate) bytes: Bytes,
    pub(crate) stride: usize,
    pub(crate) origin: Origin,
}

/// The way to put datagrams into a [`SteeredSocket`](super::SteeredSocket); bounded.
#[derive(Clone, Debug)]
pub(crate) struct Injector {
    sender: mpsc::Sender<Injected>,
    /// How many more datagrams have room.
    room: Arc<AtomicUsize>,
}

/// The other end of an [`Injector`].
#[derive(Debug)]
pub(crate) struct InjectedQueue {
    receiver: mpsc::Receiver<Injected>,
    room: Arc<AtomicUsize>,
    /// What is left of a batch that did not fit whole into a buffer.
    rest: Option<Injected>,
}

impl<'a> Batch<'a> {
    /// How many datagrams these are.
    pub(crate) fn count(&self) -> usize {
        self.bytes.len().div_ceil(self.stride).max(1)
    }

    /// Some of the datagrams, which came in the same way.
    pub(crate) fn part(&self, bytes: &'a [u8]) -> Self {
        Self { bytes, ..*self }
    }
}

impl Origin {
    /// The origin of what a client sent to this node.
    pub(crate) fn direct(path: Path, ecn: Ecn) -> Self {
        Self {
            path,
            ecn,
            arrival: Arrival::Direct,
            ingress: None,
        }
    }
}

impl Injected {
    /// Copies datagrams.
    pub(crate) fn copy(batch: &Batch<'_>) -> Self {
        Self {
            bytes: Bytes::copy_from_slice(batch.bytes),
            stride: batch.stride,
            origin: batch.origin,
        }
    }

    /// The datagrams.
    pub(crate) fn batch(&self) -> Batch<'_> {
        Batch {
            bytes: &self.bytes,
            stride: self.stride,
            origin: self.origin,
        }
    }

    /// Takes as many datagrams off the front as `room` bytes hold; `None` if not even one fits.
    fn split(&mut self, room: usize) -> Option<Self> {
        if self.bytes.len() <= room {
            return Some(Self {
                bytes: std::mem::take(&mut self.bytes),
                ..self.clone()
            });
        }
        let fitting = room - room % self.stride;
        (fitting > 0).then(|| Self {
            bytes: self.bytes.split_to(fitting),
            ..self.clone()
        })
    }
}

impl Injector {
    /// A queue in which at most `limit` datagrams wait.
    pub(crate) fn new(limit: usize) -> (Self, InjectedQueue) {
        let (sender, receiver) = mpsc::channel(limit);
        let room = Arc::new(AtomicUsize::new(limit));
        let queue = InjectedQueue {
            receiver,
            room: Arc::clone(&room),
            rest: None,
        };
        (Self { sender, room }, queue)
    }

    /// Puts in as many of the datagrams as there is room for, and gives how many these are.
    pub(crate) fn inject(&self, batch: &Batch<'_>) -> usize {
        let mut taken = 0;
        let take = |room: usize| {
            taken = room.min(batch.count());
            Some(room - taken)
        };
        self.room
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .expect("the closure always gives a value");
        let fitting = batch.bytes.len().min(taken * batch.stride);
        let sent = taken > 0 && {
            let injected = Injected::copy(&batch.part(&batch.bytes[..fitting]));
            self.sender.try_send(injected).is_ok()
        };
        if sent {
            return taken;
        }
        self.room.fetch_add(taken, Ordering::Relaxed);
        0
    }
}

impl InjectedQueue {
    /// Takes the next datagrams of one path, as many of them as `room` bytes hold; an error is a batch
    /// of datagrams that are longer each.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        room: usize,
    ) -> Poll<Result<Injected, Injected>> {
        let mut next = match self.rest.take() {
            Some(rest) => rest,
            None => match self.receiver.poll_recv(cx) {
                Poll::Ready(Some(next)) => next,
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            },
        };
        let taken = next.split(room);
        if taken.is_some() && !next.bytes.is_empty() {
            self.rest = Some(next.clone());
        }
        let taken = taken.ok_or(next);
        let (Ok(counted) | Err(counted)) = &taken;
        self.room
            .fetch_add(counted.batch().count(), Ordering::Relaxed);
        Poll::Ready(taken)
    }

    /// Waits for the next datagram.
    #[cfg(test)]
    pub(in crate::edge) async fn next(&mut self) -> Injected {
        let mut next = match self.rest.take() {
            Some(rest) => rest,
            None => self.receiver.recv().await.unwrap(),
        };
        let one = next.split(next.stride).unwrap();
        self.rest = (!next.bytes.is_empty()).then_some(next);
        self.room.fetch_add(1, Ordering::Relaxed);
        one
    }

    /// Whether nothing waits.
    #[cfg(test)]
    pub(in crate::edge) fn is_empty(&self) -> bool {
        self.rest.is_none() && self.receiver.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn origin() -> Origin {
        let path = Path {
            source: "192.0.2.7:4000".parse().unwrap(),
            destination: "192.0.2.1:443".parse().unwrap(),
        };
        Origin::direct(path, Ecn::NotEct)
    }

    fn batch(bytes: &[u8], stride: usize) -> Batch<'_> {
        Batch {
            bytes,
            stride,
            origin: origin(),
        }
    }

    fn polled(queue: &mut InjectedQueue, room: usize) -> Option<Result<Bytes, Bytes>> {
        match queue.poll(&mut Context::from_waker(Waker::noop()), room) {
            Poll::Pending => None,
            Poll::Ready(Ok(taken)) => Some(Ok(taken.bytes)),
            Poll::Ready(Err(too_long)) => Some(Err(too_long.bytes)),
        }
    }

    #[test]
    fn the_queue_is_bounded_in_datagrams_and_takes_what_fits() {
        let (injector, mut queue) = Injector::new(3);
        assert_eq!(injector.inject(&batch(b"aabb", 2)), 2);
        assert_eq!(injector.inject(&batch(b"ccdd", 2)), 1);
        assert_eq!(injector.inject(&batch(b"e", 2)), 0);
        assert_eq!(polled(&mut queue, 100), Some(Ok(Bytes::from("aabb"))));
        assert_eq!(polled(&mut queue, 100), Some(Ok(Bytes::from("cc"))));
        assert_eq!(polled(&mut queue, 100), None);
        assert_eq!(injector.inject(&batch(b"ffgghhi", 2)), 3);
    }

    #[test]
    fn a_batch_that_is_longer_than_the_buffer_comes_in_pieces() {
        let (injector, mut queue) = Injector::new(8);
        injector.inject(&batch(b"aabbccd", 2));
        assert_eq!(polled(&mut queue, 5), Some(Ok(Bytes::from("aabb"))));
        assert_eq!(polled(&mut queue, 5), Some(Ok(Bytes::from("ccd"))));
        injector.inject(&batch(b"aaaabbbb", 4));
        assert_eq!(polled(&mut queue, 3), Some(Err(Bytes::from("aaaabbbb"))));
        assert_eq!(injector.inject(&batch(&[0; 20], 2)), 8);
    }
}

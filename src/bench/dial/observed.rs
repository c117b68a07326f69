use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Instant;

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller};
use tokio::sync::Notify;

use crate::bench::clock::now;

/// A client's UDP socket that notes what comes, and can lead it to another node.
#[derive(Debug)]
pub(super) struct Observed {
    socket: Arc<dyn AsyncUdpSocket>,
    seen: Mutex<Seen>,
    received: Notify,
    /// The node that the client knows, and the one that its datagrams go to: the same, until a route
    /// flips where no network has one.
    nodes: Mutex<[SocketAddr; 2]>,
}

/// What came and went.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// When the first datagram came.
    pub(super) first: Option<Instant>,
    /// When the last one came or went.
    pub(super) last: Option<Instant>,
    /// Retry packets that came.
    pub(super) retries: u32,
}

impl Observed {
    pub(super) fn new(socket: std::net::UdpSocket, node: SocketAddr) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            socket: TokioRuntime.wrap_udp_socket(socket)?,
            seen: Mutex::default(),
            received: Notify::new(),
            nodes: Mutex::new([node; 2]),
        }))
    }

    pub(super) fn seen(&self) -> Seen {
        *self.lock()
    }

    /// Waits until datagrams come.
    pub(super) async fn received(&self) {
        self.received.notified().await;
    }

    /// Leads what is sent from here on to another node, as an anycast route does; the client still
    /// knows the node by its old address.
    pub(super) fn lead_to(&self, node: SocketAddr) {
        self.nodes.lock().expect("no holder panics")[1] = node;
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no holder panics")
    }

    fn nodes(&self) -> [SocketAddr; 2] {
        *self.nodes.lock().expect("no holder panics")
    }
}

impl AsyncUdpSocket for Observed {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.socket).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let [known, actual] = self.nodes();
        let destination = if transmit.destination == known {
            actual
        } else {
            transmit.destination
        };
        let sent = self.socket.try_send(&Transmit {
            destination,
            ecn: transmit.ecn,
            contents: transmit.contents,
            segment_size: transmit.segment_size,
            src_ip: transmit.src_ip,
        });
        self.lock().last = Some(now());
        sent
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let polled = self.socket.poll_recv(cx, buffers, meta);
        let Poll::Ready(Ok(filled)) = polled else {
            return polled;
        };
        let at = now();
        let [known, actual] = self.nodes();
        let mut seen = self.lock();
        seen.first = seen.first.or(Some(at));
        seen.last = Some(at);
        for (buffer, meta) in buffers.iter().zip(meta.iter_mut()).take(filled) {
            seen.retries += u32::from(buffer.first().is_some_and(|first| is_retry(*first)));
            if meta.addr == actual {
                meta.addr = known;
            }
        }
        self.received.notify_one();
        polled
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}

/// A long header of the type Retry (RFC 9000, section 17.2.5).
fn is_retry(first: u8) -> bool {
    first & 0b1011_0000 == 0b1011_0000
}

//! The UDP sockets under the QUIC endpoints: every datagram is steered before quinn sees it, and
//! datagrams that arrived elsewhere are put in as if they had arrived here.
//!
//! IPv4 addresses have one form above the socket, never the mapped one that a dual-stack socket shows.
//! So a client that reaches an IPv4 socket of one node and a dual-stack one of another keeps its
//! address, and quinn knows a NAT rebinding from a new address.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::net::UdpSocket;

use super::steering::Steering;
use crate::steer::Slot;
use crate::telemetry::{self, Metrics};
use crate::wire::Path;

/// The batching socket calls under the tunnel as well.
pub(super) mod udp {
    #[cfg(test)]
    pub(in crate::edge) use quinn::AsyncUdpSocket;
    pub(in crate::edge) use quinn::udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
}

mod batch;
mod drops;
mod injected;
mod poller;
mod port;
mod receiving;
mod returns;
mod ways_back;

use poller::WritablePoller;
use port::{mark, specified};
use returns::Returns;
use ways_back::WaysBack;

pub(super) use batch::split;
pub(super) use drops::Drops;
pub(super) use injected::{Batch, Injected, InjectedQueue, Injector, Origin};
pub(super) use port::Port;
pub(super) use receiving::DROP_REASONS;

/// A UDP socket whose datagrams are steered.
pub(crate) struct SteeredSocket {
    port: Arc<Port>,
    steering: Arc<Steering>,
    slot: Slot,
    injected: Mutex<InjectedQueue>,
    injected_first: AtomicBool,
    ways_back: WaysBack,
    drops: Drops,
    metrics: Metrics,
}

/// What a [`SteeredSocket`] is made of.
#[derive(Debug)]
pub(crate) struct SocketParts {
    /// A bound socket.
    pub(crate) socket: std::net::UdpSocket,
    /// Whose endpoint it is under.
    pub(crate) slot: Slot,
    /// How many datagrams may wait that arrived elsewhere.
    pub(crate) queue: usize,
    /// Addresses to which clients may move in the middle of a connection.
    pub(crate) preferred: Vec<SocketAddr>,
    /// How long a client may be silent.
    pub(crate) idle_timeout: Duration,
}

impl SocketParts {
    /// The socket of a process that has one endpoint, at which `queue` datagrams may wait.
    #[cfg(test)]
    pub(super) fn testing(address: &str, queue: usize) -> Self {
        Self {
            socket: crate::sys::socket::bind_udp(address.parse().unwrap()).unwrap(),
            slot: Slot::default(),
            queue,
            preferred: Vec::new(),
            idle_timeout: Duration::from_secs(120),
        }
    }
}

impl SteeredSocket {
    /// Wraps a bound socket; needs a tokio runtime.
    pub(crate) fn new(
        parts: SocketParts,
        steering: Arc<Steering>,
        metrics: Metrics,
    ) -> io::Result<(Self, super::Endpoint)> {
        let port = Arc::new(Port::new(parts.socket)?);
        let (injector, injected) = Injector::new(parts.queue);
        let returns = Returns::new(port.local(), parts.preferred, parts.idle_timeout);
        let endpoint = super::Endpoint {
            port: Arc::clone(&port),
            injector,
        };
        let socket = Self {
            port,
            steering,
            slot: parts.slot,
            injected: Mutex::new(injected),
            injected_first: AtomicBool::new(true),
            ways_back: WaysBack::new(returns, metrics.clone()),
            drops: Drops::new(telemetry::UdpSocket::SERVICE, metrics.clone()),
            metrics,
        };
        Ok((socket, endpoint))
    }

    /// Forgets clients that are silent, and brings the metrics up to date.
    pub(super) fn sweep(&self, now: Instant) {
        self.drops.count(&self.port.io);
        self.ways_back.sweep(now);
    }

    pub(super) fn steering(&self) -> &Steering {
        &self.steering
    }

    pub(super) fn io(&self) -> &UdpSocket {
        &self.port.io
    }
}

impl AsyncUdpSocket for SteeredSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(WritablePoller::new(self))
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let client = transmit.destination;
        let departure = self.ways_back.departure(client, transmit.src_ip);
        let source = departure.source;
        if let Some(node) = departure.ingress {
            let path = Path {
                source: client,
                destination: source.unwrap_or_else(|| self.port.local()),
            };
            let size = transmit.segment_size.unwrap_or(transmit.contents.len());
            let datagrams = (transmit.contents, size);
            if self
                .steering
                .reply(node, datagrams, path, mark(transmit.ecn))
            {
                return Ok(());
            }
        }
        let transmit = Transmit {
            src_ip: source.and_then(|source| specified(source.ip())),
            destination: client,
            ecn: transmit.ecn,
            contents: transmit.contents,
            segment_size: transmit.segment_size,
        };
        let elsewhere = source.filter(|source| !self.port.covers(*source));
        match elsewhere.and_then(|source| self.steering.port(source)) {
            // Waiting for room in this endpoint's socket would be for nothing, so without room in the
            // other it is lost, as on any network.
            Some(other) => drop(other.send(&transmit)),
            None => return self.port.send(&transmit),
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        // Neither source may starve the other. Each leaves its waker when it is pending.
        if self.injected_first.fetch_not(Ordering::Relaxed) {
            match self.poll_injected(cx, bufs, meta) {
                Poll::Pending => self.poll_direct(cx, bufs, meta),
                ready @ Poll::Ready(_) => ready,
            }
        } else {
            match self.poll_direct(cx, bufs, meta) {
                Poll::Pending => self.poll_injected(cx, bufs, meta),
                ready @ Poll::Ready(_) => ready,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.port.local())
    }

    fn may_fragment(&self) -> bool {
        self.port.state.may_fragment()
    }

    fn max_transmit_segments(&self) -> usize {
        self.port.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.port.state.gro_segments()
    }
}

impl fmt::Debug for SteeredSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SteeredSocket")
            .field("local", &self.port.local())
            .field("slot", &self.slot)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

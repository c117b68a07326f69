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
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::steering::{Steering, now};
use crate::steer::{Arrival, Slot, Verdict};
use crate::telemetry::{self, HandedOver, Metrics};
use crate::wire::{Ecn, Path};

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
mod returns;
mod ways_back;

use poller::WritablePoller;
use port::{canonical, codepoint, specified};
use returns::{Entrance, Returns};
use ways_back::{Proven, WaysBack};

pub(super) use batch::split;
pub(super) use drops::Drops;
pub(super) use injected::{Batch, Injected, InjectedQueue, Injector, Origin};
pub(super) use port::Port;

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

    fn poll_injected(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut queue = self.injected.lock().expect("no holder panics");
        let mut filled = 0;
        while filled < bufs.len().min(meta.len()) {
            let injected = match queue.poll(cx, bufs[filled].len()) {
                Poll::Ready(Ok(injected)) => injected,
                Poll::Ready(Err(too_long)) => {
                    self.drop_all(&too_long, OVERSIZED);
                    continue;
                }
                Poll::Pending => break,
            };
            let Path {
                source,
                destination,
            } = injected.origin.path;
            let unanswerable = source.is_ipv6() && self.port.local().is_ipv4();
            if unanswerable && self.steering.port(destination).is_none() {
                self.drop_all(&injected, WRONG_FAMILY);
                continue;
            }
            let len = injected.bytes.len();
            bufs[filled][..len].copy_from_slice(&injected.bytes);
            meta[filled] = RecvMeta {
                addr: source,
                len,
                stride: injected.stride.min(len),
                ecn: codepoint(injected.origin.ecn),
                dst_ip: specified(destination.ip()),
            };
            self.note_return(now(), &injected.origin, Proven::WhoPassedItOn);
            filled += 1;
        }
        if filled > 0 {
            Poll::Ready(Ok(filled))
        } else {
            Poll::Pending
        }
    }

    fn drop_all(&self, injected: &Injected, reason: &'static str) {
        let count = injected.batch().count();
        self.steering.count_drops(reason, count as u64);
    }

    /// Receives and steers until something is for this endpoint.
    fn poll_direct(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        ready!(self.steering.reading().poll_on(cx));
        for _ in 0..BATCHES_PER_POLL {
            // An error here would end the endpoint, and none of them ends the socket.
            let ready = ready!(self.port.io.poll_recv_ready(cx));
            let Ok(received) = ready.and_then(|()| self.receive(bufs, meta)) else {
                continue;
            };
            for (buf, meta) in bufs.iter_mut().zip(meta.iter_mut()).take(received) {
                self.steer(buf, meta);
            }
            if meta[..received].iter().any(|meta| meta.len > 0) {
                return Poll::Ready(Ok(received));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn receive(&self, bufs: &mut [IoSliceMut<'_>], meta: &mut [RecvMeta]) -> io::Result<usize> {
        let Port { io, state, .. } = &*self.port;
        io.try_io(Interest::READABLE, || state.recv(io.into(), bufs, meta))
    }

    /// Keeps in `buf` what belongs to this endpoint and sends the rest on its way.
    fn steer(&self, buf: &mut [u8], meta: &mut RecvMeta) {
        meta.addr = canonical(meta.addr);
        meta.dst_ip = meta.dst_ip.map(|ip| ip.to_canonical());
        let local = self.port.local();
        let path = Path {
            source: meta.addr,
            destination: SocketAddr::new(meta.dst_ip.unwrap_or_else(|| local.ip()), local.port()),
        };
        let ecn = meta
            .ecn
            .map_or(Ecn::NotEct, |ecn| Ecn::from_bits(ecn as u8));
        let origin = Origin::direct(path, ecn);
        let stride = meta.stride.max(1);
        let mut judge = self.steering.judge(path.source, Arrival::Direct);
        let now = judge.now();
        let mut proven = Proven::Nothing;
        meta.len = batch::sort(
            &mut buf[..meta.len],
            stride,
            |datagram| {
                let verdict = judge.decide(datagram);
                if matches!(verdict, Verdict::Local(_)) {
                    proven = Proven::ItsConnectionId;
                }
                verdict
            },
            |verdict| self.home(verdict) == Some(self.slot),
            |verdict, at, bytes| {
                let batch = Batch {
                    bytes,
                    stride,
                    origin,
                };
                self.send_on(verdict, at, &batch);
            },
        );
        drop(judge);
        if meta.len > 0 {
            self.note_return(now, &origin, proven);
        }
        self.steering.take_released();
    }

    /// The endpoint of this process that a datagram which was received here is for.
    fn home(&self, verdict: Verdict) -> Option<Slot> {
        match verdict {
            Verdict::Local(slot) => Some(slot),
            Verdict::Accept(worker) => Some(self.steering.slots().beside(self.slot, worker)),
            _ => None,
        }
    }

    /// Sends datagrams on their way that are not for this endpoint; they began `at` this byte of what
    /// was received at once.
    fn send_on(&self, verdict: Verdict, at: usize, batch: &Batch<'_>) {
        if let Some(slot) = self.home(verdict) {
            // The kernel chose by the first of a batch alone.
            let misplaced = u64::from(at == 0);
            let taken = self.steering.inject(slot, batch) as u64;
            let count = |cause, number| {
                self.metrics
                    .handed_over
                    .get_or_create(&cause)
                    .inc_by(number);
            };
            count(HandedOver::DIRECT, misplaced.min(taken));
            count(HandedOver::MERGED, taken.saturating_sub(misplaced));
            return;
        }
        if matches!(verdict, Verdict::Forward(_)) && self.steering.copies_foreign() {
            self.steering.inject(self.slot, batch);
        }
        self.steering.carry_out(verdict, batch);
    }

    /// Notes where a client's datagrams came in, for the replies.
    fn note_return(&self, now: Instant, origin: &Origin, proven: Proven) {
        let entrance = Entrance {
            local: origin.path.destination,
            ingress: origin
                .ingress
                .filter(|_| self.steering.returns_through_ingress()),
        };
        self.ways_back
            .note(now, origin.path.source, entrance, proven);
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
            let ecn = transmit
                .ecn
                .map_or(Ecn::NotEct, |ecn| Ecn::from_bits(ecn as u8));
            if self.steering.reply(node, datagrams, path, ecn) {
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

/// Every reason for which the socket drops a datagram that arrived elsewhere.
pub(super) const DROP_REASONS: [&str; 2] = [WRONG_FAMILY, OVERSIZED];

const WRONG_FAMILY: &str = "wrong_family";
const OVERSIZED: &str = "oversized";
/// How many batches without a local datagram are handled before other tasks get a turn; a node that
/// only forwards would otherwise never yield.
const BATCHES_PER_POLL: usize = 8;

#[cfg(test)]
mod tests;

//! The UDP socket under the QUIC endpoint: every datagram is steered before quinn sees it, and
//! datagrams that arrived at another node are put in as if they had arrived here.
//!
//! IPv4 addresses have one form above the socket, never the mapped one that a dual-stack socket shows.
//! So a client that reaches an IPv4 socket of one node and a dual-stack one of another keeps its
//! address, and quinn knows a NAT rebinding from a new address.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::slice::Chunks;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use quinn::udp::{EcnCodepoint, RecvMeta, Transmit, UdpSocketState};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::steering::Steering;
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
mod waiting;

use poller::WritablePoller;

pub(super) use drops::Drops;
pub(crate) use injected::{Injected, Injector};

/// A UDP socket whose datagrams are steered.
pub(crate) struct SteeredSocket {
    io: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
    steering: Arc<Steering>,
    slot: Slot,
    worker: u16,
    injected: Mutex<mpsc::Receiver<Injected>>,
    injector: Injector,
    injected_first: AtomicBool,
    last_local: Mutex<LastLocal>,
    drops: Drops,
}

/// The address that clients of each family reached last, for replies after a change of family.
#[derive(Debug, Default)]
struct LastLocal {
    v4: Option<IpAddr>,
    v6: Option<IpAddr>,
}

impl SteeredSocket {
    /// Wraps a bound socket, whose endpoint issues the connection IDs of `slot`. At most `queue` datagrams from peers wait; needs a tokio runtime.
    pub(crate) fn new(
        socket: std::net::UdpSocket,
        steering: Arc<Steering>,
        slot: Slot,
        queue: usize,
        metrics: Metrics,
    ) -> io::Result<(Self, Injector)> {
        let state = UdpSocketState::new((&socket).into())?;
        let io = UdpSocket::from_std(socket)?;
        let (injector, injected) = mpsc::channel(queue);
        let socket = Self {
            worker: slot.0 % steering.workers(),
            slot,
            local: io.local_addr()?,
            io,
            state,
            steering,
            injected: Mutex::new(injected),
            injector: injector.clone(),
            injected_first: AtomicBool::new(true),
            last_local: Mutex::default(),
            drops: Drops::new(telemetry::UdpSocket::SERVICE, metrics),
        };
        Ok((socket, injector))
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
            let Poll::Ready(Some(injected)) = queue.poll_recv(cx) else {
                break;
            };
            let Path {
                source,
                destination,
            } = injected.path;
            if source.is_ipv6() && self.local.is_ipv4() {
                self.steering.count_drop(WRONG_FAMILY);
                continue;
            }
            let len = injected.datagram.len();
            let Some(buf) = bufs[filled].get_mut(..len) else {
                self.steering.count_drop(OVERSIZED);
                continue;
            };
            buf.copy_from_slice(&injected.datagram);
            meta[filled] = RecvMeta {
                addr: source,
                len,
                stride: len,
                ecn: codepoint(injected.ecn),
                dst_ip: specified(destination.ip()),
            };
            self.note_local(&meta[filled]);
            filled += 1;
        }
        if filled > 0 {
            Poll::Ready(Ok(filled))
        } else {
            Poll::Pending
        }
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
            let ready = ready!(self.io.poll_recv_ready(cx));
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
        self.io.try_io(Interest::READABLE, || {
            self.state.recv((&self.io).into(), bufs, meta)
        })
    }

    /// Keeps in `buf` what belongs to this endpoint and sends the rest on its way.
    fn steer(&self, buf: &mut [u8], meta: &mut RecvMeta) {
        if meta.len == 0 {
            self.steering.decide(&[], meta.addr, Arrival::Direct);
            return;
        }
        meta.addr = canonical(meta.addr);
        meta.dst_ip = meta.dst_ip.map(|ip| ip.to_canonical());
        let path = Path {
            source: meta.addr,
            destination: SocketAddr::new(
                meta.dst_ip.unwrap_or_else(|| self.local.ip()),
                self.local.port(),
            ),
        };
        let ecn = meta
            .ecn
            .map_or(Ecn::NotEct, |ecn| Ecn::from_bits(ecn as u8));
        let stride = meta.stride.max(1);
        let cause = if meta.len > stride {
            HandedOver::MERGED
        } else {
            HandedOver::DIRECT
        };
        meta.len = batch::sort(
            &mut buf[..meta.len],
            stride,
            |segment| self.steering.decide(segment, path.source, Arrival::Direct),
            |verdict| self.is_own(verdict),
            |verdict, bytes| match verdict {
                Verdict::Forward(node) => {
                    let datagrams = bytes.chunks(stride);
                    if self.steering.copies_foreign() {
                        self.copy_to_self(datagrams.clone(), path, ecn);
                    }
                    self.steering.forward(node, datagrams, path, ecn);
                }
                Verdict::Negotiate => self.answer(Steering::negotiation(bytes), path),
                Verdict::Reset => self.answer(self.steering.reset(bytes), path),
                Verdict::Sibling(instance) => {
                    self.steering.pass(instance, (bytes, stride), path, ecn);
                }
                Verdict::Wait => self.steering.hold(Injected::new(bytes, path, ecn)),
                Verdict::Local(_) | Verdict::Accept(_) => {
                    let injected = Injected::new(bytes, path, ecn);
                    self.steering.hand_over(verdict, injected, cause);
                }
                Verdict::Drop(_) => {}
            },
        );
        if meta.len > 0 {
            self.note_local(meta);
        }
        self.steer_waiting();
    }

    /// Whether a datagram with this verdict is for this socket's endpoint.
    fn is_own(&self, verdict: Verdict) -> bool {
        match verdict {
            Verdict::Local(slot) => slot == self.slot,
            Verdict::Accept(worker) => worker == self.worker,
            _ => false,
        }
    }

    /// Carries out the planted fault that lets foreign datagrams through.
    fn copy_to_self(&self, datagrams: Chunks<'_, u8>, path: Path, ecn: Ecn) {
        for datagram in datagrams {
            drop(self.injector.try_send(Injected::new(datagram, path, ecn)));
        }
    }

    /// Sends a packet of no connection back to where a datagram came from.
    pub(super) fn answer(&self, answer: Option<Vec<u8>>, path: Path) {
        let Some(answer) = answer else {
            return;
        };
        let transmit = Transmit {
            destination: path.source,
            ecn: None,
            contents: &answer,
            segment_size: None,
            src_ip: specified(path.destination.ip()),
        };
        // A packet that the socket has no room for is lost, as on any network.
        drop(self.try_send(&transmit));
    }
}

impl AsyncUdpSocket for SteeredSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(WritablePoller::new(self))
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let transmit = Transmit {
            src_ip: self
                .source_for(transmit.destination, transmit.src_ip)
                .map(|ip| self.own_form(SocketAddr::new(ip, 0)).ip()),
            destination: self.own_form(transmit.destination),
            ecn: transmit.ecn,
            contents: transmit.contents,
            segment_size: transmit.segment_size,
        };
        self.io.try_io(Interest::WRITABLE, || {
            self.state.send((&self.io).into(), &transmit)
        })
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
        Ok(self.local)
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }
}

impl SteeredSocket {
    /// quinn keeps the local address of a connection's first packet. After a client moved between
    /// IPv4 and IPv6 that address is of the wrong family, and the address that clients of the new
    /// family reach is the one to answer from.
    fn source_for(&self, destination: SocketAddr, source: Option<IpAddr>) -> Option<IpAddr> {
        let source = source?;
        if source.is_ipv4() == destination.is_ipv4() {
            return Some(source);
        }
        self.last_local
            .lock()
            .expect("no holder panics")
            .of_family(destination.ip())
    }

    fn note_local(&self, meta: &RecvMeta) {
        if let Some(ip) = meta.dst_ip {
            self.last_local.lock().expect("no holder panics").note(ip);
        }
    }

    /// The form of an address that the system takes for this socket.
    fn own_form(&self, address: SocketAddr) -> SocketAddr {
        match address {
            SocketAddr::V4(v4) if self.local.is_ipv6() => {
                SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port())
            }
            own => own,
        }
    }

    /// Brings the metric of datagrams that the kernel dropped up to date.
    pub(super) fn count_drops(&self) {
        self.drops.count(&self.io);
    }

    /// The port that clients send to.
    pub(super) fn port(&self) -> u16 {
        self.local.port()
    }

    /// What steers its datagrams.
    pub(super) fn steering(&self) -> &Steering {
        &self.steering
    }

    pub(super) fn io(&self) -> &UdpSocket {
        &self.io
    }
}

impl LastLocal {
    fn note(&mut self, ip: IpAddr) {
        let slot = if ip.is_ipv4() {
            &mut self.v4
        } else {
            &mut self.v6
        };
        *slot = Some(ip);
    }

    fn of_family(&self, ip: IpAddr) -> Option<IpAddr> {
        if ip.is_ipv4() { self.v4 } else { self.v6 }
    }
}

impl fmt::Debug for SteeredSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SteeredSocket")
            .field("local", &self.local)
            .finish_non_exhaustive()
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

/// What a socket bound to all addresses cannot tell is left to the system.
fn specified(ip: IpAddr) -> Option<IpAddr> {
    (!ip.is_unspecified()).then_some(ip)
}

/// Translates to quinn's form of the ECN codepoint.
pub(super) fn codepoint(ecn: Ecn) -> Option<EcnCodepoint> {
    EcnCodepoint::from_bits(ecn.bits())
}

/// Every reason for which the socket drops a datagram that a peer passed on or that waited.
pub(super) const DROP_REASONS: [&str; 3] = [WRONG_FAMILY, OVERSIZED, QUEUE_FULL];

const WRONG_FAMILY: &str = "wrong_family";
const OVERSIZED: &str = "oversized";
const QUEUE_FULL: &str = "queue_full";
/// How many batches without a local datagram are handled before other tasks get a turn; a node that
/// only forwards would otherwise never yield.
const BATCHES_PER_POLL: usize = 8;

#[cfg(test)]
mod tests;

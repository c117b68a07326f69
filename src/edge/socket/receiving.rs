use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use quinn::udp::{BATCH_SIZE, RecvMeta};
use tokio::io::Interest;

use super::port::{canonical, codepoint, mark, specified};
use super::returns::Entrance;
use super::ways_back::Proven;
use super::{Batch, Injected, Origin, Port, SteeredSocket, batch};
use crate::edge::steering::now;
use crate::steer::{Arrival, Slot, Verdict};
use crate::telemetry::HandedOver;
use crate::wire::Path;

impl SteeredSocket {
    pub(super) fn poll_injected(
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
    pub(super) fn poll_direct(
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
        let most = bufs.len().min(BATCH_SIZE);
        let mut received = Ok(0);
        // Fewer than there was room for were all there are, so the socket is waited for without another
        // call that tells the same.
        let tried = io.try_io(Interest::READABLE, || {
            received = state.recv(io.into(), bufs, meta);
            match received {
                Ok(count) if count < most => Err(io::ErrorKind::WouldBlock.into()),
                Ok(_) => Ok(()),
                Err(ref error) => Err(error.kind().into()),
            }
        });
        match received {
            Ok(0) => tried.map(|()| 0),
            received => received,
        }
    }

    /// Keeps in `buf` what belongs to this endpoint and sends the rest on its way.
    pub(super) fn steer(&self, buf: &mut [u8], meta: &mut RecvMeta) {
        meta.addr = canonical(meta.addr);
        meta.dst_ip = meta.dst_ip.map(|ip| ip.to_canonical());
        let local = self.port.local();
        let path = Path {
            source: meta.addr,
            destination: SocketAddr::new(meta.dst_ip.unwrap_or_else(|| local.ip()), local.port()),
        };
        let origin = Origin::direct(path, mark(meta.ecn));
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
}

/// Every reason for which the socket drops a datagram that arrived elsewhere.
pub(in crate::edge) const DROP_REASONS: [&str; 2] = [WRONG_FAMILY, OVERSIZED];

pub(super) const WRONG_FAMILY: &str = "wrong_family";
pub(super) const OVERSIZED: &str = "oversized";
/// How many batches without a local datagram are handled before other tasks get a turn; a node that
/// only forwards would otherwise never yield.
const BATCHES_PER_POLL: usize = 8;

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use tokio::io::{Interest, ReadBuf};
use tokio::net::UdpSocket;
use tokio::time::{Instant, Sleep, sleep_until};

use super::client_side::{ClientSide, Received, Sent, TOO_LONG};
use super::places::Place;
use crate::config::ConnectUdp;
use crate::connect_udp::{Payload, read_payload};
use crate::request::{BodyError, clock};
use crate::sys;
use crate::telemetry::{Reason, UdpDirection, UdpMetrics};

/// One tunnel: the body of its response, which carries both directions whenever it is polled.
///
/// A client that takes no more makes it wait, and then what the target sends waits in the socket's
/// buffer, and is dropped and counted where that is full.
pub(super) struct Tunnel {
    socket: Arc<UdpSocket>,
    failing: Failing,
    client: ClientSide,
    /// What the socket had no room for.
    sending: Option<Bytes>,
    /// The context ID of UDP, and the payload of a packet of the target.
    buffer: Box<[u8]>,
    silence: Silence,
    kernel_drops: u32,
    metrics: UdpMetrics,
    ended: Option<&'static str>,
    _place: Place,
}

/// What the kernel has to say of a socket beside packets. It wakes nobody who waits for those.
type Failing = Pin<Box<dyn Future<Output = io::Error> + Send>>;

/// Bounds how long nothing may pass.
#[derive(Debug)]
struct Silence {
    limit: Duration,
    last: Instant,
    timer: Pin<Box<Sleep>>,
}

/// How a tunnel ends.
#[derive(Debug)]
enum End {
    InOrder(&'static str),
    Broken(&'static str, BodyError),
}

impl Tunnel {
    /// Carries what comes through a connected socket. Needs a tokio runtime.
    pub(super) fn new(
        socket: UdpSocket,
        client: ClientSide,
        bounds: &ConnectUdp,
        (metrics, place): (UdpMetrics, Place),
    ) -> Self {
        metrics.tunnels.inc();
        let socket = Arc::new(socket);
        Self {
            failing: failing(Arc::clone(&socket)),
            socket,
            client,
            sending: None,
            // One byte more than may be passed on, to see what is longer.
            buffer: vec![0; 1 + usize::from(bounds.payload_bytes) + 1].into(),
            silence: Silence::new(bounds.idle_timeout),
            kernel_drops: 0,
            metrics,
            ended: None,
            _place: place,
        }
    }

    /// Carries what there is, up to a bound; gives a piece for the data stream, or the end.
    fn poll_both(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, End>> {
        if let Poll::Ready(error) = self.failing.as_mut().poll(cx) {
            self.failed(&error)?;
            self.failing = failing(Arc::clone(&self.socket));
            cx.waker().wake_by_ref();
        }
        for _ in 0..AT_ONCE {
            let to_target = self.poll_to_target(cx)?;
            let to_client = self.poll_to_client(cx)?;
            if let Poll::Ready(Some(capsule)) = to_client {
                return Poll::Ready(Ok(capsule));
            }
            if to_target.is_pending() && to_client.is_pending() {
                ready!(self.silence.poll(cx));
                return Poll::Ready(Err(End::InOrder("idle")));
            }
        }
        self.count_kernel_drops();
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Takes one datagram from the client, and sends the packet in it.
    fn poll_to_target(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        let payload = if let Some(payload) = self.sending.take() {
            payload
        } else {
            match ready!(self.client.poll_receive(cx)).map_err(End::of_client)? {
                Received::End => return Poll::Ready(Err(End::InOrder("client"))),
                Received::Dropped(reason) => {
                    self.dropped(reason);
                    return Poll::Ready(Ok(()));
                }
                Received::Datagram(datagram) => match self.packet_in(&datagram) {
                    Ok(Some(packet)) => packet,
                    Ok(None) => return Poll::Ready(Ok(())),
                    Err(end) => return Poll::Ready(Err(end)),
                },
            }
        };
        match self.socket.poll_send(cx, &payload) {
            Poll::Pending => {
                self.sending = Some(payload);
                Poll::Pending
            }
            Poll::Ready(sent) => Poll::Ready(self.passed(sent, UdpDirection::TARGET)),
        }
    }

    /// The packet for the target in a datagram of the client, if there is one.
    fn packet_in(&self, datagram: &Bytes) -> Result<Option<Bytes>, End> {
        let reason = match read_payload(datagram) {
            Payload::Udp(packet) if packet.len() < self.buffer.len() - 1 => {
                return Ok(Some(packet));
            }
            Payload::TooLong => return Err(End::of_client(BodyError::Malformed)),
            Payload::Udp(_) => TOO_LONG,
            Payload::Unknown => "context",
            Payload::Cut => "cut",
        };
        self.dropped(reason);
        Ok(None)
    }

    /// Takes one packet of the target; gives a piece for the data stream where it has to go there.
    fn poll_to_client(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, End>> {
        let mut packet = ReadBuf::new(&mut self.buffer[1..]);
        let received = ready!(self.socket.poll_recv(cx, &mut packet));
        let len = packet.filled().len();
        if received.is_ok() && len == self.buffer.len() - 1 {
            self.dropped(TOO_LONG);
            return Poll::Ready(Ok(None));
        }
        if let Err(error) = received {
            return Poll::Ready(self.failed(&error).map(|()| None));
        }
        let (capsule, sent) = match self.client.send(&self.buffer[..=len]) {
            Sent::Whole => (None, Ok(len)),
            Sent::Capsule(capsule) => (Some(capsule), Ok(len)),
            Sent::Dropped(reason) => {
                self.dropped(reason);
                return Poll::Ready(Ok(None));
            }
            Sent::Gone => return Poll::Ready(Err(End::of_client(BodyError::ClientGone))),
        };
        Poll::Ready(self.passed(sent, UdpDirection::CLIENT).map(|()| capsule))
    }

    fn passed(&mut self, sent: io::Result<usize>, to: UdpDirection) -> Result<(), End> {
        match sent {
            Ok(_) => {
                self.silence.broken();
                self.metrics.passed.get_or_create(&to).inc();
                Ok(())
            }
            Err(error) => self.failed(&error),
        }
    }

    /// A socket that is told that nobody can be reached is closed (RFC 9298, section 3.1). That a packet
    /// is larger than its way says nothing of others.
    fn failed(&self, error: &io::Error) -> Result<(), End> {
        if error.raw_os_error() == Some(libc::EMSGSIZE) {
            self.dropped("target_path");
            return Ok(());
        }
        tracing::debug!(%error, "the target of a UDP tunnel is out of reach");
        Err(End::Broken("unreachable", BodyError::UpstreamGone))
    }

    fn dropped(&self, reason: &'static str) {
        self.metrics.drop_one(reason);
    }

    /// Adds what the kernel dropped at the full socket since the last call.
    fn count_kernel_drops(&mut self) {
        let Ok(now) = sys::socket::dropped_datagrams(&self.socket) else {
            return;
        };
        let before = std::mem::replace(&mut self.kernel_drops, now);
        let reason = Reason {
            reason: "target_queue",
        };
        let counter = self.metrics.dropped.get_or_create(&reason);
        counter.inc_by(now.wrapping_sub(before).into());
    }
}

fn failing(socket: Arc<UdpSocket>) -> Failing {
    Box::pin(async move {
        loop {
            if let Err(error) = socket.ready(Interest::ERROR).await {
                return error;
            }
            let taken = socket.try_io(Interest::ERROR, || {
                let error = socket.take_error()?;
                error.ok_or_else(|| io::ErrorKind::WouldBlock.into())
            });
            match taken {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(error) | Err(error) => return error,
            }
        }
    })
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

impl http_body::Body for Tunnel {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended.is_some() {
            return Poll::Ready(None);
        }
        let end = match ready!(self.poll_both(cx)) {
            Ok(capsule) => return Poll::Ready(Some(Ok(Frame::data(capsule)))),
            Err(end) => end,
        };
        Poll::Ready(match end {
            End::InOrder(reason) => {
                self.ended = Some(reason);
                None
            }
            End::Broken(reason, error) => {
                self.ended = Some(reason);
                Some(Err(error))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ended.is_some()
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.count_kernel_drops();
        self.metrics.tunnels.dec();
        let reason = self.ended.unwrap_or("client");
        self.metrics.ended.get_or_create(&Reason { reason }).inc();
    }
}

impl End {
    fn of_client(error: BodyError) -> Self {
        let reason = match error {
            BodyError::Malformed => "malformed",
            BodyError::Shutdown => "shutdown",
            _ => "client",
        };
        Self::Broken(reason, error)
    }
}

impl Silence {
    fn new(limit: Duration) -> Self {
        let last = clock::now();
        Self {
            limit,
            last,
            timer: Box::pin(sleep_until(last + limit)),
        }
    }

    fn broken(&mut self) {
        self.last = clock::now();
    }

    /// Ready when it lasted.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let due = self.last + self.limit;
            if due <= clock::now() {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(due);
        }
    }
}

/// Rounds of one packet each way before other tasks get their turn.
const AT_ONCE: usize = 32;

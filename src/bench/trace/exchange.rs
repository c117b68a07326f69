use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::packet::{Transport, View};
use super::{acknowledgment, amplification, chain, counts};
use crate::bench::{Metric, RoundTrips};
use crate::testbed::emulator::{Direction, Fate, Packet, Trace};

/// How far the kernel's time of a packet and the time of another event may be apart in truth when they
/// say that they are in order. Far below any round trip that is emulated, and above the error of bringing
/// the kernel's clock to that of [`Instant`].
pub const CLOCK_ERROR: Duration = Duration::from_micros(50);

/// The moments of a client, on the clock of the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// Before the first system call of the connection, or the moment of the move.
    pub start: Instant,
    /// TCP's handshake is complete, or the node's first QUIC datagram is there.
    pub connect: Option<Instant>,
    /// The client may send a request. None where it could all along, as after a move.
    pub ready: Option<Instant>,
    /// The handshake is complete: the node's Finished is verified (RFC 9001, section 4.1.1).
    pub handshake: Option<Instant>,
    /// The handshake is confirmed (RFC 9001, section 4.1.2).
    pub confirmed: Option<Instant>,
    /// The first byte of the response, or of the first response after the move.
    pub first_byte: Option<Instant>,
}

/// Why a trace has no number of round trips.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoundTrips {
    /// The network has no delay that would tell what waits for what.
    #[error("the round-trip time is 0: the order of packets does not show which waits for which")]
    NoDelay,
    /// The trace was too small. Give the emulator room for more packets.
    #[error("{0} packets are not in the trace")]
    LeftOut(u64),
    /// The client sent nothing within the span: the marks or the link are not those of the trace.
    #[error("the client sent nothing in the measured span")]
    NothingSent,
}

/// The measured span of one connection.
///
/// Its packets are those that were sent from [`Marks::start`] on. Where a TCP SYN or a QUIC Initial of the
/// client is among them, the first one names the connection by its addresses and ports, and only
/// packets between these count. Without one, as after a move, all of TCP and UDP counts.
#[derive(Clone, Debug)]
pub struct Exchange<'a> {
    pub(super) passages: Vec<Passage<'a>>,
    pub(super) marks: Marks,
    pub(super) rtt: Duration,
    pub(super) opened: bool,
    left_out: u64,
}

/// A packet of the exchange.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passage<'a> {
    pub(super) packet: &'a Packet,
    pub(super) transport: Transport<'a>,
    /// Whether it acknowledges and does nothing else, as far as it shows.
    pub(super) only_acknowledges: bool,
}

impl Marks {
    /// Starts, with nothing else marked.
    pub const fn from(start: Instant) -> Self {
        Self {
            start,
            connect: None,
            ready: None,
            handshake: None,
            confirmed: None,
            first_byte: None,
        }
    }

    /// The times from the start to each mark, in milliseconds.
    pub fn metrics(&self) -> BTreeMap<Metric, f64> {
        let marks = [
            (Metric::Connect, self.connect),
            (Metric::Ready, self.ready),
            (Metric::Handshake, self.handshake),
            (Metric::Confirmed, self.confirmed),
            (Metric::FirstByte, self.first_byte),
        ];
        let times = marks.into_iter();
        times
            .filter_map(|(metric, mark)| Some((metric, milliseconds(self.start, mark?))))
            .collect()
    }
}

impl<'a> Exchange<'a> {
    /// Finds the connection in a trace of a link with this round-trip time.
    pub fn of(trace: &'a Trace, marks: Marks, rtt: Duration) -> Self {
        let in_span = |packet: &&Packet| packet.sent + CLOCK_ERROR >= marks.start;
        let views = trace.packets.iter().filter(in_span);
        let mut found: Vec<_> = views
            .filter_map(|packet| Some((packet, View::of(&packet.bytes)?)))
            .filter(|(_, view)| view.transport != Transport::Other)
            .collect();
        found.sort_by_key(|(packet, _)| packet.sent);
        let connection = found.iter().find_map(|(packet, view)| {
            let opens = packet.direction == Direction::ToNode && view.transport.opens();
            opens.then(|| ends(packet.direction, view)).flatten()
        });
        found.retain(|(packet, view)| {
            connection.is_none_or(|connection| ends(packet.direction, view) == Some(connection))
        });
        let passages = found.into_iter().map(|(packet, view)| Passage {
            packet,
            transport: view.transport,
            only_acknowledges: false,
        });
        let mut passages: Vec<_> = passages.collect();
        acknowledgment::mark(&mut passages);
        Self {
            passages,
            marks,
            rtt,
            opened: connection.is_some(),
            left_out: trace.left_out,
        }
    }

    /// The round trips until each mark of the client.
    ///
    /// # Errors
    /// [`NoRoundTrips`] where the trace cannot tell.
    pub fn round_trips(&self) -> Result<RoundTrips, NoRoundTrips> {
        if self.rtt.is_zero() {
            return Err(NoRoundTrips::NoDelay);
        }
        if self.left_out > 0 {
            return Err(NoRoundTrips::LeftOut(self.left_out));
        }
        let sent = |passage: &Passage<'_>| passage.packet.direction == Direction::ToNode;
        if !self.passages.iter().any(sent) {
            return Err(NoRoundTrips::NothingSent);
        }
        let depths = self.depths();
        let until = |mark: Option<Instant>| {
            mark.map(|mark| chain::round_trips(&self.passages, &depths, mark))
        };
        Ok(RoundTrips {
            ready: until(self.marks.ready),
            handshake: until(self.marks.handshake),
            first_byte: until(self.marks.first_byte),
        })
    }

    /// The packets and bytes that each side sent, and the amplification before validation.
    ///
    /// What it took counts, and not what it led to. Of the node that is what was delivered to the client until
    /// the mark. Of the client it is what it had sent until the mark when the first packet of
    /// the last round trip came in: how many acknowledgments and probes it sends in the moment between that
    /// and the mark is a race within the client. A handshake takes the client's Finished too,
    /// with all that it sent before: over TCP that is its first segment with data after the last packet of
    /// the node that counts, over QUIC the last datagram with a Handshake packet, if they leave within half
    /// a round trip after the mark. What the emulator lost counts as its sender paid for it: the
    /// client's like any other, the node's before the last of its packets that counts. At a round-trip time
    /// of 0, where no packet tells the last round trip, the client's packets count until the mark.
    ///
    /// The amplification is the largest quotient of the UDP payload that the node had sent and
    /// the UDP payload that it had received, over all moments until a Handshake packet or an Initial with
    /// a token was delivered to it (RFC 9000, section 8.1). It is absent if there is no such moment,
    /// after a move, and for TCP. All is absent when packets are missing in the trace.
    pub fn metrics(&self) -> BTreeMap<Metric, f64> {
        if self.left_out > 0 {
            return BTreeMap::new();
        }
        let mut metrics = counts::metrics(self, &self.depths());
        metrics.extend(amplification::most(self).map(|most| (Metric::Amplification, most)));
        metrics
    }
}

impl Exchange<'_> {
    fn depths(&self) -> Vec<u32> {
        chain::depths(&self.passages, self.rtt)
    }
}

impl Passage<'_> {
    /// When the receiver got it, if it did.
    pub(super) fn delivered(&self) -> Option<Instant> {
        match self.packet.fate {
            Fate::Delivered { at, .. } => Some(at),
            Fate::Lost(_) | Fate::UnderWay => None,
        }
    }

    /// Whether the receiver had it at this moment.
    pub(super) fn delivered_by(&self, moment: Instant) -> bool {
        self.delivered()
            .is_some_and(|at| at <= moment + CLOCK_ERROR)
    }
}

/// The milliseconds from one moment to another; negative if that was before.
pub(super) fn milliseconds(from: Instant, to: Instant) -> f64 {
    let ahead = to.saturating_duration_since(from).as_secs_f64();
    let behind = from.saturating_duration_since(to).as_secs_f64();
    (ahead - behind) * 1e3
}

/// The client's and the node's address and port.
fn ends(direction: Direction, view: &View<'_>) -> Option<(bool, SocketAddr, SocketAddr)> {
    let tcp = matches!(view.transport, Transport::Tcp(_));
    match direction {
        Direction::ToNode => Some((tcp, view.from()?, view.to()?)),
        Direction::ToClient => Some((tcp, view.to()?, view.from()?)),
    }
}

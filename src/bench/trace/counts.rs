use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::chain;
use super::exchange::{CLOCK_ERROR, Exchange, Passage};
use super::packet::{Transport, bytes};
use crate::bench::Metric;
use crate::testbed::emulator::{Direction, Fate};

/// Packets and bytes of both sides until each mark.
pub(super) fn metrics(exchange: &Exchange<'_>, depths: &[u32]) -> BTreeMap<Metric, f64> {
    let mut metrics = BTreeMap::new();
    let end = |mark: Instant| {
        let first = || chain::last_round_trip(&exchange.passages, depths, mark);
        let first = (!exchange.rtt.is_zero()).then(first).flatten();
        first.map_or(mark, |first| first.min(mark))
    };
    if let Some(mark) = exchange.marks.handshake {
        let end = finished(exchange, mark).unwrap_or_else(|| end(mark));
        let client = Count::of(&exchange.passages, |passage| is_sent(passage, end));
        let node = Count::of_node(&exchange.passages, mark);
        metrics.insert(Metric::ClientPacketsHandshake, client.packets);
        metrics.insert(Metric::ClientBytesHandshake, client.bytes);
        metrics.insert(Metric::NodePacketsHandshake, node.packets);
        metrics.insert(Metric::NodeBytesHandshake, node.bytes);
    }
    if let Some(mark) = exchange.marks.first_byte {
        let end = end(mark);
        let client = Count::of(&exchange.passages, |passage| is_sent(passage, end));
        let node = Count::of_node(&exchange.passages, mark);
        metrics.insert(Metric::ClientPackets, client.packets);
        metrics.insert(Metric::ClientBytes, client.bytes);
        metrics.insert(Metric::NodePackets, node.packets);
        metrics.insert(Metric::NodeBytes, node.bytes);
    }
    metrics
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    packets: f64,
    bytes: f64,
}

impl Count {
    fn of(passages: &[Passage<'_>], counts: impl Fn(&Passage<'_>) -> bool) -> Self {
        let counted = passages.iter().filter(|passage| counts(passage));
        counted.fold(Self::default(), |count, passage| Self {
            packets: count.packets + 1.0,
            bytes: count.bytes + bytes(&passage.packet.bytes),
        })
    }

    fn of_node(passages: &[Passage<'_>], mark: Instant) -> Self {
        let from_node = |passage: &&Passage<'_>| passage.packet.direction == Direction::ToClient;
        let arrived = passages.iter().filter(from_node);
        let last = arrived
            .filter(|passage| passage.delivered_by(mark))
            .map(|passage| passage.packet.sent)
            .max();
        Self::of(passages, |passage| {
            from_node(&passage)
                && match passage.packet.fate {
                    Fate::Delivered { .. } => passage.delivered_by(mark),
                    Fate::Lost(_) => last.is_some_and(|last| passage.packet.sent <= last),
                    Fate::UnderWay => false,
                }
        })
    }
}

fn is_sent(passage: &Passage<'_>, end: Instant) -> bool {
    passage.packet.direction == Direction::ToNode && passage.packet.sent <= end
}

/// When the client had sent the packets with its Finished, if that was not long after the mark.
fn finished(exchange: &Exchange<'_>, mark: Instant) -> Option<Instant> {
    let soon = mark + (exchange.rtt / 2).max(SOON);
    let last = exchange
        .passages
        .iter()
        .filter(|passage| passage.packet.direction == Direction::ToClient)
        .filter(|passage| passage.delivered_by(mark) && !passage.only_acknowledges)
        .filter_map(Passage::delivered)
        .max();
    let sent = exchange.passages.iter().filter(|passage| {
        passage.packet.direction == Direction::ToNode && passage.packet.sent < soon
    });
    let answers = |sent: Instant| last.is_some_and(|last| last <= sent + CLOCK_ERROR);
    let mut segments = None;
    let mut datagrams = None;
    for passage in sent {
        let sent = passage.packet.sent;
        match &passage.transport {
            Transport::Tcp(segment) if answers(sent) && !segment.payload.is_empty() => {
                segments.get_or_insert(sent);
            }
            Transport::Udp(datagram) if datagram.kinds().handshake => datagrams = Some(sent),
            _ => {}
        }
    }
    segments.max(datagrams)
}

/// What a client takes at most from the end of a handshake to sending its Finished, where no round-trip
/// time says so.
const SOON: Duration = Duration::from_millis(1);

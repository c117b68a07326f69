use std::collections::BTreeMap;
use std::time::Instant;

use super::exchange::{CLOCK_ERROR, Exchange, Passage};
use super::packet::Transport;
use crate::bench::Metric;
use crate::testbed::emulator::{Direction, Fate};

/// Packets and bytes of both sides until each mark.
pub(super) fn metrics(exchange: &Exchange<'_>) -> BTreeMap<Metric, f64> {
    let mut metrics = BTreeMap::new();
    if let Some(mark) = exchange.marks.handshake {
        let client = Count::of(&exchange.passages, |passage| {
            is_sent(passage, mark) || is_finished(exchange, passage, mark)
        });
        let node = Count::of_node(&exchange.passages, mark);
        metrics.insert(Metric::ClientPacketsHandshake, client.packets);
        metrics.insert(Metric::ClientBytesHandshake, client.bytes);
        metrics.insert(Metric::NodePacketsHandshake, node.packets);
        metrics.insert(Metric::NodeBytesHandshake, node.bytes);
    }
    if let Some(mark) = exchange.marks.first_byte {
        let client = Count::of(&exchange.passages, |passage| is_sent(passage, mark));
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
            bytes: count.bytes + passage.packet.bytes.len() as f64,
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

fn is_sent(passage: &Passage<'_>, mark: Instant) -> bool {
    passage.packet.direction == Direction::ToNode && passage.packet.sent <= mark + CLOCK_ERROR
}

/// Whether a QUIC client completes its handshake with this datagram.
fn is_finished(exchange: &Exchange<'_>, passage: &Passage<'_>, mark: Instant) -> bool {
    let Transport::Udp(datagram) = &passage.transport else {
        return false;
    };
    passage.packet.direction == Direction::ToNode
        && passage.packet.sent < mark + exchange.rtt / 2
        && datagram.kinds().handshake
}

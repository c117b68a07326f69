use std::time::Instant;

use super::exchange::{CLOCK_ERROR, Exchange, Passage};
use super::packet::{Transport, UdpDatagram, bytes};
use crate::testbed::emulator::Direction;

/// The most that a node had sent over what it had received before the client's address was validated.
pub(super) fn most(exchange: &Exchange<'_>) -> Option<f64> {
    if !exchange.opened {
        return None;
    }
    let datagrams = |direction| {
        let passages = exchange.passages.iter();
        passages
            .filter(move |passage| passage.packet.direction == direction)
            .filter_map(|passage| Some((passage, datagram(passage)?)))
    };
    let mut received: Vec<_> = datagrams(Direction::ToNode)
        .filter_map(|(passage, datagram)| Some((passage.delivered()?, datagram)))
        .collect();
    received.sort_by_key(|(at, _)| *at);
    let validated = received
        .iter()
        .find(|(_, datagram)| datagram.kinds().validates())
        .map(|(at, _)| *at);
    let before = |moment: Instant| validated.is_none_or(|validated| moment < validated);

    let mut received = received.into_iter().peekable();
    let (mut sent_bytes, mut received_bytes) = (0.0, 0.0);
    let mut most: Option<f64> = None;
    for (passage, datagram) in datagrams(Direction::ToClient) {
        let moment = passage.packet.sent;
        if !before(moment) {
            break;
        }
        sent_bytes += bytes(datagram.payload);
        while let Some((_, datagram)) = received.next_if(|(at, _)| *at <= moment + CLOCK_ERROR) {
            received_bytes += bytes(datagram.payload);
        }
        if received_bytes > 0.0 {
            let quotient = sent_bytes / received_bytes;
            most = Some(most.map_or(quotient, |most| most.max(quotient)));
        }
    }
    most
}

fn datagram<'a>(passage: &Passage<'a>) -> Option<UdpDatagram<'a>> {
    match passage.transport {
        Transport::Udp(datagram) => Some(datagram),
        Transport::Tcp(_) | Transport::Other => None,
    }
}

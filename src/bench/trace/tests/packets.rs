use std::time::Duration;

use proptest::prelude::*;

use super::wire::*;
use crate::bench::Mode;
use crate::bench::trace::packet::{Flags, Transport, View};
use crate::bench::trace::{Drawing, Exchange};
use crate::link::Loss;
use crate::testbed::emulator::{Direction, Fate};

/// An IPv4 packet of the client as IPv6, with extension headers in front of its transport.
fn ipv6(packet: &[u8], extensions: &[u8], next: u8) -> Vec<u8> {
    let body = [extensions, &packet[20..]].concat();
    let len = u16::try_from(body.len()).unwrap().to_be_bytes();
    let mut header = vec![0x60, 0, 0, 0, len[0], len[1], next, 64];
    header.extend_from_slice(&[0xfd; 16]);
    header.extend_from_slice(&[0xfe; 16]);
    [header, body].concat()
}

#[test]
fn a_tcp_segment_shows_its_fields() {
    let packet = from_client(SYN_ACK, 7, 9, b"data");
    let View { transport, .. } = View::of(&packet).unwrap();
    let Transport::Tcp(segment) = transport else {
        panic!("{transport:?}")
    };
    assert_eq!((segment.sequence, segment.acknowledgment), (7, 9));
    assert!(segment.flags.has(Flags::SYN) && segment.flags.has(Flags::ACK));
    assert!(!segment.flags.has(Flags::FIN));
    assert_eq!(segment.payload, b"data");
    assert_eq!(segment.payload_sequence(), 8);
}

#[test]
fn what_follows_an_ip_packet_is_not_read() {
    // Ethernet fills short frames up.
    let mut packet = from_client(ACK, 7, 9, b"");
    packet.extend_from_slice(&[0; 6]);
    let view = View::of(&packet).unwrap();
    assert!(matches!(view.transport, Transport::Tcp(segment) if segment.payload.is_empty()));
}

#[test]
fn ipv6_is_read_behind_its_extension_headers() {
    let packet = client_udp(&initial());
    let plain = ipv6(&packet, &[], 17);
    let optional = ipv6(
        &packet,
        &[60, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0],
        0,
    );
    let first_fragment = ipv6(&packet, &[17, 0, 0, 1, 0, 0, 0, 0], 44);
    for packet in [&plain, &optional, &first_fragment] {
        let view = View::of(packet).unwrap();
        assert!(view.transport.opens(), "{view:?}");
        assert_eq!(
            view.from(),
            "[fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd]:40000"
                .parse()
                .ok()
        );
        assert_eq!(
            view.to(),
            "[fefe:fefe:fefe:fefe:fefe:fefe:fefe:fefe]:443".parse().ok()
        );
    }
    let other_fragment = ipv6(&packet, &[17, 0, 1, 0, 0, 0, 0, 0], 44);
    assert_eq!(
        View::of(&other_fragment).unwrap().transport,
        Transport::Other
    );
}

#[test]
fn a_fragment_without_its_beginning_and_other_protocols_are_not_read() {
    let mut fragment = client_udp(&initial());
    fragment[7] = 3;
    assert_eq!(View::of(&fragment).unwrap().transport, Transport::Other);
    let mut icmp = client_udp(&initial());
    icmp[9] = 1;
    assert_eq!(View::of(&icmp).unwrap().transport, Transport::Other);
    assert_eq!(View::of(&[0x50; 40]), None);
    assert_eq!(View::of(&[]), None);
}

#[test]
fn every_prefix_of_a_packet_is_read_or_refused() {
    let tcp = from_client(ACK, 1, 1, &client_hello());
    let udp = client_udp(&[initial_with_token(), handshake(60), one_rtt(20)].concat());
    let long = ipv6(&udp, &[60, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0], 0);
    for packet in [tcp, udp, long] {
        for len in 0..packet.len() {
            assert!(View::of(&packet[..len]).is_none(), "{len}");
        }
        assert!(View::of(&packet).is_some());
    }
}

/// Packets that begin as real ones do, so that the inner parsers see random bytes too.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let random = proptest::collection::vec(any::<u8>(), 0..120);
    (0..6_u8, random).prop_map(|(kind, random)| match kind {
        0 => random,
        1 => from_client(random.first().copied().unwrap_or(0), 1, 1, &random),
        2 => client_udp(&random),
        3 => client_udp(&[&[0xc0, 0, 0, 0, 1][..], &random].concat()),
        4 => from_node(ACK, 1, 1, &[&[22, 3, 3, 0][..], &random].concat()),
        _ => ipv6(
            &[&[0; 20][..], &random].concat(),
            &[],
            random.first().copied().unwrap_or(0),
        ),
    })
}

proptest! {
    #[test]
    fn no_trace_panics(
        packets in proptest::collection::vec((bytes(), any::<bool>(), 0..400_000_u64, 0..3_u8), 0..24),
        rtt in 0..200_u64,
        mark in 0..400_000_u64,
    ) {
        let mut wire = Wire::new();
        for (bytes, to_node, sent, fate) in packets {
            let direction = if to_node { Direction::ToNode } else { Direction::ToClient };
            let at = wire.at(sent + rtt * 500);
            let sent = wire.at(sent);
            let fate = match fate {
                0 => Fate::Lost(Loss::Chance),
                1 => Fate::UnderWay,
                _ => Fate::Delivered { at, late: Duration::ZERO },
            };
            wire.push(direction, sent, fate, bytes);
        }
        wire.marks(Some(mark / 2), Some(mark), mark);
        let exchange = Exchange::of(&wire.trace, wire.marks, Duration::from_millis(rtt));
        let trips = exchange.round_trips();
        if let Ok(trips) = trips {
            prop_assert!(trips.ready <= trips.first_byte);
        }
        let metrics = exchange.metrics();
        prop_assert!(metrics.values().all(|value| value.is_finite() && *value >= 0.0));
        let drawing = Drawing::of(Mode::QuicFull, &exchange);
        prop_assert!(drawing.steps.iter().all(|step| !step.label.is_empty()));
    }

    /// Without losses no chain is longer than the time allows.
    #[test]
    fn a_chain_needs_its_time(
        packets in proptest::collection::vec((any::<bool>(), 0..400_000_u64, 0..1200_usize), 1..60),
        mark in 0..400_000_u64,
    ) {
        let mut wire = Wire::new();
        for (to_node, sent, len) in packets {
            let payload = one_rtt(len);
            if to_node {
                wire.client(sent, client_udp(&payload));
            } else {
                wire.node(sent, node_udp(&payload));
            }
        }
        wire.marks(None, None, mark);
        if let Ok(trips) = wire.exchange().round_trips() {
            // Each hop may be early by the error of the clocks.
            prop_assert!(u64::from(trips.first_byte.unwrap()) <= mark / 49_800);
        }
    }
}

use std::time::Duration;

use super::wire::*;
use crate::bench::trace::{Exchange, NoRoundTrips};
use crate::testbed::emulator::{Direction, Fate};

/// SYN, SYN-ACK, and the `ClientHello` with what follows it.
fn connects(wire: &mut Wire, first_flight: &[u8]) {
    wire.client(20, from_client(SYN, 0, 0, b""))
        .node(25_050, from_node(SYN_ACK, 0, 1, b""))
        .client(50_080, from_client(ACK, 1, 1, b""))
        .client(50_300, from_client(ACK, 1, 1, first_flight))
        .node(75_330, from_node(ACK, 1, 246, b""));
}

fn tcp_full() -> Wire {
    let mut wire = Wire::new();
    connects(&mut wire, &client_hello());
    let flight = server_flight();
    wire.node(76_000, from_node(ACK, 1, 246, &flight[..600]))
        .node(76_010, from_node(ACK, 601, 246, &flight[600..]))
        .client(101_030, from_client(ACK, 246, 1042, b""))
        .client(101_300, from_client(ACK, 246, 1042, &encrypted(200)))
        .node(126_500, from_node(ACK, 1042, 451, &encrypted(300)))
        .node(127_100, from_node(ACK, 1347, 451, &encrypted(100)))
        .client(151_530, from_client(ACK, 451, 1347, b""))
        .marks(Some(101_250), Some(101_250), 152_200);
    wire
}

fn quic_full() -> Wire {
    let mut wire = Wire::new();
    wire.client(150, client_udp(&initial()))
        .node(
            26_000,
            node_udp(&[short_initial(130), handshake(1000)].concat()),
        )
        .node(26_010, node_udp(&[handshake(300), one_rtt(80)].concat()))
        .client(51_400, client_udp(&[initial(), handshake(60)].concat()))
        .client(51_500, client_udp(&one_rtt(60)))
        .node(76_700, node_udp(&one_rtt(300)))
        .node(77_000, node_udp(&one_rtt(60)))
        .marks(Some(51_350), Some(51_350), 102_200);
    wire
}

#[test]
fn tcp_takes_two_round_trips_and_the_response_a_third() {
    assert_eq!(tcp_full().trips(), trips(2, 2, 3));
}

#[test]
fn early_data_over_tcp_saves_one_round_trip() {
    let mut wire = Wire::new();
    connects(&mut wire, &[client_hello(), encrypted(200)].concat());
    wire.node(76_000, from_node(ACK, 1, 451, &server_flight()))
        .node(76_100, from_node(ACK, 1042, 451, &encrypted(100)))
        .client(101_400, from_client(ACK, 451, 1147, &encrypted(60)))
        .marks(Some(50_250), Some(101_300), 101_450);
    assert_eq!(wire.trips(), trips(1, 2, 2));
}

#[test]
fn a_first_flight_in_the_syn_saves_a_round_trip() {
    let mut wire = Wire::new();
    wire.client(20, from_client(SYN, 0, 0, &client_hello()))
        .node(25_050, from_node(SYN_ACK, 0, 246, b""))
        .node(25_700, from_node(ACK, 1, 246, &server_flight()))
        .client(50_080, from_client(ACK, 246, 1, b""))
        .client(51_000, from_client(ACK, 246, 1042, &encrypted(200)))
        .node(76_300, from_node(ACK, 1042, 451, &encrypted(100)))
        .marks(Some(50_950), Some(50_950), 101_400);
    assert_eq!(wire.trips(), trips(1, 1, 2));
}

#[test]
fn quic_takes_one_round_trip_and_the_response_a_second() {
    assert_eq!(quic_full().trips(), trips(1, 1, 2));
}

#[test]
fn a_resumed_session_changes_no_round_trip() {
    let mut wire = Wire::new();
    connects(&mut wire, &client_hello());
    wire.node(75_700, from_node(ACK, 1, 246, &server_flight()[..400]))
        .client(100_900, from_client(ACK, 246, 401, &encrypted(200)))
        .node(126_000, from_node(ACK, 401, 451, &encrypted(300)))
        .marks(Some(100_850), Some(100_850), 151_100);
    assert_eq!(wire.trips(), trips(2, 2, 3));
}

#[test]
fn a_retry_is_a_round_trip() {
    let mut wire = Wire::new();
    wire.client(150, client_udp(&initial()))
        .node(25_300, node_udp(&retry()))
        .client(50_500, client_udp(&initial_with_token()))
        .node(
            76_000,
            node_udp(&[short_initial(130), handshake(1000)].concat()),
        )
        .client(
            101_500,
            client_udp(&[initial(), handshake(60), one_rtt(60)].concat()),
        )
        .node(127_000, node_udp(&one_rtt(60)))
        .marks(Some(101_400), Some(101_400), 152_200);
    assert_eq!(wire.trips(), trips(2, 2, 3));
}

#[test]
fn early_data_over_quic_is_ready_at_once() {
    let mut wire = Wire::new();
    wire.client(150, client_udp(&initial_with_token()))
        .client(160, client_udp(&zero_rtt(100)))
        .node(
            25_900,
            node_udp(&[short_initial(130), handshake(200), one_rtt(60)].concat()),
        )
        .client(51_500, client_udp(&[initial(), handshake(60)].concat()))
        .marks(Some(100), Some(51_100), 51_200);
    assert_eq!(wire.trips(), trips(0, 1, 1));
}

#[test]
fn a_client_that_moved_waits_for_one_round_trip() {
    let mut wire = Wire::new();
    let before = wire.start.checked_sub(Duration::from_millis(10)).unwrap();
    let at = wire.at(15_000);
    let late = Duration::ZERO;
    // What went on before the move arrives after it, and is answered.
    wire.push(
        Direction::ToNode,
        before,
        Fate::Delivered { at, late },
        client_udp(&one_rtt(10)),
    )
    .node(15_100, node_udp(&one_rtt(10)))
    .client(150, from_another_port(client_udp(&one_rtt(1171)), true))
    .node(25_500, from_another_port(node_udp(&one_rtt(1171)), false))
    .node(25_700, from_another_port(node_udp(&one_rtt(60)), false))
    .client(50_900, from_another_port(client_udp(&one_rtt(1171)), true))
    .marks(None, None, 51_000);
    assert_eq!(wire.trips(), [None, None, Some(1)]);
}

#[test]
fn a_response_that_waits_for_a_validated_address_takes_two_round_trips() {
    let mut wire = Wire::new();
    wire.client(150, client_udp(&one_rtt(4)))
        .node(25_500, node_udp(&one_rtt(60)))
        .client(50_900, client_udp(&one_rtt(1171)))
        .node(76_500, node_udp(&one_rtt(600)))
        .marks(None, None, 101_800);
    assert_eq!(wire.trips(), [None, None, Some(2)]);
}

#[test]
fn a_hello_retry_request_is_a_round_trip() {
    let mut tcp = Wire::new();
    connects(&mut tcp, &client_hello());
    tcp.node(75_600, from_node(ACK, 1, 246, &record(22, 2, 90)))
        .client(100_800, from_client(ACK, 246, 96, &client_hello()))
        .node(126_200, from_node(ACK, 96, 491, &server_flight()))
        .client(151_500, from_client(ACK, 491, 1137, &encrypted(200)))
        .node(176_900, from_node(ACK, 1137, 696, &encrypted(100)))
        .marks(Some(151_400), Some(151_400), 202_000);
    assert_eq!(tcp.trips(), trips(3, 3, 4));

    let mut quic = Wire::new();
    quic.client(150, client_udp(&initial()))
        .node(25_600, node_udp(&short_initial(120)))
        .client(50_900, client_udp(&initial()))
        .node(
            76_500,
            node_udp(&[short_initial(130), handshake(1000)].concat()),
        )
        .client(
            101_900,
            client_udp(&[initial(), handshake(60), one_rtt(60)].concat()),
        )
        .node(127_300, node_udp(&one_rtt(60)))
        .marks(Some(101_800), Some(101_800), 152_500);
    assert_eq!(quic.trips(), trips(2, 2, 3));
}

#[test]
fn a_flight_that_waits_for_validation_takes_a_round_trip_more() {
    let mut wire = Wire::new();
    wire.client(150, client_udp(&initial()));
    for sent in [26_000, 26_010, 26_020] {
        wire.node(
            sent,
            node_udp(&[short_initial(130), handshake(1000)].concat()),
        );
    }
    wire.client(51_200, client_udp(&initial()))
        .client(51_210, client_udp(&handshake(30)))
        .node(76_400, node_udp(&handshake(1000)))
        .client(101_800, client_udp(&[handshake(60), one_rtt(60)].concat()))
        .node(127_100, node_udp(&one_rtt(60)))
        .marks(Some(101_700), Some(101_700), 152_300);
    assert_eq!(wire.trips(), trips(2, 2, 3));
}

#[test]
fn a_flight_that_waits_for_the_window_takes_a_round_trip_more() {
    let mut wire = Wire::new();
    connects(&mut wire, &client_hello());
    let first = 76_000;
    let mut sequence = 1;
    for segment in 0..10 {
        wire.node(first + segment, from_node(ACK, sequence, 246, &[23; 1448]));
        sequence += 1448;
    }
    wire.client(101_030, from_client(ACK, 246, 2897, b""))
        .client(101_040, from_client(ACK, 246, sequence, b""))
        .node(126_050, from_node(ACK, sequence, 246, &[23; 1000]))
        .client(
            151_800,
            from_client(ACK, 246, sequence + 1000, &encrypted(200)),
        )
        .node(
            177_100,
            from_node(ACK, sequence + 1000, 451, &encrypted(100)),
        )
        .marks(Some(151_700), Some(151_700), 202_400);
    assert_eq!(wire.trips(), trips(3, 3, 4));
}

#[test]
fn an_acknowledgment_that_nobody_waits_for_adds_nothing() {
    let mut tcp = tcp_full();
    // The node answers 75 ms after the request, long after the acknowledgment of its tickets.
    let response = tcp.trace.packets.len() - 2;
    tcp.trace.packets.remove(response);
    tcp.node(201_300, from_node(ACK, 1347, 451, &encrypted(100)));
    tcp.marks.first_byte = Some(tcp.at(226_400));
    assert_eq!(tcp.trips(), trips(2, 2, 3));

    let mut quic = quic_full();
    quic.trace.packets.pop();
    quic.client(101_900, client_udp(&one_rtt(7)))
        .node(151_000, node_udp(&one_rtt(60)));
    quic.marks.first_byte = Some(quic.at(176_100));
    assert_eq!(quic.trips(), trips(1, 1, 2));
}

#[test]
fn a_packet_that_may_carry_data_counts_when_a_node_is_slow() {
    let mut wire = quic_full();
    wire.trace.packets.pop();
    wire.client(101_900, client_udp(&one_rtt(40)))
        .node(151_000, node_udp(&one_rtt(60)));
    wire.marks.first_byte = Some(wire.at(176_100));
    assert_eq!(wire.trips(), trips(1, 1, 3));
}

#[test]
fn packets_of_other_connections_do_not_count() {
    let mut wire = Wire::new();
    let another = |packet| from_another_port(packet, true);
    wire.client(10, another(from_client(FIN_ACK, 700, 900, b"")))
        .node(
            25_020,
            from_another_port(from_node(FIN_ACK, 900, 701, b""), false),
        )
        .client(50_030, another(from_client(ACK, 701, 901, b"")));
    let flow = tcp_full();
    let alone = flow.exchange().metrics();
    // All of `flow` with its own start.
    for packet in &flow.trace.packets {
        let moved = |at| wire.start + (at - flow.start);
        let fate = match packet.fate {
            Fate::Delivered { at, late } => Fate::Delivered {
                at: moved(at),
                late,
            },
            other => other,
        };
        let (direction, sent) = (packet.direction, moved(packet.sent));
        wire.push(direction, sent, fate, packet.bytes.to_vec());
    }
    wire.marks(Some(101_250), Some(101_250), 152_200);
    assert_eq!(wire.trips(), trips(2, 2, 3));
    assert_eq!(wire.exchange().metrics(), alone);
}

#[test]
fn a_reaction_within_the_clocks_error_is_one() {
    let mut wire = Wire::new();
    // The kernel's time of the answer is a little before that of the delivery.
    wire.client(20, from_client(SYN, 0, 0, b""))
        .node(25_000, from_node(SYN_ACK, 0, 1, b""))
        .client(49_990, from_client(ACK, 1, 1, &client_hello()))
        .node(75_000, from_node(ACK, 1, 246, &server_flight()))
        .marks(Some(100_010), Some(100_010), 100_010);
    assert_eq!(wire.trips(), trips(2, 2, 2));
}

#[test]
fn a_trace_that_cannot_tell_says_so() {
    let wire = tcp_full();
    let none = Exchange::of(&wire.trace, wire.marks, Duration::ZERO);
    assert_eq!(none.round_trips(), Err(NoRoundTrips::NoDelay));
    assert!(!none.metrics().is_empty());

    let mut wire = tcp_full();
    wire.trace.left_out = 3;
    assert_eq!(wire.exchange().round_trips(), Err(NoRoundTrips::LeftOut(3)));
    assert!(wire.exchange().metrics().is_empty());

    let mut wire = Wire::new();
    wire.node(5, node_udp(&one_rtt(60)))
        .marks(None, None, 60_000);
    assert_eq!(
        wire.exchange().round_trips(),
        Err(NoRoundTrips::NothingSent)
    );
}

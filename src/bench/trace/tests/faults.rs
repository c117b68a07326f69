use super::wire::*;
use crate::link::Loss;
use crate::testbed::emulator::{Direction, Fate};

/// The rest of a TCP connection whose first `ClientHello` leaves at `at`, ready a round trip later.
fn goes_on(wire: &mut Wire, at: u64) {
    wire.client(at, from_client(ACK, 1, 1, &client_hello()))
        .node(at + 25_700, from_node(ACK, 1, 246, &server_flight()))
        .client(at + 51_000, from_client(ACK, 246, 1042, &encrypted(200)))
        .node(at + 76_400, from_node(ACK, 1042, 451, &encrypted(100)))
        .marks(Some(at + 50_900), Some(at + 50_900), at + 101_600);
}

#[test]
fn a_lost_syn_is_a_round_trip() {
    let mut wire = Wire::new();
    wire.client_loses(20, from_client(SYN, 0, 0, b""))
        .client(1_020_000, from_client(SYN, 0, 0, b""))
        .node(1_045_050, from_node(SYN_ACK, 0, 1, b""));
    goes_on(&mut wire, 1_070_300);
    assert_eq!(wire.trips(), trips(3, 3, 4));
}

#[test]
fn every_lost_syn_is_a_round_trip() {
    let mut wire = Wire::new();
    for sent in [20, 1_020_000, 3_020_000] {
        wire.client_loses(sent, from_client(SYN, 0, 0, b""));
    }
    wire.client(7_020_000, from_client(SYN, 0, 0, b""))
        .node(7_045_050, from_node(SYN_ACK, 0, 1, b""));
    goes_on(&mut wire, 7_070_300);
    assert_eq!(wire.trips(), trips(5, 5, 6));
}

#[test]
fn a_lost_syn_ack_is_a_round_trip() {
    let mut wire = Wire::new();
    wire.client(20, from_client(SYN, 0, 0, b""))
        .node_loses(25_050, from_node(SYN_ACK, 0, 1, b""))
        .client(1_020_000, from_client(SYN, 0, 0, b""))
        .node(1_045_050, from_node(SYN_ACK, 0, 1, b""));
    goes_on(&mut wire, 1_070_300);
    assert_eq!(wire.trips(), trips(3, 3, 4));
}

#[test]
fn a_lost_initial_is_a_round_trip() {
    let mut wire = Wire::new();
    wire.client_loses(150, client_udp(&initial()))
        .client(999_300, client_udp(&initial()))
        .client(999_310, client_udp(&initial()))
        .node(
            1_025_000,
            node_udp(&[short_initial(130), handshake(1000)].concat()),
        )
        .client(
            1_050_600,
            client_udp(&[initial(), handshake(60), one_rtt(60)].concat()),
        )
        .node(1_076_100, node_udp(&one_rtt(60)))
        .marks(Some(1_050_500), Some(1_050_500), 1_101_200);
    assert_eq!(wire.trips(), trips(2, 2, 3));
}

#[test]
fn a_lost_part_of_the_flight_is_a_round_trip() {
    let mut wire = Wire::new();
    wire.client(150, client_udp(&initial()))
        .node(
            26_000,
            node_udp(&[short_initial(130), handshake(1000)].concat()),
        )
        .node_loses(26_010, node_udp(&handshake(300)))
        .client(51_400, client_udp(&[initial(), handshake(30)].concat()))
        .node(84_000, node_udp(&handshake(300)))
        .client(109_200, client_udp(&[handshake(60), one_rtt(60)].concat()))
        .node(134_700, node_udp(&one_rtt(60)))
        .marks(Some(109_100), Some(109_100), 159_900);
    assert_eq!(wire.trips(), trips(2, 2, 3));
}

#[test]
fn a_lost_packet_that_nothing_waits_for_adds_nothing() {
    let mut wire = Wire::new();
    wire.client(20, from_client(SYN, 0, 0, b""))
        .node(25_050, from_node(SYN_ACK, 0, 1, b""))
        .client_loses(50_080, from_client(ACK, 1, 1, b""));
    // The client needs 60 ms to begin.
    goes_on(&mut wire, 110_300);
    assert_eq!(wire.trips(), trips(2, 2, 3));

    let mut quic = Wire::new();
    let sent = quic.at(26_000);
    quic.client(150, client_udp(&initial()))
        .node(
            25_900,
            node_udp(&[short_initial(130), handshake(1000)].concat()),
        )
        .client(
            51_400,
            client_udp(&[initial(), handshake(60), one_rtt(60)].concat()),
        )
        .push(
            Direction::ToClient,
            sent,
            Fate::Lost(Loss::Mtu),
            node_udp(&one_rtt(1400)),
        )
        .node(150_000, node_udp(&one_rtt(60)))
        .marks(Some(51_300), Some(51_300), 175_100);
    assert_eq!(quic.trips(), trips(1, 1, 2));
}

#[test]
fn a_packet_that_is_too_long_and_no_probe_is_missed() {
    let mut wire = Wire::new();
    let sent = wire.at(150);
    wire.push(
        Direction::ToNode,
        sent,
        Fate::Lost(Loss::Mtu),
        client_udp(&initial()),
    )
    .client(999_300, client_udp(&initial()))
    .node(
        1_025_000,
        node_udp(&[short_initial(130), handshake(1000)].concat()),
    )
    .marks(Some(1_050_500), None, 1_050_500);
    assert_eq!(wire.trips(), [Some(2), None, Some(2)]);
}

#[test]
fn order_and_copies_on_the_way_change_nothing() {
    let mut wire = Wire::new();
    let flight = node_udp(&[short_initial(130), handshake(1000)].concat());
    // The first part of the flight comes after the second, and once more after that.
    wire.client(150, client_udp(&initial()))
        .add(Direction::ToClient, 26_000, Some(53_000), flight.clone())
        .add(Direction::ToClient, 26_000, Some(55_000), flight)
        .node(26_010, node_udp(&handshake(300)))
        .client(51_200, client_udp(&handshake(30)))
        .client(
            53_400,
            client_udp(&[initial(), handshake(60), one_rtt(60)].concat()),
        )
        .client(55_200, client_udp(&handshake(30)))
        .node(78_900, node_udp(&one_rtt(60)))
        .marks(Some(53_300), Some(53_300), 104_000);
    assert_eq!(wire.trips(), trips(1, 1, 2));
}

#[test]
fn a_packet_that_never_arrived_holds_up_only_its_sender() {
    let mut wire = Wire::new();
    let sent = wire.at(51_450);
    wire.client(150, client_udp(&initial()))
        .node(
            26_000,
            node_udp(&[short_initial(130), handshake(1000)].concat()),
        )
        .client(
            51_400,
            client_udp(&[initial(), handshake(60), one_rtt(60)].concat()),
        )
        .push(
            Direction::ToNode,
            sent,
            Fate::UnderWay,
            client_udp(&one_rtt(60)),
        )
        .node(77_000, node_udp(&one_rtt(60)))
        .marks(Some(51_300), Some(51_300), 102_200);
    assert_eq!(wire.trips(), trips(1, 1, 2));
}

use super::wire::*;
use crate::bench::Metric;
use crate::testbed::emulator::{Direction, Fate};

fn quic() -> Wire {
    let mut wire = Wire::new();
    wire.client(150, client_udp(&initial()))
        .node(
            26_000,
            node_udp(&[short_initial(130), handshake(1000)].concat()),
        )
        .client(51_400, client_udp(&[initial(), handshake(60)].concat()))
        .client(51_500, client_udp(&one_rtt(60)))
        .node(76_700, node_udp(&one_rtt(60)))
        .node(77_500, node_udp(&one_rtt(900)))
        .client(103_000, client_udp(&one_rtt(7)))
        .marks(Some(51_350), Some(51_350), 101_900);
    wire
}

fn assert_counts(wire: &Wire, metrics: [Metric; 4], expected: [f64; 4]) {
    let counted = wire.exchange().metrics();
    for (metric, expected) in metrics.into_iter().zip(expected) {
        let found = counted[&metric];
        assert!(
            (found - expected).abs() < 0.5,
            "{metric}: {found} {expected}"
        );
    }
}

const PACKETS: [Metric; 4] = [
    Metric::ClientPacketsHandshake,
    Metric::NodePacketsHandshake,
    Metric::ClientPackets,
    Metric::NodePackets,
];
const BYTES: [Metric; 4] = [
    Metric::ClientBytesHandshake,
    Metric::NodeBytesHandshake,
    Metric::ClientBytes,
    Metric::NodeBytes,
];

/// An IPv4 and a UDP header.
const HEADERS: usize = 28;

fn size(packets: &[Vec<u8>]) -> f64 {
    let sizes = packets.iter().map(|payload| payload.len() + HEADERS);
    float(sizes.sum())
}

#[test]
fn the_handshake_ends_with_the_clients_finished_and_the_rest_with_the_first_byte() {
    let wire = quic();
    assert_counts(&wire, PACKETS, [2.0, 1.0, 3.0, 2.0]);
    let opening = initial();
    let flight = [short_initial(130), handshake(1000)].concat();
    let finished = [initial(), handshake(60)].concat();
    let client = size(&[opening.clone(), finished.clone()]);
    let expected = [
        client,
        size(std::slice::from_ref(&flight)),
        size(&[opening, finished, one_rtt(60)]),
        size(&[flight, one_rtt(60)]),
    ];
    assert_counts(&wire, BYTES, expected);
}

#[test]
fn the_finished_of_tls_is_the_first_data_after_the_nodes_flight() {
    for finished in [101_000, 101_200] {
        let mut wire = Wire::new();
        wire.client(20, from_client(SYN, 0, 0, b""))
            .node(25_050, from_node(SYN_ACK, 0, 1, b""))
            .client(50_080, from_client(ACK, 1, 1, b""))
            .client(50_300, from_client(ACK, 1, 1, &client_hello()))
            .node(75_330, from_node(ACK, 1, 246, b""))
            .node(75_800, from_node(ACK, 1, 246, &server_flight()))
            .client(100_830, from_client(ACK, 246, 1042, b""))
            .client(finished, from_client(ACK, 246, 1042, &encrypted(53)))
            .client(101_300, from_client(ACK, 304, 1042, &encrypted(100)))
            .node(126_500, from_node(ACK, 1042, 409, &encrypted(100)))
            .marks(Some(101_100), Some(101_100), 151_600);
        assert_counts(&wire, PACKETS, [5.0, 3.0, 6.0, 4.0]);
    }
}

#[test]
fn reactions_to_the_last_round_trip_are_not_part_of_what_it_took() {
    let mut wire = quic();
    // Between the first packet of the response's round trip and the mark.
    wire.client(101_750, client_udp(&one_rtt(7)))
        .client(101_800, client_udp(&one_rtt(1300)));
    assert_counts(&wire, PACKETS, [2.0, 1.0, 3.0, 2.0]);
    // What the client sends before, on a timer of its own, is.
    wire.client(90_000, client_udp(&one_rtt(4)));
    assert_counts(&wire, PACKETS, [2.0, 1.0, 4.0, 2.0]);
    let all = crate::bench::trace::Exchange::of(&wire.trace, wire.marks, std::time::Duration::ZERO);
    let packets = all.metrics()[&Metric::ClientPackets];
    assert!((packets - 6.0).abs() < 0.5, "{packets}");
}

#[test]
fn what_was_lost_is_paid_for() {
    let mut wire = quic();
    let under_way = wire.at(76_900);
    wire.client_loses(51_450, client_udp(&one_rtt(60)))
        .node_loses(26_010, node_udp(&handshake(300)))
        // After the last that counts.
        .node_loses(76_950, node_udp(&one_rtt(60)))
        .push(Direction::ToClient, under_way, Fate::UnderWay, node_udp(&one_rtt(60)));
    // The client's loss is after its Finished, the node's before its next packet that arrives.
    assert_counts(&wire, PACKETS, [2.0, 1.0, 4.0, 3.0]);
}

#[test]
fn a_figure_without_its_mark_is_absent() {
    let mut wire = quic();
    wire.marks.handshake = None;
    let metrics = wire.exchange().metrics();
    assert!(!metrics.contains_key(&Metric::ClientPacketsHandshake));
    assert!(metrics.contains_key(&Metric::ClientPackets));
    wire.marks.first_byte = None;
    assert!(
        !wire
            .exchange()
            .metrics()
            .contains_key(&Metric::ClientPackets)
    );
}

#[test]
fn marks_are_milliseconds_from_the_start() {
    let mut wire = quic();
    wire.marks.connect = Some(wire.at(51_000));
    wire.marks.confirmed = Some(wire.at(103_500));
    let metrics = wire.marks.metrics();
    let expected = [
        (Metric::Connect, 51.0),
        (Metric::Ready, 51.35),
        (Metric::Handshake, 51.35),
        (Metric::Confirmed, 103.5),
        (Metric::FirstByte, 101.9),
    ];
    assert_eq!(metrics.len(), expected.len());
    for (metric, value) in expected {
        assert!((metrics[&metric] - value).abs() < 1e-6, "{metric}");
    }
}

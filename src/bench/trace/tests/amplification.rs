use super::wire::*;
use crate::bench::Metric;

fn most(wire: &Wire) -> Option<f64> {
    let metrics = wire.exchange().metrics();
    metrics.get(&Metric::Amplification).copied()
}

#[test]
fn the_quotient_is_the_largest_before_validation() {
    let mut wire = Wire::new();
    wire.client(150, client_udp(&initial()));
    let flight = [short_initial(130), handshake(1000)].concat();
    for sent in [26_000, 26_010, 26_020] {
        wire.node(sent, node_udp(&flight));
    }
    // More comes from the client, but no Handshake packet, then one.
    wire.client(51_200, client_udp(&initial()))
        .node(76_400, node_udp(&flight))
        .client(80_000, client_udp(&handshake(60)))
        .node(105_500, node_udp(&vec![0xbb; 20_000]));
    let received = float(initial().len());
    let expected = 3.0 * float(flight.len()) / received;
    assert!((most(&wire).unwrap() - expected).abs() < 1e-9);
}

#[test]
fn what_the_node_never_got_allows_nothing() {
    let mut wire = Wire::new();
    wire.client(150, client_udp(&initial()))
        .client_loses(160, client_udp(&zero_rtt(1100)))
        .node(26_000, node_udp(&vec![0xcc; 3600]));
    let expected = 3600.0 / float(initial().len());
    assert!((most(&wire).unwrap() - expected).abs() < 1e-9);
}

#[test]
fn a_retry_is_small_and_its_token_validates() {
    let mut wire = Wire::new();
    wire.client(150, client_udp(&initial()))
        .node(25_300, node_udp(&retry()))
        .client(50_500, client_udp(&initial_with_token()))
        .node(76_000, node_udp(&vec![0xcc; 6000]));
    let expected = float(retry().len()) / float(initial().len());
    assert!((most(&wire).unwrap() - expected).abs() < 1e-9);
}

#[test]
fn where_nothing_is_unvalidated_there_is_no_figure() {
    let mut token = Wire::new();
    token
        .client(150, client_udp(&initial_with_token()))
        .node(26_000, node_udp(&handshake(1000)));
    assert_eq!(most(&token), None);

    let mut moved = Wire::new();
    moved
        .client(150, client_udp(&one_rtt(60)))
        .node(26_000, node_udp(&one_rtt(60)));
    assert_eq!(most(&moved), None);

    let mut tcp = Wire::new();
    tcp.client(20, from_client(SYN, 0, 0, b""))
        .node(25_050, from_node(SYN_ACK, 0, 1, b""));
    assert_eq!(most(&tcp), None);
}

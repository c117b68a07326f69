use super::wire::*;
use crate::bench::Mode;
use crate::bench::trace::tls::RETRY;
use crate::bench::trace::{Drawing, MOST_STEPS};
use crate::testbed::emulator::{Direction, Fate};

fn labels(wire: &Wire) -> Vec<String> {
    let drawing = Drawing::of(Mode::TcpFull, &wire.exchange());
    drawing.steps.into_iter().map(|step| step.label).collect()
}

#[test]
fn tcp_and_tls_are_named_by_what_shows() {
    let mut wire = Wire::new();
    let mut retry = record(22, 2, 90);
    retry[11..43].copy_from_slice(&RETRY);
    let flight = server_flight();
    wire.client(20, from_client(SYN, 0, 0, b""))
        .node(25_050, from_node(SYN_ACK, 0, 1, b""))
        .client(50_080, from_client(ACK, 1, 1, b""))
        .client(50_300, from_client(ACK, 1, 1, &client_hello()))
        .node(75_600, from_node(ACK, 1, 246, &retry))
        .client(100_800, from_client(ACK, 246, 96, &client_hello()))
        .node(126_200, from_node(ACK, 96, 491, &flight[..200]))
        .node(126_210, from_node(ACK, 296, 491, &flight[200..]))
        .client_loses(151_500, from_client(ACK, 491, 1132, &encrypted(200)))
        .client(401_500, from_client(ACK, 491, 1132, &encrypted(200)))
        .node(426_900, from_node(FIN_ACK, 1132, 696, &record(21, 1, 2)));
    let expected = [
        "SYN",
        "SYN-ACK",
        "ACK",
        "ClientHello",
        "HelloRetryRequest",
        "ClientHello",
        "ServerHello+encrypted",
        "encrypted",
        "encrypted",
        "encrypted again",
        "FIN+alert",
    ];
    assert_eq!(labels(&wire), expected);
}

#[test]
fn early_data_is_what_the_client_encrypts_before_the_node_speaks() {
    let mut wire = Wire::new();
    wire.client(20, from_client(SYN, 0, 0, &client_hello()))
        .client(30, from_client(ACK, 246, 0, &encrypted(200)))
        .node(25_050, from_node(SYN_ACK, 0, 451, b""))
        .node(25_700, from_node(ACK, 1, 451, &server_flight()))
        .client(51_000, from_client(ACK, 451, 1042, &encrypted(60)));
    let expected = [
        "SYN+ClientHello",
        "early data",
        "SYN-ACK",
        "ServerHello+encrypted",
        "encrypted",
    ];
    assert_eq!(labels(&wire), expected);
}

#[test]
fn a_record_goes_on_in_the_next_segment() {
    let mut wire = Wire::new();
    let hello = client_hello();
    // The second segment begins within the header of the second record.
    let both = [hello.clone(), encrypted(200)].concat();
    let cut = hello.len() + 3;
    wire.client(20, from_client(SYN, 0, 0, b""))
        .client(30, from_client(ACK, 1, 1, &both[..100]))
        .client(40, from_client(ACK, 101, 1, &both[100..cut]))
        .client(50, from_client(ACK, 249, 1, &both[cut..]));
    let expected = ["SYN", "ClientHello", "ClientHello", "early data"];
    assert_eq!(labels(&wire), expected);
}

#[test]
fn quic_is_named_by_its_packets() {
    let mut wire = Wire::new();
    let mut negotiation = initial();
    negotiation[1..5].fill(0);
    let mut other = initial();
    other[1..5].fill(9);
    let filled = [short_initial(130), vec![0; 300]].concat();
    wire.client(0, client_udp(&initial()))
        .client(1, client_udp(&[initial(), zero_rtt(100)].concat()))
        .node(2, node_udp(&retry()))
        .node(3, node_udp(&negotiation))
        .client(4, client_udp(&other))
        .node(
            5,
            node_udp(&[short_initial(130), handshake(500), one_rtt(60)].concat()),
        )
        .node(6, node_udp(&[handshake(100), handshake(500)].concat()))
        .node(7, node_udp(&filled))
        .node(8, node_udp(&one_rtt(60)))
        .node(9, node_udp(b"abc"));
    let expected = [
        "Initial",
        "Initial+0-RTT",
        "Retry",
        "Version Negotiation",
        "other version",
        "Initial+Handshake+1-RTT",
        "Handshake",
        "Initial",
        "1-RTT",
        "UDP",
    ];
    assert_eq!(labels(&wire), expected);
}

#[test]
fn a_drawing_has_the_form_of_traces_jsonl() {
    let mut wire = Wire::new();
    let under_way = wire.at(51_700);
    wire.push(
        Direction::ToNode,
        under_way,
        Fate::UnderWay,
        client_udp(&one_rtt(60)),
    )
    .client_loses(250, client_udp(&initial()))
    .client(500, client_udp(&initial()))
    .node(26_000, node_udp(&short_initial(100)))
    .client(60_000, client_udp(&one_rtt(60)))
    .marks(Some(51_500), None, 51_750);
    let drawing = Drawing::of(Mode::QuicFull, &wire.exchange());
    let line = serde_json::to_string(&drawing).unwrap();
    assert_eq!(
        line,
        r#"{"mode":"quic-full","steps":[{"direction":"to-node","sent_ms":0.25,"bytes":1228,"label":"Initial"},{"direction":"to-node","sent_ms":0.5,"arrived_ms":25.5,"bytes":1228,"label":"Initial"},{"direction":"to-client","sent_ms":26.0,"arrived_ms":51.0,"bytes":154,"label":"Initial"}],"marks":{"ready_ms":51.5,"first_byte_ms":51.75}}"#
    );
    assert_eq!(serde_json::from_str::<Drawing>(&line).unwrap(), drawing);
}

#[test]
fn a_drawing_is_bounded() {
    let mut wire = Wire::new();
    for sent in 0..1000 {
        wire.client(sent, client_udp(&one_rtt(60)));
    }
    let drawing = Drawing::of(Mode::QuicFull, &wire.exchange());
    assert_eq!(drawing.steps.len(), MOST_STEPS);
}

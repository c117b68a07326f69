use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;

const PATH_V6: (&str, &str) = ("[2001:db8::1]:4000", "[2001:db8::2]:443");

fn path(source: &str, destination: &str) -> Path {
    Path {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    }
}

fn sealed(path: Path, ecn: Ecn, payload: &[u8]) -> Vec<u8> {
    let sender = Sender {
        node: [1, 2, 3],
        instance: 4,
        epoch: 5,
    };
    let mut bytes = Vec::new();
    Envelope {
        sender,
        counter: 6,
        cargo: Cargo::Datagram,
        path,
        ecn,
    }
    .write_header(u16::try_from(payload.len()).unwrap(), &mut bytes);
    bytes.extend_from_slice(&[7; TAG_LEN]);
    bytes.extend_from_slice(payload);
    bytes
}

fn initial(destination: &[u8], token: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xc0, 0, 0, 0, 1, u8::try_from(destination.len()).unwrap()];
    bytes.extend_from_slice(destination);
    bytes.extend_from_slice(&[2, 8, 9]);
    bytes.push(u8::try_from(token.len()).unwrap());
    bytes.extend_from_slice(token);
    bytes.resize(bytes.len().max(1200), 0);
    bytes
}

#[test]
fn an_initial_shows_its_connection_ids_and_token() {
    let bytes = initial(&[1, 2, 3, 4, 5, 6, 7, 8], b"token");
    let Ok(Datagram::Long(header)) = Datagram::parse(&bytes) else {
        panic!("a long header")
    };
    assert_eq!(header.kind, LongKind::Initial);
    assert_eq!(header.destination, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(header.source, [8, 9]);
    assert_eq!(header.token, b"token");
}

#[test]
fn an_initial_whose_token_passes_its_end_is_not_quic() {
    let mut bytes = initial(&[1; 8], &[]);
    bytes.truncate(18);
    bytes[17] = 5;
    assert_eq!(Datagram::parse(&bytes), Err(NotQuic));
}

#[test]
fn a_version_1_cid_over_20_bytes_is_not_quic_but_another_version_may_have_255() {
    let mut bytes = initial(&[1; 21], &[]);
    assert_eq!(Datagram::parse(&bytes), Err(NotQuic));
    bytes[4] = 9;
    let Ok(Datagram::Long(header)) = Datagram::parse(&bytes) else {
        panic!("a long header")
    };
    assert_eq!(
        (header.kind, header.destination.len()),
        (LongKind::OtherVersion, 21)
    );
}

#[test]
fn a_short_header_needs_21_bytes() {
    assert_eq!(Datagram::parse(&[0x40; 20]), Err(NotQuic));
    assert_eq!(
        Datagram::parse(&[0x40; 21]),
        Ok(Datagram::Short(&[0x40; 20]))
    );
}

#[test]
fn version_negotiation_echoes_long_cids_and_stays_under_the_trigger() {
    let header = LongHeader {
        version: 9,
        kind: LongKind::OtherVersion,
        destination: &[1; 255],
        source: &[2; 255],
        token: &[],
    };
    let packet = version_negotiation(&header, [0xff; 5]);
    let Ok(Datagram::Long(answer)) = Datagram::parse(&packet) else {
        panic!("a long header")
    };
    assert_eq!(answer.kind, LongKind::VersionNegotiation);
    assert_eq!(
        (answer.destination, answer.source),
        (&[2; 255][..], &[1; 255][..])
    );
    assert!(packet.len() <= 527);
    assert_eq!(packet[packet.len() - 8..packet.len() - 4], [0, 0, 0, 1]);
    assert!(
        packet[packet.len() - 4..]
            .iter()
            .all(|byte| byte & 0x0f == 0x0a)
    );
}

#[test]
fn an_envelope_comes_back_as_it_was_sealed() {
    for (source, destination) in [PATH_V6, ("192.0.2.1:4000", "192.0.2.2:443")] {
        let path = path(source, destination);
        for ecn in [Ecn::NotEct, Ecn::Ect0, Ecn::Ect1, Ecn::Ce] {
            let bytes = sealed(path, ecn, b"datagram");
            let sealed = Envelope::parse(&bytes).unwrap();
            assert_eq!((sealed.envelope.path, sealed.envelope.ecn), (path, ecn));
            assert_eq!(sealed.envelope.counter, 6);
            assert_eq!(sealed.payload, b"datagram");
            assert_eq!([sealed.header, &sealed.tag, sealed.payload].concat(), bytes);
        }
    }
}

#[test]
fn the_overhead_of_an_envelope_is_bounded() {
    let bytes = sealed(path(PATH_V6.0, PATH_V6.1), Ecn::NotEct, &[]);
    assert_eq!(bytes.len(), MAX_OVERHEAD);
}

#[test]
fn an_envelope_with_a_wrong_length_version_or_kind_is_refused() {
    let good = sealed(path(PATH_V6.0, PATH_V6.1), Ecn::NotEct, b"datagram");
    for len in 0..good.len() {
        assert!(Envelope::parse(&good[..len]).is_err(), "{len} bytes");
    }
    let with_first = |first: u8| {
        let mut bytes = good.clone();
        bytes[0] = first;
        Envelope::parse(&bytes).map(|_| ())
    };
    assert_eq!(with_first(0x31), Err(EnvelopeError::Version));
    assert_eq!(with_first(0x21), Err(EnvelopeError::Kind));
    assert_eq!(with_first(0x12), Err(EnvelopeError::Kind));
    assert_eq!(with_first(0x13), Ok(()));
    assert_eq!(with_first(0x1f), Err(EnvelopeError::Kind));
}

#[test]
fn a_replay_window_accepts_each_counter_once_in_any_order() {
    let mut window = ReplayWindow::new();
    for counter in [5, 3, 4, 0, 100, 99, WINDOW + 5] {
        assert!(window.accept(counter), "{counter} is new");
        assert!(!window.accept(counter), "{counter} again");
    }
}

#[test]
fn a_replay_window_refuses_what_is_too_old_to_know() {
    let mut window = ReplayWindow::new();
    assert!(window.accept(WINDOW));
    assert!(!window.accept(0));
    assert!(window.accept(1));
}

#[test]
fn a_replay_window_survives_the_largest_counter() {
    let mut window = ReplayWindow::new();
    assert!(window.accept(u64::MAX - 1));
    assert!(window.accept(u64::MAX));
    assert!(!window.accept(u64::MAX));
}

proptest! {
    #[test]
    fn parsers_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _datagram = Datagram::parse(&bytes);
        let _envelope = Envelope::parse(&bytes);
        let _heartbeat = Heartbeat::parse(&bytes);
    }

    #[test]
    fn an_envelope_keeps_any_path(source: SocketAddr, destination: SocketAddr) {
        let strip = |address: SocketAddr| SocketAddr::new(address.ip(), address.port());
        let path = Path { source: strip(source), destination: strip(destination) };
        let bytes = sealed(path, Ecn::Ce, b"x");
        prop_assert_eq!(Envelope::parse(&bytes).unwrap().envelope.path, path);
    }

    #[test]
    fn a_replay_window_agrees_with_a_set(counters in prop::collection::vec(0_u64..3 * WINDOW, 1..300)) {
        let mut window = ReplayWindow::new();
        let mut used = std::collections::HashSet::new();
        let mut highest = 0;
        for counter in counters {
            let expected = !used.contains(&counter) && (counter > highest || highest - counter < WINDOW);
            prop_assert_eq!(window.accept(counter), expected);
            used.insert(counter);
            highest = highest.max(counter);
        }
    }
}

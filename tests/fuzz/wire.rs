//! What is read of a datagram before anything is decrypted, and of what others of the fleet send.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use wayhold::wire::{
    BootId, Cargo, Challenge, Datagram, Ecn, Envelope, Heartbeat, Kind, LongHeader, LongKind,
    MAX_CID_LEN, MAX_OVERHEAD, MAX_SIBLING_HEADER, MIN_RESET_TRIGGER, Path, RESET_RANDOM,
    Reachable, ReplayWindow, Report, Sender, SiblingMessage, TAG_LEN, WINDOW, stateless_reset,
    unpadded_len, version_negotiation,
};

use super::input::Input;

pub(crate) fn target(input: &[u8]) {
    let mut input = Input::new(input);
    match input.below(9) {
        0 => datagram(input.rest()),
        1 => long_header(&mut input),
        2 => envelope(input.rest()),
        3 => heartbeat(input.rest()),
        4 => sibling(input.rest()),
        5 => made(&mut input),
        6 => padding(input.rest()),
        7 => replay(&mut input),
        _ => reset(&mut input),
    }
}

/// Reads the header as RFC 8999 and RFC 9000, section 17 draw it, and wants the same.
fn datagram(bytes: &[u8]) {
    let parsed = Datagram::parse(bytes);
    let Some(&first) = bytes.first() else {
        return assert!(parsed.is_err());
    };
    if first < 0x80 {
        assert_eq!(parsed.is_ok(), bytes.len() > 20);
        if let Ok(parsed) = parsed {
            assert_eq!(parsed, Datagram::Short(&bytes[1..]));
        }
        return;
    }
    match (parsed, reference(bytes)) {
        (Ok(Datagram::Long(header)), Some((version, destination, source, token))) => {
            assert_eq!(
                (
                    header.version,
                    header.destination,
                    header.source,
                    header.token
                ),
                (version, destination, source, token)
            );
            let random = [first, 1, 2, 3, 4];
            negotiated(&header, random);
        }
        (parsed, expected) => assert!(
            parsed.is_err() && expected.is_none(),
            "{parsed:?} {expected:?}"
        ),
    }
}

type Reference<'a> = (u32, &'a [u8], &'a [u8], &'a [u8]);

fn reference(bytes: &[u8]) -> Option<Reference<'_>> {
    let version = u32::from_be_bytes(bytes.get(1..5)?.try_into().ok()?);
    let destination_end = 6 + usize::from(*bytes.get(5)?);
    let destination = bytes.get(6..destination_end)?;
    let source_start = destination_end + 1;
    let source_end = source_start + usize::from(*bytes.get(destination_end)?);
    let source = bytes.get(source_start..source_end)?;
    if version == 1 && (destination.len() > MAX_CID_LEN || source.len() > MAX_CID_LEN) {
        return None;
    }
    if version != 1 || bytes[0] & 0x30 != 0 {
        return Some((version, destination, source, &[]));
    }
    let size = 1 << (*bytes.get(source_end)? >> 6);
    let digits = bytes.get(source_end..source_end + size)?;
    let length = digits
        .iter()
        .fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    let length = usize::try_from(length & (u64::MAX >> (66 - 8 * size))).ok()?;
    let token = bytes.get(source_end + size..)?.get(..length)?;
    Some((version, destination, source, token))
}

/// Writes a header and wants it back.
fn long_header(input: &mut Input<'_>) {
    let (first, version) = (input.byte() | 0xc0, u32::from(input.one_in(4)) * 7 + 1);
    let (destination, source, token) = (input.bytes(21), input.bytes(21), input.bytes(64));
    let mut bytes = vec![first];
    bytes.extend_from_slice(&version.to_be_bytes());
    for cid in [destination, source] {
        bytes.push(u8::try_from(cid.len()).expect("at most 20"));
        bytes.extend_from_slice(cid);
    }
    let initial = version == 1 && first & 0x30 == 0;
    if initial {
        bytes.push(u8::try_from(token.len()).expect("at most 63"));
        bytes.extend_from_slice(token);
    }
    let Ok(Datagram::Long(header)) = Datagram::parse(&bytes) else {
        panic!("a long header: {bytes:x?}");
    };
    let token = if initial { token } else { &[] };
    assert_eq!(
        (header.destination, header.source, header.token),
        (destination, source, token)
    );
    assert_eq!(header.kind == LongKind::Initial, initial);
    datagram(&bytes);
    for length in 0..bytes.len() {
        assert!(
            Datagram::parse(&bytes[..length]).is_err(),
            "a header that is cut is none"
        );
    }
}

fn negotiated(header: &LongHeader<'_>, random: [u8; 5]) {
    let packet = version_negotiation(header, random);
    let Ok(Datagram::Long(read)) = Datagram::parse(&packet) else {
        panic!("a long header");
    };
    assert_eq!(read.kind, LongKind::VersionNegotiation);
    assert_eq!(
        (read.destination, read.source),
        (header.source, header.destination)
    );
    assert!(packet.len() <= 527);
}

fn envelope(bytes: &[u8]) {
    let Ok(sealed) = Envelope::parse(bytes) else {
        return;
    };
    assert_eq!([sealed.header, &sealed.tag, sealed.payload].concat(), bytes);
    assert!(bytes.len() - sealed.payload.len() <= MAX_OVERHEAD);
    assert!(sealed.payload.starts_with(sealed.authenticated_payload()));
    let mut again = Vec::new();
    let length = u16::try_from(sealed.payload.len()).expect("its field has 16 bits");
    sealed.envelope.write_header(length, &mut again);
    again.extend_from_slice(&bytes[sealed.header.len()..]);
    assert_eq!(
        Envelope::parse(&again).map(|read| read.envelope),
        Ok(sealed.envelope)
    );
    assert_eq!(again.len(), bytes.len());
    assert!(
        Envelope::parse(&bytes[..bytes.len() - 1]).is_err(),
        "the length is exact"
    );
    assert!(Heartbeat::parse(bytes).is_err());
}

fn heartbeat(bytes: &[u8]) {
    let Ok(sealed) = Heartbeat::parse(bytes) else {
        return;
    };
    assert_eq!([sealed.header, &sealed.tag].concat(), bytes);
    let mut again = Vec::new();
    sealed
        .heartbeat
        .write_header(sealed.report.as_ref(), &mut again);
    again.extend_from_slice(&sealed.tag);
    let read = Heartbeat::parse(&again).expect("it was just written");
    assert_eq!(
        (read.heartbeat, read.report),
        (sealed.heartbeat, sealed.report)
    );
    assert_eq!(again.len(), bytes.len());
    if let Some(report) = sealed.report {
        assert!(report.reachable.iter().count() <= 255);
    }
    assert!(Envelope::parse(bytes).is_err());
}

fn sibling(bytes: &[u8]) {
    let Some(message) = SiblingMessage::parse(bytes) else {
        return;
    };
    let mut again = Vec::new();
    let carried = message.write_header(&mut again);
    assert!(again.len() <= MAX_SIBLING_HEADER);
    again.extend_from_slice(carried);
    let read = SiblingMessage::parse(&again).expect("it was just written");
    match (message, read) {
        (
            SiblingMessage::Datagrams {
                path,
                ecn,
                ingress,
                size,
                bytes,
            },
            SiblingMessage::Datagrams {
                path: other_path,
                ecn: e,
                ingress: i,
                size: s,
                bytes: b,
            },
        ) => assert_eq!(
            (path, ecn, ingress, size.min(bytes.len()), bytes),
            (other_path, e, i, s, b)
        ),
        (one, other) => assert_eq!(one, other),
    }
}

/// Writes what nodes write, and wants it back.
fn made(input: &mut Input<'_>) {
    let sender = Sender {
        node: input.array(),
        instance: input.byte(),
        epoch: input.byte(),
    };
    let path = Path {
        source: address(input),
        destination: address(input),
    };
    let (ecn, cargo) = (
        Ecn::from_bits(input.byte()),
        input.pick(&[Cargo::Datagram, Cargo::Reply]),
    );
    let written = Envelope {
        sender,
        counter: input.u64(),
        cargo,
        path,
        ecn,
    };
    let payload = input.bytes(64);
    let mut bytes = Vec::new();
    written.write_header(u16::try_from(payload.len()).expect("below 64"), &mut bytes);
    bytes.extend_from_slice(&[input.byte(); TAG_LEN]);
    bytes.extend_from_slice(payload);
    let read = Envelope::parse(&bytes).expect("it was just written");
    assert_eq!((read.envelope, read.payload), (written, payload));
    envelope(&bytes);

    let mut entries = input.bytes(64).to_vec();
    entries.truncate(entries.len() / Reachable::ENTRY_LEN * Reachable::ENTRY_LEN);
    let report = Report {
        draining: input.one_in(2),
        epochs: (u32::from(input.u16()), u32::from(input.u16())),
        minting: u32::from(input.u16()),
        config: input.array(),
        wall: input.u64(),
        reachable: Reachable::new(&entries),
    };
    let report = input.one_in(2).then_some(report);
    let written = Heartbeat {
        sender,
        boot: BootId(input.array()),
        challenge: Challenge(input.array()),
        answer: (BootId(input.array()), Challenge(input.array())),
    };
    let mut bytes = Vec::new();
    written.write_header(report.as_ref(), &mut bytes);
    bytes.extend_from_slice(&[7; TAG_LEN]);
    assert_eq!(Kind::of(&bytes), Ok(Kind::Heartbeat));
    let read = Heartbeat::parse(&bytes).expect("it was just written");
    assert_eq!((read.heartbeat, read.report), (written, report));
    heartbeat(&bytes);
}

fn address(input: &mut Input<'_>) -> SocketAddr {
    let ip = if input.one_in(2) {
        IpAddr::from(input.array::<16>())
    } else {
        IpAddr::from(input.array::<4>())
    };
    SocketAddr::new(ip, input.u16())
}

/// Only zeros are ever taken for padding, and at least one byte is left.
fn padding(payload: &[u8]) {
    let length = unpadded_len(payload);
    assert!(length <= payload.len() && (length > 0 || payload.is_empty()));
    assert!(payload[length..].iter().all(|byte| *byte == 0));
    if length == payload.len() {
        return;
    }
    // What was padding stays padding if there is more of it.
    let longer = [payload, &[0; 3]].concat();
    assert_eq!(unpadded_len(&longer), length);
}

/// Beside a set that forgets nothing.
fn replay(input: &mut Input<'_>) {
    let mut window = ReplayWindow::new();
    let mut seen = BTreeSet::new();
    let mut at = input.u64();
    while !input.is_empty() {
        at = match input.below(6) {
            0 => input.u64(),
            1 => at.wrapping_add(WINDOW),
            2 => at.wrapping_sub(WINDOW - 1),
            3 => at.wrapping_add(input.u16().into()),
            4 => at.wrapping_sub(input.u16().into()),
            _ => at.wrapping_add(1),
        };
        let recent = seen
            .last()
            .is_none_or(|highest| at > *highest || highest - at < WINDOW);
        let fresh = recent && !seen.contains(&at);
        assert_eq!(window.is_fresh(at), fresh);
        assert_eq!(window.accept(at), fresh);
        if fresh {
            seen.insert(at);
        }
    }
}

fn reset(input: &mut Input<'_>) {
    let (token, length) = (input.array(), usize::from(input.u16()) % 2000);
    let packet = stateless_reset(token, length, [input.byte(); RESET_RANDOM]);
    assert_eq!(packet.is_some(), length >= MIN_RESET_TRIGGER);
    if let Some(packet) = packet {
        assert!(packet.len() < length && packet.ends_with(&token) && packet[0] & 0xc0 == 0x40);
        assert!(matches!(Datagram::parse(&packet), Ok(Datagram::Short(_))));
    }
}

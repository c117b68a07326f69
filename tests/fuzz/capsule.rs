//! The data stream of a tunnel, cut anywhere, and what its datagrams carry.

use bytes::Bytes;
use wayhold::connect_udp::{
    Capsule, CapsuleError, CapsuleReader, MAX_UDP_PAYLOAD, Payload, put_datagram, put_udp,
    read_payload,
};

use super::fields::put_varint;
use super::frames::pieces;
use super::input::Input;

pub(crate) fn target(input: &[u8]) {
    let mut input = Input::new(input);
    let cuts: [u8; 4] = input.array();
    let limit = input.pick(&[0, 8, 9, 20, 1500, MAX_UDP_PAYLOAD + 1]);
    let bytes = stream(&mut input);
    let expected = reference(&bytes, limit.max(8));
    let single: Vec<_> = bytes.chunks(1).collect();
    for pieces in [vec![&bytes[..]], pieces(&bytes, cuts), single] {
        assert_eq!(read(limit, &pieces), expected);
    }
    again(&expected.0);
}

/// Capsules, more or less.
fn stream(input: &mut Input<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    while !input.is_empty() {
        let kind = match input.below(4) {
            0 => input.u64(),
            1 => input.pick(&[1, 2, 0x3f, 0x40, 0x2828]),
            _ => DATAGRAM,
        };
        let mut payload = Vec::new();
        if input.one_in(2) {
            put_varint(&mut payload, UDP, input.below(4));
        }
        payload.extend_from_slice(input.bytes(24));
        let length = payload.len() as u64;
        let declared = match input.below(12) {
            0 => input.u64(),
            1 => input.pick(&[MAX_UDP_PAYLOAD as u64, MAX_UDP_PAYLOAD as u64 + 1, 1 << 17]),
            2 => length + 1,
            _ => length,
        };
        put_varint(&mut out, kind, input.below(4));
        put_varint(&mut out, declared, input.below(4));
        out.extend_from_slice(&payload);
    }
    out
}

/// What came, and how the stream ended.
type Seen = (Vec<Capsule>, Result<(), CapsuleError>);

fn read(limit: usize, pieces: &[&[u8]]) -> Seen {
    let (mut reader, mut seen) = (CapsuleReader::new(limit), Vec::new());
    for piece in pieces {
        let mut piece = Bytes::copy_from_slice(piece);
        loop {
            match reader.next(&mut piece) {
                Ok(Some(capsule)) => seen.push(capsule),
                Ok(None) => break,
                Err(error) => return (seen, Err(error)),
            }
        }
        assert!(piece.is_empty(), "everything is used up");
    }
    let end = reader.finish();
    (seen, end)
}

/// Reads all at once.
fn reference(mut bytes: &[u8], limit: usize) -> Seen {
    let mut seen = Vec::new();
    while !bytes.is_empty() {
        let mut header = [0; 2];
        for value in &mut header {
            let Some((read, rest)) = varint(bytes) else {
                return (seen, Err(CapsuleError::Cut));
            };
            (*value, bytes) = (read, rest);
        }
        let [kind, length] = header;
        let whole = usize::try_from(length)
            .ok()
            .and_then(|length| bytes.get(..length));
        if kind != DATAGRAM {
            seen.push(Capsule::Unknown);
        } else if length <= limit as u64 {
            let Some(payload) = whole else {
                return (seen, Err(CapsuleError::Cut));
            };
            seen.push(Capsule::Datagram(Bytes::copy_from_slice(payload)));
        } else {
            let Some((context, rest)) = varint(bytes) else {
                return (seen, Err(CapsuleError::Cut));
            };
            let left = length - (bytes.len() - rest.len()) as u64;
            if context == 0 && left > MAX_UDP_PAYLOAD as u64 {
                return (seen, Err(CapsuleError::LongPayload));
            }
            seen.push(Capsule::TooLong);
        }
        let Some(whole) = whole else {
            return (seen, Err(CapsuleError::Cut));
        };
        bytes = &bytes[whole.len()..];
    }
    (seen, Ok(()))
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let length = 1 << (bytes.first()? >> 6);
    let (integer, rest) = bytes.split_at_checked(length)?;
    let value = integer
        .iter()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    Some((value & (u64::MAX >> (66 - 8 * length)), rest))
}

/// What was read can be written, and is read as the same.
fn again(seen: &[Capsule]) {
    for capsule in seen {
        let Capsule::Datagram(datagram) = capsule else {
            continue;
        };
        let mut written = Vec::new();
        put_datagram(&mut written, datagram.len());
        written.extend_from_slice(datagram);
        let read = read(datagram.len(), &[&written[..]]);
        assert_eq!(read, (vec![capsule.clone()], Ok(())));
        if let Payload::Udp(payload) = read_payload(datagram) {
            let mut written = Vec::new();
            put_udp(&mut written, &payload);
            assert_eq!(read_payload(&Bytes::from(written)), Payload::Udp(payload));
        }
    }
}

const DATAGRAM: u64 = 0;
const UDP: u64 = 0;

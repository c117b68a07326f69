//! The payload of a tunnel's HTTP datagrams (RFC 9298, sections 4 and 5).

use bytes::{BufMut, Bytes};

use crate::http3::varint;

/// The longest payload of a UDP packet (RFC 9298, section 5).
pub const MAX_UDP_PAYLOAD: usize = 65_527;

/// What an HTTP datagram carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// The payload of a UDP packet: context ID 0.
    Udp(Bytes),
    /// Something that was never registered; it is dropped (RFC 9298, section 5).
    Unknown,
    /// It ends within its context ID.
    Cut,
    /// The payload of a UDP packet that cannot be; the stream is aborted.
    TooLong,
}

/// Reads an HTTP datagram.
pub fn read_payload(datagram: &Bytes) -> Payload {
    match varint::split(datagram) {
        None => Payload::Cut,
        Some((UDP, rest)) if rest.len() > MAX_UDP_PAYLOAD => Payload::TooLong,
        Some((UDP, rest)) => Payload::Udp(datagram.slice_ref(rest)),
        Some(_) => Payload::Unknown,
    }
}

/// Appends the HTTP datagram of a UDP packet: one byte, and its payload.
pub fn put_udp(out: &mut impl BufMut, payload: &[u8]) {
    varint::put(out, UDP);
    out.put_slice(payload);
}

/// The context ID of UDP payloads.
pub(super) const UDP: u64 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Payload {
        read_payload(&Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn context_0_is_udp_and_no_other_is() {
        assert_eq!(read(b"\0hello"), Payload::Udp(Bytes::from_static(b"hello")));
        assert_eq!(read(b"\0"), Payload::Udp(Bytes::new()));
        assert_eq!(read(b"\x40\0x"), Payload::Udp(Bytes::from_static(b"x")));
        for other in [&b"\x01x"[..], b"\x02", b"\x40\x40x", b"\xff\0\0\0\0\0\0\0"] {
            assert_eq!(read(other), Payload::Unknown);
        }
        for cut in [&b""[..], b"\x40", b"\xc0\0\0\0\0\0\0"] {
            assert_eq!(read(cut), Payload::Cut);
        }
    }

    #[test]
    fn no_packet_is_longer_than_udp_carries() {
        let datagram = |len: usize| {
            let mut out = Vec::new();
            put_udp(&mut out, &vec![7; len]);
            read(&out)
        };
        assert_eq!(
            datagram(MAX_UDP_PAYLOAD),
            Payload::Udp(vec![7; MAX_UDP_PAYLOAD].into())
        );
        assert_eq!(datagram(MAX_UDP_PAYLOAD + 1), Payload::TooLong);
    }
}

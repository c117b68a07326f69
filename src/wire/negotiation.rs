use super::datagram::{LongHeader, VERSION_1};

/// The QUIC versions that the gateway speaks.
pub const SUPPORTED_VERSIONS: [u32; 1] = [VERSION_1];

/// Writes the version negotiation packet that answers a long header (RFC 9000, section 17.2.1).
///
/// The connection IDs are echoed whole, up to 255 bytes each (RFC 8999, section 6). `random` fills
/// the unused bits and makes the reserved version that keeps clients from taking the list for fixed
/// (RFC 9000, section 15). The packet is at most 527 bytes, less than half of the 1200 that
/// trigger it.
pub fn version_negotiation(header: &LongHeader<'_>, random: [u8; 5]) -> Vec<u8> {
    let [first, grease @ ..] = random;
    let mut packet = Vec::with_capacity(15 + header.source.len() + header.destination.len());
    packet.push(0b1100_0000 | first);
    packet.extend_from_slice(&0_u32.to_be_bytes());
    for cid in [header.source, header.destination] {
        packet.push(u8::try_from(cid.len()).expect("parsed from a one-byte length"));
        packet.extend_from_slice(cid);
    }
    for version in SUPPORTED_VERSIONS {
        packet.extend_from_slice(&version.to_be_bytes());
    }
    packet.extend(grease.map(|byte| byte & 0xf0 | 0x0a));
    packet
}

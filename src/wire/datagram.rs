use super::reader::Reader;

/// The first packet of a datagram as any node can read it, without keys.
///
/// Only the version-independent fields (RFC 8999) are trusted; of QUIC version 1 the packet type
/// and an Initial's token are read as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datagram<'a> {
    /// A short header: everything after the first byte, of which the destination connection ID is
    /// a prefix whose length only its issuer knows.
    Short(&'a [u8]),
    /// A long header.
    Long(LongHeader<'a>),
}

/// The fields of a long header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongHeader<'a> {
    /// The version; 0 in a version negotiation packet.
    pub version: u32,
    /// The packet type.
    pub kind: LongKind,
    /// The destination connection ID, up to 255 bytes.
    pub destination: &'a [u8],
    /// The source connection ID, up to 255 bytes.
    pub source: &'a [u8],
    /// An Initial packet's token, possibly empty; empty for every other type.
    pub token: &'a [u8],
}

/// The type of a long-header packet (RFC 9000, section 17.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LongKind {
    /// Opens a connection.
    Initial,
    /// Early data.
    ZeroRtt,
    /// The rest of the handshake.
    Handshake,
    /// Sent only by servers, so never meant for a gateway.
    Retry,
    /// Version 0, sent only by servers.
    VersionNegotiation,
    /// A version that this gateway does not speak, so its types are unknown.
    OtherVersion,
}

/// A datagram that cannot be a QUIC packet: shorter than its header or than any packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a QUIC packet")]
pub struct NotQuic;

impl<'a> Datagram<'a> {
    /// Reads the header of a datagram's first packet.
    ///
    /// # Errors
    /// [`NotQuic`] when the bytes end within the header, a version 1 connection ID is longer than
    /// 20 bytes, or a short header has fewer than 21 bytes: no protected packet with a connection
    /// ID is that short (RFC 9000, section 10.3).
    pub fn parse(bytes: &'a [u8]) -> Result<Self, NotQuic> {
        let mut reader = Reader::new(bytes);
        let first = reader.u8().ok_or(NotQuic)?;
        if first & LONG_FORM == 0 {
            return if bytes.len() < MIN_SHORT {
                Err(NotQuic)
            } else {
                Ok(Self::Short(reader.rest()))
            };
        }
        Self::parse_long(first, reader)
            .ok_or(NotQuic)
            .map(Self::Long)
    }

    fn parse_long(first: u8, mut reader: Reader<'a>) -> Option<LongHeader<'a>> {
        let version = reader.u32()?;
        let destination = reader.prefixed()?;
        let source = reader.prefixed()?;
        let kind = LongKind::of(version, first);
        let own_version = !matches!(kind, LongKind::VersionNegotiation | LongKind::OtherVersion);
        if own_version && (destination.len() > MAX_CID_LEN || source.len() > MAX_CID_LEN) {
            return None;
        }
        let token = if kind == LongKind::Initial {
            let len = usize::try_from(reader.varint()?).ok()?;
            reader.take(len)?
        } else {
            &[]
        };
        Some(LongHeader {
            version,
            kind,
            destination,
            source,
            token,
        })
    }
}

impl LongKind {
    fn of(version: u32, first: u8) -> Self {
        match (version, first >> 4 & 0b11) {
            (0, _) => Self::VersionNegotiation,
            (VERSION_1, 0) => Self::Initial,
            (VERSION_1, 1) => Self::ZeroRtt,
            (VERSION_1, 2) => Self::Handshake,
            (VERSION_1, _) => Self::Retry,
            _ => Self::OtherVersion,
        }
    }
}

/// The longest connection ID of QUIC version 1 (RFC 9000, section 17.2).
pub const MAX_CID_LEN: usize = 20;

pub(super) const VERSION_1: u32 = 1;
const LONG_FORM: u8 = 0x80;
const MIN_SHORT: usize = 21;

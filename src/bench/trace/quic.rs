use crate::wire::{Datagram, LongHeader, LongKind};

/// What QUIC packets a datagram has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kinds {
    /// An Initial packet.
    pub(super) initial: bool,
    /// An Initial packet with an address token.
    pub(super) token: bool,
    /// A Handshake packet.
    pub(super) handshake: bool,
    /// A packet with a long header.
    pub(super) long: bool,
}

impl Kinds {
    /// Whether a node knows the client's address from this datagram (RFC 9000, section 8.1).
    ///
    /// That a token is one of the node's does not show; a client has no other.
    pub(super) fn validates(self) -> bool {
        self.handshake || self.token
    }
}

/// How long the sender's own connection ID is, where a datagram of the handshake shows it.
pub(super) fn source_len(datagram: &[u8]) -> Option<usize> {
    Coalesced(datagram)
        .filter_map(|packet| match packet {
            Datagram::Long(header) => Some(header),
            Datagram::Short(_) => None,
        })
        .find(|header| matches!(header.kind, LongKind::Initial | LongKind::Handshake))
        .map(|header| header.source.len())
}

/// Looks at all packets of a datagram.
pub(super) fn kinds(datagram: &[u8]) -> Kinds {
    let mut kinds = Kinds::default();
    for packet in Coalesced(datagram) {
        if let Datagram::Long(header) = packet {
            kinds.long = true;
            kinds.initial |= header.kind == LongKind::Initial;
            kinds.token |= !header.token.is_empty();
            kinds.handshake |= header.kind == LongKind::Handshake;
        }
    }
    kinds
}

/// The packets of a datagram, one after the other (RFC 9000, section 12.2).
#[derive(Clone, Debug)]
pub(super) struct Coalesced<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Coalesced<'a> {
    type Item = Datagram<'a>;

    fn next(&mut self) -> Option<Datagram<'a>> {
        let bytes = self.0;
        self.0 = &[];
        // Some stacks fill a datagram up behind its last packet.
        if bytes.iter().all(|byte| *byte == 0) {
            return None;
        }
        let packet = Datagram::parse(bytes).ok()?;
        if let Datagram::Long(header) = &packet {
            self.0 = after(header, bytes).unwrap_or_default();
        }
        Some(packet)
    }
}

/// What stands behind a long-header packet of version 1 that says how long it is.
fn after<'a>(header: &LongHeader<'a>, bytes: &'a [u8]) -> Option<&'a [u8]> {
    let ids = header.destination.len() + header.source.len();
    // The first byte, the version, and the length of each connection ID.
    let mut rest = bytes.get(1 + 4 + 2 + ids..)?;
    match header.kind {
        LongKind::Initial => {
            let token = varint(&mut rest)?;
            rest = rest.get(token..)?;
        }
        LongKind::ZeroRtt | LongKind::Handshake => {}
        LongKind::Retry | LongKind::VersionNegotiation | LongKind::OtherVersion => return None,
    }
    let len = varint(&mut rest)?;
    rest.get(len..)
}

/// Takes a variable-length integer (RFC 9000, section 16).
fn varint(bytes: &mut &[u8]) -> Option<usize> {
    let first = *bytes.first()?;
    let (field, rest) = bytes.split_at_checked(1 << (first >> 6))?;
    *bytes = rest;
    let value = field[1..]
        .iter()
        .fold(u64::from(first & 0x3f), |value, byte| {
            value << 8 | u64::from(*byte)
        });
    usize::try_from(value).ok()
}

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::reader::Reader;

/// What one node writes in front of a datagram: of a client, when it passes it to the owner; or of the
/// owner, when it passes the answer to the node that the client's packets reach.
///
/// ```text
///  0        version (4 bits), kind (4 bits)
///  1..4     sender's node ID
///  4        sender's instance
///  5        low byte of the key epoch
///  6..14    counter: worker lane (8 bits), count (56 bits)
///  14       ECN (2 bits), source is IPv6 (1 bit), destination is IPv6 (1 bit)
///  15..     source port and address, destination port and address
///  ..+2     length of the datagram
///  ..+16    tag over all of the above and the datagram's first 64 bytes
///  ..       the datagram
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Who sends it.
    pub sender: Sender,
    /// Never repeats under one traffic key.
    pub counter: u64,
    /// Which way it goes.
    pub cargo: Cargo,
    /// Between which addresses the client's datagram travelled.
    pub path: Path,
    /// The mark that the datagram carried, or is to carry.
    pub ecn: Ecn,
}

/// Which way a datagram in an envelope goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cargo {
    /// From a client to the owner of its connection.
    Datagram,
    /// From the owner to the client, by way of the node that the client's packets reach.
    Reply,
}

/// The process that sends a tunnel datagram and the key it uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The node's ID, in network byte order.
    pub node: [u8; 3],
    /// The node's instance.
    pub instance: u8,
    /// The low byte of the fleet key's epoch.
    pub epoch: u8,
}

/// The addresses of a client's datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// The client's address.
    pub source: SocketAddr,
    /// The service address that it was sent to.
    pub destination: SocketAddr,
}

/// The ECN codepoint of an IP packet (RFC 3168, section 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ecn {
    /// Not ECN-capable.
    #[default]
    NotEct,
    /// ECT(1).
    Ect1,
    /// ECT(0).
    Ect0,
    /// Congestion experienced.
    Ce,
}

/// What a tunnel datagram carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A client's datagram.
    Datagram,
    /// A datagram for a client.
    Reply,
    /// A heartbeat.
    Heartbeat,
}

/// An envelope as it was received, not yet authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed<'a> {
    /// What it claims.
    pub envelope: Envelope,
    /// The bytes in front of the tag.
    pub header: &'a [u8],
    /// The tag.
    pub tag: [u8; TAG_LEN],
    /// The datagram.
    pub payload: &'a [u8],
}

/// Why bytes are not a tunnel datagram of a version that this node speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The bytes end within the envelope, or the length field disagrees with what follows.
    #[error("the envelope is cut short or has a wrong length")]
    Length,
    /// The version is none that this node speaks.
    #[error("the tunnel version is not spoken here")]
    Version,
    /// The kind is unknown.
    #[error("the kind of tunnel datagram is unknown")]
    Kind,
}

impl Kind {
    /// Reads the version and the kind, which stand first in every tunnel datagram. Heartbeats have two
    /// versions, see [`Heartbeat`](super::Heartbeat).
    pub fn of(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let first = bytes.first().ok_or(EnvelopeError::Length)?;
        match (first >> 4, first & 0x0f) {
            (TUNNEL_VERSION, KIND_DATAGRAM) => Ok(Self::Datagram),
            (TUNNEL_VERSION, KIND_REPLY) => Ok(Self::Reply),
            (TUNNEL_VERSION | REPORT_VERSION, KIND_HEARTBEAT) => Ok(Self::Heartbeat),
            (TUNNEL_VERSION | REPORT_VERSION, _) => Err(EnvelopeError::Kind),
            _ => Err(EnvelopeError::Version),
        }
    }

    pub(super) fn first_octet(self, version: u8) -> u8 {
        let kind = match self {
            Self::Datagram => KIND_DATAGRAM,
            Self::Reply => KIND_REPLY,
            Self::Heartbeat => KIND_HEARTBEAT,
        };
        version << 4 | kind
    }
}

impl Sender {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            node: reader.array()?,
            instance: reader.u8()?,
            epoch: reader.u8()?,
        })
    }

    pub(super) fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.node);
        out.extend_from_slice(&[self.instance, self.epoch]);
    }
}

impl From<Cargo> for Kind {
    fn from(cargo: Cargo) -> Self {
        match cargo {
            Cargo::Datagram => Self::Datagram,
            Cargo::Reply => Self::Reply,
        }
    }
}

impl Envelope {
    /// Appends everything in front of the tag for a datagram of `len` bytes.
    pub fn write_header(&self, len: u16, out: &mut Vec<u8>) {
        out.push(Kind::from(self.cargo).first_octet(TUNNEL_VERSION));
        self.sender.write(out);
        out.extend_from_slice(&self.counter.to_be_bytes());
        self.path.write(self.ecn, out);
        out.extend_from_slice(&len.to_be_bytes());
    }

    /// Reads an envelope and what it carries; nothing is authentic yet.
    ///
    /// # Errors
    /// [`EnvelopeError`] when the form is not that of a datagram in an envelope.
    pub fn parse(bytes: &[u8]) -> Result<Sealed<'_>, EnvelopeError> {
        let cargo = match Kind::of(bytes)? {
            Kind::Datagram => Cargo::Datagram,
            Kind::Reply => Cargo::Reply,
            Kind::Heartbeat => return Err(EnvelopeError::Kind),
        };
        Self::read(bytes, cargo).ok_or(EnvelopeError::Length)
    }

    fn read(bytes: &[u8], cargo: Cargo) -> Option<Sealed<'_>> {
        let mut reader = Reader::new(bytes.get(1..)?);
        let sender = Sender::read(&mut reader)?;
        let counter = reader.u64()?;
        let (path, ecn) = Path::read(&mut reader)?;
        let len = reader.u16()?;
        let header = &bytes[..bytes.len() - reader.rest().len()];
        let tag = reader.array()?;
        let payload = reader.rest();
        let envelope = Self {
            sender,
            counter,
            cargo,
            path,
            ecn,
        };
        (payload.len() == usize::from(len)).then_some(Sealed {
            envelope,
            header,
            tag,
            payload,
        })
    }
}

impl Path {
    /// Appends the ECN mark, the families and both addresses.
    pub(super) fn write(&self, ecn: Ecn, out: &mut Vec<u8>) {
        let flag = |address: SocketAddr, bit: u8| if address.is_ipv6() { bit } else { 0 };
        let families = flag(self.source, SOURCE_V6) | flag(self.destination, DESTINATION_V6);
        out.push(ecn.bits() | families);
        for address in [self.source, self.destination] {
            out.extend_from_slice(&address.port().to_be_bytes());
            match address.ip() {
                IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
                IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
            }
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Option<(Self, Ecn)> {
        let flags = reader.u8()?;
        let path = Self {
            source: read_address(reader, flags & SOURCE_V6 != 0)?,
            destination: read_address(reader, flags & DESTINATION_V6 != 0)?,
        };
        Some((path, Ecn::from_bits(flags)))
    }
}

impl Sealed<'_> {
    /// The part of the datagram that the tag covers; QUIC protects the rest.
    pub fn authenticated_payload(&self) -> &[u8] {
        &self.payload[..self.payload.len().min(AUTHENTICATED_PAYLOAD)]
    }
}

impl Ecn {
    /// The two bits of the IP header.
    pub fn bits(self) -> u8 {
        match self {
            Self::NotEct => 0b00,
            Self::Ect1 => 0b01,
            Self::Ect0 => 0b10,
            Self::Ce => 0b11,
        }
    }

    /// Reads the lowest two bits.
    pub fn from_bits(bits: u8) -> Self {
        match bits & 0b11 {
            0b00 => Self::NotEct,
            0b01 => Self::Ect1,
            0b10 => Self::Ect0,
            _ => Self::Ce,
        }
    }
}

fn read_address(reader: &mut Reader<'_>, v6: bool) -> Option<SocketAddr> {
    let port = reader.u16()?;
    let ip = if v6 {
        IpAddr::V6(Ipv6Addr::from(reader.array::<16>()?))
    } else {
        IpAddr::V4(Ipv4Addr::from(reader.array::<4>()?))
    };
    Some(SocketAddr::new(ip, port))
}

/// The version of envelopes, and of heartbeats without a report.
pub const TUNNEL_VERSION: u8 = 1;
/// The version of heartbeats with a report.
pub const REPORT_VERSION: u8 = 2;
/// Bytes of a tag.
pub const TAG_LEN: usize = 16;
/// How much of a client's datagram the tag covers: the header of any QUIC packet fits.
pub const AUTHENTICATED_PAYLOAD: usize = 64;
/// The longest envelope with its tag: both addresses IPv6.
pub const MAX_OVERHEAD: usize = 15 + 2 * 18 + 2 + TAG_LEN;

const KIND_DATAGRAM: u8 = 1;
const KIND_HEARTBEAT: u8 = 2;
const KIND_REPLY: u8 = 3;
const SOURCE_V6: u8 = 0b0100;
const DESTINATION_V6: u8 = 0b1000;

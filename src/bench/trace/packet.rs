use std::net::{IpAddr, SocketAddr};

use super::quic::{self, Kinds};

/// An IP packet as far as it can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct View<'a> {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) transport: Transport<'a>,
}

/// What an IP packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport<'a> {
    /// A TCP segment.
    Tcp(Segment<'a>),
    /// A UDP datagram.
    Udp(UdpDatagram<'a>),
    /// Something else, a fragment without its beginning, or a header that is cut off.
    Other,
}

/// A TCP segment (RFC 9293, section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment<'a> {
    pub(super) ports: Ports,
    pub(super) sequence: u32,
    pub(super) acknowledgment: u32,
    pub(super) flags: Flags,
    pub(super) payload: &'a [u8],
}

/// A UDP datagram (RFC 768).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UdpDatagram<'a> {
    pub(super) ports: Ports,
    pub(super) payload: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) source: u16,
    pub(super) destination: u16,
}

/// The control bits of a TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flags(pub(super) u8);

impl Flags {
    pub(super) const FIN: u8 = 0x01;
    pub(super) const SYN: u8 = 0x02;
    pub(super) const RST: u8 = 0x04;
    pub(super) const ACK: u8 = 0x10;

    pub(super) fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }
}

impl<'a> View<'a> {
    /// Reads an IPv4 or IPv6 packet; none if it is neither.
    pub(super) fn of(packet: &'a [u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => Self::of_ipv4(packet),
            6 => Self::of_ipv6(packet),
            _ => None,
        }
    }

    fn of_ipv4(packet: &'a [u8]) -> Option<Self> {
        let header: &[u8; 20] = packet.first_chunk()?;
        let header_len = usize::from(header[0] & 0x0f) * 4;
        let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let offset = u16::from_be_bytes([header[6], header[7]]) & 0x1fff;
        let body = packet.get(..total)?.get(header_len.max(20)..)?;
        Some(Self {
            source: IpAddr::from(*packet.get(12..)?.first_chunk::<4>()?),
            destination: IpAddr::from(*packet.get(16..)?.first_chunk::<4>()?),
            transport: if offset == 0 {
                Transport::of(header[9], body)
            } else {
                Transport::Other
            },
        })
    }

    fn of_ipv6(packet: &'a [u8]) -> Option<Self> {
        let header: &[u8; 40] = packet.first_chunk()?;
        let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
        let body = packet.get(40..)?.get(..len)?;
        Some(Self {
            source: IpAddr::from(*packet.get(8..)?.first_chunk::<16>()?),
            destination: IpAddr::from(*packet.get(24..)?.first_chunk::<16>()?),
            transport: after_extensions(header[6], body).unwrap_or(Transport::Other),
        })
    }

    /// Where the packet comes from, with the port.
    pub(super) fn from(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.source, self.transport.ports()?.source))
    }

    /// Where the packet goes to, with the port.
    pub(super) fn to(&self) -> Option<SocketAddr> {
        let ports = self.transport.ports()?;
        Some(SocketAddr::new(self.destination, ports.destination))
    }
}

impl<'a> Transport<'a> {
    fn of(protocol: u8, bytes: &'a [u8]) -> Self {
        let read = match protocol {
            TCP => Segment::of(bytes).map(Self::Tcp),
            UDP => UdpDatagram::of(bytes).map(Self::Udp),
            _ => None,
        };
        read.unwrap_or(Self::Other)
    }

    fn ports(&self) -> Option<Ports> {
        match self {
            Self::Tcp(segment) => Some(segment.ports),
            Self::Udp(datagram) => Some(datagram.ports),
            Self::Other => None,
        }
    }

    /// Whether this opens a connection: a SYN that answers none, or a client's Initial.
    pub(super) fn opens(&self) -> bool {
        match self {
            Self::Tcp(segment) => segment.flags.has(Flags::SYN) && !segment.flags.has(Flags::ACK),
            Self::Udp(datagram) => datagram.kinds().initial,
            Self::Other => false,
        }
    }
}

impl<'a> Segment<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let header: &[u8; 20] = bytes.first_chunk()?;
        let header_len = usize::from(header[12] >> 4) * 4;
        Some(Self {
            ports: Ports::of(header),
            sequence: u32::from_be_bytes(*bytes.get(4..)?.first_chunk()?),
            acknowledgment: u32::from_be_bytes(*bytes.get(8..)?.first_chunk()?),
            flags: Flags(header[13]),
            payload: bytes.get(header_len.max(20)..)?,
        })
    }

    /// The sequence number of the first byte of the payload.
    pub(super) fn payload_sequence(&self) -> u32 {
        let after_syn = u32::from(self.flags.has(Flags::SYN));
        self.sequence.wrapping_add(after_syn)
    }
}

impl<'a> UdpDatagram<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let header: &[u8; 8] = bytes.first_chunk()?;
        let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
        Some(Self {
            ports: Ports::of(header),
            payload: bytes.get(..len)?.get(8..)?,
        })
    }

    /// The QUIC packets in it.
    pub(super) fn kinds(&self) -> Kinds {
        quic::kinds(self.payload)
    }
}

impl Ports {
    fn of(header: &[u8]) -> Self {
        Self {
            source: u16::from_be_bytes([header[0], header[1]]),
            destination: u16::from_be_bytes([header[2], header[3]]),
        }
    }
}

/// How many bytes these are, as a figure.
pub(super) fn bytes(bytes: &[u8]) -> f64 {
    f64::from(u32::try_from(bytes.len()).unwrap_or(u32::MAX))
}

/// Passes the extension headers of IPv6 (RFC 8200, section 4.1) that stand before a transport.
fn after_extensions(mut next: u8, mut bytes: &[u8]) -> Option<Transport<'_>> {
    // Every header has at least eight bytes, so this ends with the packet.
    loop {
        let len = match next {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => 8 + 8 * usize::from(*bytes.get(1)?),
            FRAGMENT => {
                let offset = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?) >> 3;
                if offset != 0 {
                    return Some(Transport::Other);
                }
                8
            }
            protocol => return Some(Transport::of(protocol, bytes)),
        };
        next = *bytes.first()?;
        bytes = bytes.get(len..)?;
    }
}

const TCP: u8 = 6;
const UDP: u8 = 17;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

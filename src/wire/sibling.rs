use super::reader::Reader;
use super::{Ecn, Path};

/// What one process of a node hands to another, each in one message of a local socket.
///
/// ```text
///  0     kind
///        datagrams: ECN (2 bits), source is IPv6 (1 bit), destination is IPv6 (1 bit);
///                   source port and address, destination port and address;
///                   0, or 1 and the ID of the node that they reached first (3 bytes);
///                   size of a datagram (2 bytes); the datagrams
///        envelope:  what a peer sent
///        ending:    nothing
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SiblingMessage<'a> {
    /// Datagrams of one client for connections of the receiver, all of `size` bytes but the last,
    /// which may be shorter.
    Datagrams {
        /// Between which addresses they travelled.
        path: Path,
        /// The mark that they carried.
        ecn: Ecn,
        /// The node that they reached first, if that was a peer: its ID in network byte order.
        ingress: Option<[u8; 3]>,
        /// Bytes of each, at least 1.
        size: usize,
        /// All of them, at least one.
        bytes: &'a [u8],
    },
    /// A tunnel datagram that the sender cannot open and the receiver may.
    Envelope(&'a [u8]),
    /// The process that reads the node's sockets ends, and the node with it.
    Ending,
}

impl<'a> SiblingMessage<'a> {
    /// Reads a message; `None` when it has none of the forms.
    pub fn parse(message: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(message);
        match reader.u8()? {
            KIND_DATAGRAMS => {
                let (path, ecn) = Path::read(&mut reader)?;
                let ingress = match reader.u8()? {
                    0 => None,
                    _ => Some(reader.array()?),
                };
                let size = usize::from(reader.u16()?);
                let bytes = reader.rest();
                (size > 0 && !bytes.is_empty()).then_some(Self::Datagrams {
                    path,
                    ecn,
                    ingress,
                    size,
                    bytes,
                })
            }
            KIND_ENVELOPE => Some(Self::Envelope(reader.rest())),
            KIND_ENDING => reader.rest().is_empty().then_some(Self::Ending),
            _ => None,
        }
    }

    /// Appends what stands in front of the bytes that it carries, and gives those.
    pub fn write_header(&self, out: &mut Vec<u8>) -> &'a [u8] {
        match *self {
            Self::Datagrams {
                path,
                ecn,
                ingress,
                size,
                bytes,
            } => {
                out.push(KIND_DATAGRAMS);
                path.write(ecn, out);
                out.push(u8::from(ingress.is_some()));
                out.extend(ingress.into_iter().flatten());
                // No datagram is longer than 65535 bytes.
                let size = u16::try_from(size.min(bytes.len())).unwrap_or(u16::MAX);
                out.extend_from_slice(&size.to_be_bytes());
                bytes
            }
            Self::Envelope(bytes) => {
                out.push(KIND_ENVELOPE);
                bytes
            }
            Self::Ending => {
                out.push(KIND_ENDING);
                &[]
            }
        }
    }
}

/// The most bytes in front of those that a message carries: both addresses IPv6.
pub const MAX_SIBLING_HEADER: usize = 2 + 2 * 18 + 4 + 2;

const KIND_DATAGRAMS: u8 = 1;
const KIND_ENVELOPE: u8 = 2;
const KIND_ENDING: u8 = 3;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_back(message: SiblingMessage<'_>) {
        let mut bytes = Vec::new();
        let carried = message.write_header(&mut bytes);
        assert!(bytes.len() <= MAX_SIBLING_HEADER);
        bytes.extend_from_slice(carried);
        assert_eq!(SiblingMessage::parse(&bytes), Some(message));
    }

    #[test]
    fn every_message_is_read_back() {
        for (source, destination, ingress) in [
            ("192.0.2.1:1", "192.0.2.2:2", None),
            ("[2001:db8::1]:1", "[2001:db8::2]:2", Some([1, 2, 3])),
        ] {
            read_back(SiblingMessage::Datagrams {
                path: Path {
                    source: source.parse().unwrap(),
                    destination: destination.parse().unwrap(),
                },
                ecn: Ecn::Ce,
                ingress,
                size: 1200,
                bytes: &[7; 3000],
            });
        }
        read_back(SiblingMessage::Envelope(b"sealed"));
        read_back(SiblingMessage::Ending);
    }

    proptest! {
        #[test]
        fn parser_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Some(SiblingMessage::Datagrams { size, bytes, .. }) = SiblingMessage::parse(&bytes) {
                prop_assert!(size > 0 && !bytes.is_empty());
            }
        }
    }
}

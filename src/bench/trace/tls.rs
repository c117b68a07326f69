use std::fmt;

/// What TLS records show without keys (RFC 8446, section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// The client's offer.
    ClientHello,
    /// The node's choice.
    ServerHello,
    /// The node's wish for another key share (RFC 8446, section 4.1.4).
    HelloRetryRequest,
    /// A handshake message that only older versions send in the clear.
    Handshake,
    /// An alert in the clear.
    Alert,
    /// What middleboxes expect (RFC 8446, appendix D.4).
    ChangeCipherSpec,
    /// Anything under a key.
    Encrypted,
    /// No record of TLS.
    Unknown,
}

/// Follows the records in one direction of a TCP connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Records {
    header: Vec<u8>,
    /// The record that goes on, and how much of it is to come.
    open: Option<(Content, usize)>,
    lost: bool,
}

impl Records {
    /// Reads the next bytes of the stream, and gives what is in them, each once in a row.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> Vec<Content> {
        let mut contents = Vec::new();
        let mut found = |content| {
            if contents.last() != Some(&content) {
                contents.push(content);
            }
        };
        while !bytes.is_empty() {
            if self.lost {
                found(Content::Unknown);
                break;
            }
            if let Some((content, left)) = self.open {
                found(content);
                let len = left.min(bytes.len());
                bytes = &bytes[len..];
                self.open = (len < left).then_some((content, left - len));
                continue;
            }
            let missing = HEADER - self.header.len();
            let (header, rest) = bytes.split_at(missing.min(bytes.len()));
            self.header.extend_from_slice(header);
            bytes = rest;
            if self.header.len() == HEADER {
                let len = usize::from(u16::from_be_bytes([self.header[3], self.header[4]]));
                let content = Content::of(self.header[0], bytes);
                self.lost = content == Content::Unknown || self.header[1] != 3;
                found(content);
                self.open = (len > 0).then_some((content, len));
                self.header.clear();
            }
        }
        contents
    }

    /// Gives up: bytes of the stream are missing.
    pub(super) fn lose(&mut self) {
        self.lost = true;
    }
}

impl Content {
    fn of(kind: u8, body: &[u8]) -> Self {
        match (kind, body.first()) {
            (20, _) => Self::ChangeCipherSpec,
            (21, _) => Self::Alert,
            (22, Some(1)) => Self::ClientHello,
            (22, Some(2)) => {
                if body.get(RANDOM).is_some_and(|random| random == RETRY) {
                    Self::HelloRetryRequest
                } else {
                    Self::ServerHello
                }
            }
            (22, _) => Self::Handshake,
            (23, _) => Self::Encrypted,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClientHello => "ClientHello",
            Self::ServerHello => "ServerHello",
            Self::HelloRetryRequest => "HelloRetryRequest",
            Self::Handshake => "handshake",
            Self::Alert => "alert",
            Self::ChangeCipherSpec => "ChangeCipherSpec",
            Self::Encrypted => "encrypted",
            Self::Unknown => "data",
        })
    }
}

const HEADER: usize = 5;
/// Where a `ServerHello` has its random, behind type, length and version.
const RANDOM: std::ops::Range<usize> = 6..38;
/// The random of a `HelloRetryRequest`: the SHA-256 of that word (RFC 8446, section 4.1.3).
pub(super) const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

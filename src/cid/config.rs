use std::fmt;

use super::cipher::Cipher;
use super::{Cid, Key, Nonce, ServerId};

/// The config rotation bits of a connection ID: 0 to 6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConfigId(u8);

impl ConfigId {
    /// The largest ID; 7 marks an unroutable connection ID.
    pub const MAX: u8 = 6;

    /// Checks that the ID is at most [`Self::MAX`].
    pub fn new(id: u8) -> Result<Self, ConfigIdError> {
        if id > Self::MAX {
            Err(ConfigIdError(id))
        } else {
            Ok(Self(id))
        }
    }

    /// The ID as a number.
    pub fn get(self) -> u8 {
        self.0
    }

    /// The ID so many rotations later; the first follows the last.
    #[must_use]
    pub fn rotated(self, by: u32) -> Self {
        let count = u32::from(Self::MAX) + 1;
        let id = (u32::from(self.0) + by % count) % count;
        Self(id.to_be_bytes()[3])
    }

    /// Reads the bits of a connection ID's first octet; none for the unroutable 0b111.
    pub(super) fn of_first_octet(octet: u8) -> Option<Self> {
        Self::new(octet >> CONFIG_SHIFT).ok()
    }
}

impl fmt::Display for ConfigId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A number that is too large for a [`ConfigId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("config ID {0} is larger than {max}", max = ConfigId::MAX)]
pub struct ConfigIdError(pub u8);

/// What the low five bits of a connection ID's first octet hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstOctet {
    /// Random bits.
    Random,
    /// The length of the connection ID less one.
    Length,
}

/// One legal QUIC-LB configuration: how server ID and nonce become a connection ID and back.
///
/// Without a key they are written in plain text, and everyone can see which server a connection ID
/// leads to. With a key they are encrypted: with one AES block if they have 16 bytes together, else
/// with four passes (draft-ietf-quic-load-balancers-21, sections 5.4.1 and 5.4.2).
#[derive(Clone, Debug)]
pub struct CidConfig {
    id: ConfigId,
    server_id_len: u8,
    nonce_len: u8,
    first_octet: FirstOctet,
    cipher: Option<Cipher>,
}

impl CidConfig {
    /// The most bytes of server ID and nonce together.
    pub const MAX_LEN: usize = 19;

    /// Checks the lengths in bytes: a server ID of 1 to 15, a nonce of 4 to 18, and at most
    /// [`Self::MAX_LEN`] together.
    pub fn new(
        id: ConfigId,
        server_id_len: usize,
        nonce_len: usize,
        first_octet: FirstOctet,
        key: Option<&Key>,
    ) -> Result<Self, ConfigError> {
        let config = Self {
            id,
            server_id_len: ServerId::legal_len(server_id_len)
                .ok_or(ConfigError::ServerId(server_id_len))?,
            nonce_len: Nonce::legal_len(nonce_len).ok_or(ConfigError::Nonce(nonce_len))?,
            first_octet,
            cipher: key.map(Cipher::new),
        };
        if config.cid_len() > Cid::MAX_LEN {
            return Err(ConfigError::Sum(server_id_len, nonce_len));
        }
        Ok(config)
    }

    /// The config rotation bits.
    pub fn id(&self) -> ConfigId {
        self.id
    }

    /// Bytes of server ID.
    pub fn server_id_len(&self) -> usize {
        self.server_id_len.into()
    }

    /// Bytes of nonce.
    pub fn nonce_len(&self) -> usize {
        self.nonce_len.into()
    }

    /// Bytes of a whole connection ID: 6 to 20.
    pub fn cid_len(&self) -> usize {
        1 + self.server_id_len() + self.nonce_len()
    }

    /// What the low five bits of the first octet hold.
    pub fn first_octet(&self) -> FirstOctet {
        self.first_octet
    }

    /// Whether the configuration has a key.
    pub fn is_encrypted(&self) -> bool {
        self.cipher.is_some()
    }

    /// Makes the connection ID of a server ID and a nonce.
    ///
    /// `random_bits` fills the low five bits of the first octet, unless they hold the length. Under
    /// one key a nonce must never be used twice with the same server ID, and without a key it must
    /// be random; [`Minter`](super::Minter) sees to both.
    pub fn encode(
        &self,
        server_id: &ServerId,
        nonce: &Nonce,
        random_bits: u8,
    ) -> Result<Cid, EncodeError> {
        if server_id.len() != self.server_id_len() {
            return Err(EncodeError::ServerId {
                expected: self.server_id_len(),
                found: server_id.len(),
            });
        }
        if nonce.len() != self.nonce_len() {
            return Err(EncodeError::Nonce {
                expected: self.nonce_len(),
                found: nonce.len(),
            });
        }
        Ok(self.encode_fitting(server_id, nonce, random_bits))
    }

    /// Encodes a server ID and a nonce whose lengths are the configuration's.
    pub(super) fn encode_fitting(
        &self,
        server_id: &ServerId,
        nonce: &Nonce,
        random_bits: u8,
    ) -> Cid {
        let low_bits = match self.first_octet {
            FirstOctet::Random => random_bits & LOW_BITS,
            FirstOctet::Length => self.text_len(),
        };
        let mut cid = Cid::zeroed(1 + self.text_len());
        let (first, text) = cid.bytes_mut().split_at_mut(1);
        first[0] = self.id.0 << CONFIG_SHIFT | low_bits;
        let (to_server_id, to_nonce) = text.split_at_mut(self.server_id_len());
        to_server_id.copy_from_slice(server_id);
        to_nonce.copy_from_slice(nonce);
        if let Some(cipher) = &self.cipher {
            cipher.encrypt(text);
        }
        cid
    }

    /// Reads a connection ID whose end is known, as in a long header.
    ///
    /// Any bytes of the right length and config ID decode to something: only the caller knows
    /// whether such a server exists.
    pub fn decode(&self, cid: &[u8]) -> Result<Decoded, DecodeError> {
        let decoded = self.decode_prefix(cid)?;
        if cid.len() == self.cid_len() {
            Ok(decoded)
        } else {
            Err(DecodeError::TooLong {
                expected: self.cid_len(),
                found: cid.len(),
            })
        }
    }

    /// Reads a connection ID from the front of longer bytes, as in a short header, which does not
    /// say where it ends.
    pub fn decode_prefix(&self, bytes: &[u8]) -> Result<Decoded, DecodeError> {
        let too_short = DecodeError::TooShort {
            expected: self.cid_len(),
            found: bytes.len(),
        };
        let &first = bytes.first().ok_or(too_short)?;
        let id = ConfigId::of_first_octet(first).ok_or(DecodeError::Unroutable)?;
        if id != self.id {
            return Err(DecodeError::UnknownConfig(id));
        }
        let cid = bytes.get(..self.cid_len()).ok_or(too_short)?;
        if self.first_octet == FirstOctet::Length && first & LOW_BITS != self.text_len() {
            return Err(DecodeError::LengthMismatch {
                expected: self.cid_len(),
                encoded: usize::from(first & LOW_BITS) + 1,
            });
        }
        Ok(self.open(&cid[1..]))
    }

    /// A nonce of the configuration's length whose bytes are still to be written.
    pub(super) fn blank_nonce(&self) -> Nonce {
        Nonce::zeroed(self.nonce_len)
    }

    fn open(&self, text: &[u8]) -> Decoded {
        let mut bytes = [0; Self::MAX_LEN];
        let plain = &mut bytes[..text.len()];
        plain.copy_from_slice(text);
        if let Some(cipher) = &self.cipher {
            cipher.decrypt(plain);
        }
        let mut server_id = ServerId::zeroed(self.server_id_len);
        let mut nonce = self.blank_nonce();
        let (from_server_id, from_nonce) = plain.split_at(self.server_id_len());
        server_id.bytes_mut().copy_from_slice(from_server_id);
        nonce.bytes_mut().copy_from_slice(from_nonce);
        Decoded {
            config_id: self.id,
            server_id,
            nonce,
        }
    }

    /// Bytes after the first octet, which is what the first octet encodes as the length.
    fn text_len(&self) -> u8 {
        self.server_id_len + self.nonce_len
    }
}

/// What a connection ID says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The configuration that it was made under.
    pub config_id: ConfigId,
    /// Where it leads.
    pub server_id: ServerId,
    /// What makes it unique.
    pub nonce: Nonce,
}

/// Why lengths do not make a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The server ID would be too short or too long.
    #[error("a server ID has 1 to 15 bytes, not {0}")]
    ServerId(usize),
    /// The nonce would be too short or too long.
    #[error("a nonce has 4 to 18 bytes, not {0}")]
    Nonce(usize),
    /// The connection ID would have more than 20 bytes.
    #[error("server ID and nonce have at most 19 bytes together, not {0} + {1}")]
    Sum(usize, usize),
}

/// Why a server ID and a nonce do not fit a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The server ID has another length.
    #[error("the configuration has a server ID of {expected} bytes, not {found}")]
    ServerId {
        /// Bytes that the configuration has.
        expected: usize,
        /// Bytes that were given.
        found: usize,
    },
    /// The nonce has another length.
    #[error("the configuration has a nonce of {expected} bytes, not {found}")]
    Nonce {
        /// Bytes that the configuration has.
        expected: usize,
        /// Bytes that were given.
        found: usize,
    },
}

/// Why bytes are not a connection ID of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The config rotation bits are 0b111, so there is no server ID in it.
    #[error("the connection ID is marked unroutable (config rotation bits 0b111)")]
    Unroutable,
    /// The config rotation bits name a configuration that is not known here.
    #[error("the connection ID belongs to configuration {0}, which is not known here")]
    UnknownConfig(ConfigId),
    /// There are fewer bytes than the configuration needs.
    #[error("a connection ID of this configuration has {expected} bytes, but there are {found}")]
    TooShort {
        /// Bytes that the configuration has.
        expected: usize,
        /// Bytes that were given.
        found: usize,
    },
    /// There are more bytes than the configuration has.
    #[error("a connection ID of this configuration has {expected} bytes, but there are {found}")]
    TooLong {
        /// Bytes that the configuration has.
        expected: usize,
        /// Bytes that were given.
        found: usize,
    },
    /// The first octet encodes another length than the configuration has.
    #[error(
        "the first octet says that the connection ID has {encoded} bytes, \
         but in this configuration it has {expected}"
    )]
    LengthMismatch {
        /// Bytes that the configuration has.
        expected: usize,
        /// Bytes that the first octet encodes.
        encoded: usize,
    },
}

const CONFIG_SHIFT: u32 = 5;
const LOW_BITS: u8 = 0b0001_1111;

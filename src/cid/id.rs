use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use super::hex::{self, Hex, ParseError};

/// Defines a byte string of bounded length that is stored inline. Unused bytes stay zero, so that
/// the derived equality and hash are those of the used bytes.
macro_rules! bounded_bytes {
    ($(#[$doc:meta])* $name:ident, $what:literal, $min:literal..=$max:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name {
            len: u8,
            bytes: [u8; $max],
        }

        impl $name {
            /// The fewest bytes.
            pub const MIN_LEN: usize = $min;
            /// The most bytes.
            pub const MAX_LEN: usize = $max;

            /// Copies the bytes; fails if there are fewer than [`Self::MIN_LEN`] or more than
            /// [`Self::MAX_LEN`].
            pub fn new(bytes: &[u8]) -> Result<Self, LengthError> {
                let len = Self::legal_len(bytes.len());
                let mut value = Self::zeroed(len.ok_or_else(|| Self::length_error(bytes.len()))?);
                value.bytes_mut().copy_from_slice(bytes);
                Ok(value)
            }

            /// The length in the form that is stored, if it is within the bounds.
            pub(super) fn legal_len(len: usize) -> Option<u8> {
                let len = u8::try_from(len).ok()?;
                ($min..=$max).contains(&len).then_some(len)
            }

            /// A value of a legal length whose bytes are still to be written.
            pub(super) fn zeroed(len: u8) -> Self {
                Self {
                    len,
                    bytes: [0; $max],
                }
            }

            pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
                &mut self.bytes[..usize::from(self.len)]
            }

            fn length_error(len: usize) -> LengthError {
                LengthError {
                    what: $what,
                    len,
                    min: $min,
                    max: $max,
                }
            }
        }

        impl Deref for $name {
            type Target = [u8];

            fn deref(&self) -> &[u8] {
                &self.bytes[..usize::from(self.len)]
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                self
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = LengthError;

            fn try_from(bytes: &[u8]) -> Result<Self, LengthError> {
                Self::new(bytes)
            }
        }

        impl FromStr for $name {
            type Err = ParseError;

            fn from_str(text: &str) -> Result<Self, ParseError> {
                let mut bytes = [0; $max];
                let len = hex::decode(text, &mut bytes)?;
                let bytes = bytes.get(..len).ok_or_else(|| Self::length_error(len))?;
                Ok(Self::new(bytes)?)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                Hex(self).fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), Hex(self))
            }
        }
    };
}

bounded_bytes! {
    /// A connection ID: up to 20 bytes, the most that QUIC versions 1 and 2 allow (RFC 9000,
    /// section 17.2).
    ///
    /// It is shown and parsed as hexadecimal digits.
    Cid, "connection ID", 0..=20
}

bounded_bytes! {
    /// Names the server that a connection ID leads to: 1 to 15 bytes.
    ///
    /// It is shown and parsed as hexadecimal digits.
    ServerId, "server ID", 1..=15
}

bounded_bytes! {
    /// Makes a connection ID unique among those of one server ID: 4 to 18 bytes.
    ///
    /// It is shown and parsed as hexadecimal digits.
    Nonce, "nonce", 4..=18
}

impl ServerId {
    /// Takes an array whose length is legal, which the compiler checks.
    pub fn from_array<const N: usize>(bytes: [u8; N]) -> Self {
        const { assert!(N >= Self::MIN_LEN && N <= Self::MAX_LEN) }
        #[expect(clippy::cast_possible_truncation, reason = "it is at most MAX_LEN")]
        let mut value = Self::zeroed(N as u8);
        value.bytes_mut().copy_from_slice(&bytes);
        value
    }
}

impl Cid {
    /// The fewest bytes of an unroutable connection ID: seven of them are random.
    pub const MIN_UNROUTABLE_LEN: usize = 8;

    /// Makes a connection ID that carries no server ID: config rotation bits 0b111 and the length
    /// encoded, the other bytes from `random`, whose length becomes the connection ID's.
    ///
    /// Fails if `random` has fewer than [`Self::MIN_UNROUTABLE_LEN`] or more than
    /// [`Self::MAX_LEN`] bytes (draft-ietf-quic-load-balancers-21, section 3.2).
    pub fn unroutable(random: &[u8]) -> Result<Self, LengthError> {
        if random.len() < Self::MIN_UNROUTABLE_LEN {
            return Err(LengthError {
                min: Self::MIN_UNROUTABLE_LEN,
                ..Self::length_error(random.len())
            });
        }
        let mut cid = Self::new(random)?;
        cid.bytes[0] = UNROUTABLE_BITS | (cid.len - 1);
        Ok(cid)
    }
}

/// A length that a value of this kind cannot have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a {what} has {legal} bytes, not {len}", legal = Legal(*min, *max))]
pub struct LengthError {
    what: &'static str,
    len: usize,
    min: usize,
    max: usize,
}

impl LengthError {
    /// The error of a value that has one legal length only.
    pub(super) fn exact(what: &'static str, legal: usize, len: usize) -> Self {
        Self {
            what,
            len,
            min: legal,
            max: legal,
        }
    }
}

struct Legal(usize, usize);

impl fmt::Display for Legal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(min, max) if min == max => write!(f, "{min}"),
            Self(min, max) => write!(f, "{min} to {max}"),
        }
    }
}

const UNROUTABLE_BITS: u8 = 0b1110_0000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_outside_the_bounds_are_refused() {
        assert!(Cid::new(&[]).is_ok());
        assert!(Cid::new(&[0; 20]).is_ok());
        assert!(Cid::new(&[0; 21]).is_err());
        assert!(ServerId::new(&[]).is_err());
        assert!(ServerId::new(&[0; 16]).is_err());
        assert!(Nonce::new(&[0; 3]).is_err());
        assert!(Nonce::new(&[0; 19]).is_err());
        let error = "0011".parse::<Nonce>().unwrap_err();
        assert_eq!(error.to_string(), "a nonce has 4 to 18 bytes, not 2");
        let error = "00".repeat(300).parse::<ServerId>().unwrap_err();
        assert_eq!(error.to_string(), "a server ID has 1 to 15 bytes, not 300");
    }

    #[test]
    fn equal_bytes_of_different_length_differ() {
        assert_ne!(Cid::new(&[0; 4]).unwrap(), Cid::new(&[0; 5]).unwrap());
        assert_eq!(Cid::new(&[7; 4]).unwrap(), "07070707".parse().unwrap());
    }

    #[test]
    fn an_unroutable_cid_says_so_and_encodes_its_length() {
        for len in 8..=20 {
            let cid = Cid::unroutable(&vec![0x55; len]).unwrap();
            assert_eq!(cid.len(), len);
            assert_eq!(usize::from(cid[0]), 0b1110_0000 | (len - 1));
            assert!(cid[1..].iter().all(|&byte| byte == 0x55));
        }
        let error = Cid::unroutable(&[0; 7]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a connection ID has 8 to 20 bytes, not 7"
        );
        assert!(Cid::unroutable(&[0; 21]).is_err());
    }
}

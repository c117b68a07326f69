use std::fmt;
use std::str::FromStr;

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::hex::{self, ParseError};
use super::id::LengthError;

/// The AES-128 key of an encrypted configuration.
///
/// It never shows its bytes and erases them when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Key([u8; Self::LEN]);

impl Key {
    /// The number of bytes.
    pub const LEN: usize = 16;

    /// Takes the bytes as they are; they should come from a key derivation or a random source.
    pub fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    pub(super) fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl FromStr for Key {
    type Err = ParseError;

    /// Reads exactly 32 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut bytes = Zeroizing::new([0; Self::LEN]);
        match hex::decode(text, &mut *bytes)? {
            Self::LEN => Ok(Self(*bytes)),
            len => Err(LengthError::exact("key", Self::LEN, len).into()),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_hides_the_key() {
        let key = "8f95f09245765f80256934e50c66207f".parse::<Key>().unwrap();
        assert_eq!(key.as_bytes()[..2], [0x8f, 0x95]);
        assert_eq!(format!("{key:?}"), "Key(..)");
    }

    #[test]
    fn a_key_has_16_bytes() {
        for text in ["", "00", &"00".repeat(15), &"00".repeat(17)] {
            let error = text.parse::<Key>().unwrap_err().to_string();
            assert!(error.starts_with("a key has 16 bytes, not "), "{error}");
        }
    }
}

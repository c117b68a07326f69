//! Hexadecimal digits to bytes and back, without allocating.

use std::fmt;

use super::LengthError;

/// Shows bytes as lower-case hexadecimal digits.
pub(crate) struct Hex<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Why a text is not the hexadecimal form of a value.
///
/// The text itself is not part of the error, because it may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// A digit is missing: two make a byte.
    #[error("{0} hexadecimal digits are an odd number; two make a byte")]
    Odd(usize),
    /// A byte of the text is no hexadecimal digit; the position counts from 1.
    #[error("character {0} is not a hexadecimal digit")]
    NotHex(usize),
    /// The value has an illegal length.
    #[error(transparent)]
    Length(#[from] LengthError),
}

/// Writes the bytes of `text` to the front of `out` and returns how many there were.
///
/// Whatever does not fit into `out` is checked and counted, but not written.
pub(crate) fn decode(text: &str, out: &mut [u8]) -> Result<usize, ParseError> {
    let digit = |at: usize, byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
            .ok_or(ParseError::NotHex(at + 1))
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    for (index, &[high, low]) in pairs.iter().enumerate() {
        let byte = digit(2 * index, high)? << 4 | digit(2 * index + 1, low)?;
        if let Some(slot) = out.get_mut(index) {
            *slot = byte;
        }
    }
    if let &[last] = rest {
        digit(2 * pairs.len(), last)?;
        return Err(ParseError::Odd(text.len()));
    }
    Ok(pairs.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_of_both_cases_are_read() {
        let mut out = [0; 3];
        assert_eq!(decode("00fFA5", &mut out), Ok(3));
        assert_eq!(out, [0x00, 0xff, 0xa5]);
        assert_eq!(Hex(&out).to_string(), "00ffa5");
    }

    #[test]
    fn what_is_not_hexadecimal_is_refused_with_its_place() {
        let mut out = [0; 3];
        assert_eq!(decode("0g", &mut out), Err(ParseError::NotHex(2)));
        assert_eq!(decode("00:11", &mut out), Err(ParseError::NotHex(3)));
        assert_eq!(decode("00é", &mut out), Err(ParseError::NotHex(3)));
        assert_eq!(decode("000", &mut out), Err(ParseError::Odd(3)));
        assert_eq!(decode("00+", &mut out), Err(ParseError::NotHex(3)));
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let mut out = [0; 1];
        assert_eq!(decode("0102030405", &mut out), Ok(5));
        assert_eq!(out, [1]);
    }
}

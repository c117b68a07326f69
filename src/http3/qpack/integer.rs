//! Integers with a prefix (RFC 7541, section 5.1; RFC 9204, section 4.1.1).

#![expect(
    clippy::cast_possible_truncation,
    reason = "each cast takes the low bits of an integer that is shifted"
)]

use bytes::BufMut;

use crate::http3::{Rules, Violation, varint};

/// Takes an integer off the front whose first byte has `prefix` bits of it.
///
/// # Errors
/// When it is cut, or larger than 62 bits; padding with zeros counts as size.
pub(super) fn take(input: &mut &[u8], prefix: u32, rules: Rules) -> Result<u64, Violation> {
    let (first, mut rest) = input.split_first().ok_or(Violation::TruncatedSection)?;
    let most = (1 << prefix) - 1;
    let mut value = u64::from(*first) & most;
    if value == most {
        let mut shift = 0;
        loop {
            let (byte, after) = rest.split_first().ok_or(Violation::TruncatedSection)?;
            rest = after;
            let part = u64::from(byte & 0x7f);
            if shift > 56 {
                rules.refuse(Violation::LargeInteger)?;
            }
            let part = part.checked_shl(shift).unwrap_or(0);
            value = value.saturating_add(part);
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        if value > varint::MAX {
            rules.refuse(Violation::LargeInteger)?;
        }
    }
    *input = rest;
    Ok(value)
}

/// Appends an integer behind the `flags` in the first byte.
pub(super) fn put(out: &mut impl BufMut, flags: u8, prefix: u32, value: usize) {
    let most = (1_usize << prefix) - 1;
    if value < most {
        out.put_u8(flags | value as u8);
        return;
    }
    out.put_u8(flags | most as u8);
    let mut rest = value - most;
    while rest >= 0x80 {
        out.put_u8(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.put_u8(rest as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn taken(bytes: &[u8], prefix: u32) -> Result<u64, Violation> {
        take(&mut &*bytes, prefix, Rules::default())
    }

    /// RFC 7541, appendix C.1.
    #[test]
    fn the_examples_of_the_rfc_are_read() {
        assert_eq!(taken(b"\x0a", 5), Ok(10));
        assert_eq!(taken(b"\x1f\x9a\x0a", 5), Ok(1337));
        assert_eq!(taken(b"\x2a", 8), Ok(42));
    }

    #[test]
    fn an_integer_ends_and_has_62_bits() {
        assert_eq!(taken(b"", 5), Err(Violation::TruncatedSection));
        assert_eq!(taken(b"\x1f", 5), Err(Violation::TruncatedSection));
        assert_eq!(taken(b"\x1f\x80", 5), Err(Violation::TruncatedSection));
        let mut largest = vec![0xff];
        put_u64(&mut largest, varint::MAX - 0xff);
        assert_eq!(taken(&largest, 8), Ok(varint::MAX));
        let mut larger = vec![0xff];
        put_u64(&mut larger, varint::MAX - 0xfe);
        assert_eq!(taken(&larger, 8), Err(Violation::LargeInteger));
        let padded = [&[0x1f][..], &[0x80; 30], &[0]].concat();
        assert_eq!(taken(&padded, 5), Err(Violation::LargeInteger));
    }

    fn put_u64(out: &mut Vec<u8>, mut value: u64) {
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    }

    proptest! {
        #[test]
        fn a_value_survives(value in any::<u32>(), shift in 0..32_u32, prefix in 3..=8_u32) {
            let value = (value >> shift) as usize;
            let mut out = Vec::new();
            put(&mut out, 0, prefix, value);
            prop_assert_eq!(taken(&out, prefix), Ok(value as u64));
        }
    }
}

//! Variable-length integers (RFC 9000, section 16).

use bytes::BufMut;

/// The largest value, 2^62 - 1.
pub(crate) const MAX: u64 = (1 << 62) - 1;

/// Takes an integer off the front; none if it is not whole.
pub(crate) fn take(input: &mut &[u8]) -> Option<u64> {
    let (value, rest) = split(input)?;
    *input = rest;
    Some(value)
}

/// The integer at the front, and what follows.
pub(crate) fn split(input: &[u8]) -> Option<(u64, &[u8])> {
    let first = *input.first()?;
    let len = length_of(first);
    let (integer, rest) = input.split_at_checked(len)?;
    let value = integer
        .iter()
        .fold(0, |value, byte| value << 8 | u64::from(*byte));
    Some((value & (MAX >> (64 - 8 * len)), rest))
}

/// How many bytes an integer has that begins with this one.
pub(crate) fn length_of(first: u8) -> usize {
    1 << (first >> 6)
}

/// Appends the shortest form of a value, which is at most [`MAX`].
pub(crate) fn put(out: &mut impl BufMut, value: u64) {
    debug_assert!(value <= MAX, "a value of 62 bits");
    match value {
        0..0x40 => out.put_uint(value, 1),
        0x40..0x4000 => out.put_uint(value | 0x4000, 2),
        0x4000..0x4000_0000 => out.put_uint(value | 0x8000_0000, 4),
        _ => out.put_u64(value | 0xc000_0000_0000_0000),
    }
}

/// How many bytes the shortest form of a value has.
pub(crate) fn len(value: u64) -> usize {
    match value {
        0..0x40 => 1,
        0x40..0x4000 => 2,
        0x4000..0x4000_0000 => 4,
        _ => 8,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 9000, appendix A.1.
    #[test]
    fn the_examples_of_the_rfc_are_read() {
        for (bytes, value) in [
            (
                &b"\xc2\x19\x7c\x5e\xff\x14\xe8\x8c"[..],
                151_288_809_941_952_652,
            ),
            (b"\x9d\x7f\x3e\x7d", 494_878_333),
            (b"\x7b\xbd", 15_293),
            (b"\x25", 37),
            (b"\x40\x25", 37),
        ] {
            assert_eq!(split(bytes), Some((value, &[][..])));
            for cut in 0..bytes.len() {
                assert_eq!(split(&bytes[..cut]), None, "{cut} bytes of {value}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_value_survives_its_shortest_form(value in 0..=MAX, shift in 0..62_u32) {
            let value = value >> shift;
            let mut out = Vec::new();
            put(&mut out, value);
            prop_assert_eq!(out.len(), len(value));
            let mut rest = &out[..];
            prop_assert_eq!(take(&mut rest), Some(value));
            prop_assert!(rest.is_empty());
        }
    }
}

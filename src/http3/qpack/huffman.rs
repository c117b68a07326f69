//! The Huffman code of field values and names (RFC 7541, section 5.2 and appendix B).
//!
//! The code is canonical: the lengths alone define it, and all tables are computed from them at compile
//! time. Codes of up to eight bits, which is all of what fields are usually made of, are decoded by one
//! look into a table of 512 bytes.

#![expect(
    clippy::cast_possible_truncation,
    reason = "codes have 30 bits and symbols nine"
)]

use bytes::BufMut;

use crate::http3::{Rules, Violation};

/// Appends the decoded string.
///
/// # Errors
/// [`Violation::HuffmanEnd`] for EOS, [`Violation::HuffmanPadding`] for an end that is longer than seven
/// bits or no prefix of EOS.
pub(super) fn decode(
    mut input: &[u8],
    out: &mut impl BufMut,
    rules: Rules,
) -> Result<(), Violation> {
    // The bits that are not decoded yet, from the highest on.
    let mut bits: u64 = 0;
    let mut held: u32 = 0;
    let mut decoded = [0; CHUNK];
    let mut count = 0;
    loop {
        if held < LONGEST as u32 {
            (bits, held, input) = refill(bits, held, input);
        }
        let quick = QUICK[usize::from((bits >> 56) as u8)];
        let (symbol, length) = if quick.length > 0 {
            (u16::from(quick.symbol), u32::from(quick.length))
        } else {
            long(bits)
        };
        if length > held {
            break;
        }
        bits <<= length;
        held -= length;
        match u8::try_from(symbol) {
            Ok(byte) => {
                decoded[count] = byte;
                count += 1;
            }
            Err(_) => rules.refuse(Violation::HuffmanEnd)?,
        }
        if count == CHUNK {
            out.put_slice(&decoded);
            count = 0;
        }
    }
    out.put_slice(&decoded[..count]);
    let padding = bits | u64::MAX.checked_shr(held).unwrap_or(0);
    if held > 7 || padding != u64::MAX {
        rules.refuse(Violation::HuffmanPadding)?;
    }
    Ok(())
}

/// How many bytes the encoded string has.
pub(super) fn encoded_len(input: &[u8]) -> usize {
    let bits: usize = input
        .iter()
        .map(|byte| usize::from(LENGTHS[usize::from(*byte)]))
        .sum();
    bits.div_ceil(8)
}

/// Appends the encoded string.
pub(super) fn encode(input: &[u8], out: &mut impl BufMut) {
    let mut bits: u64 = 0;
    let mut held: u32 = 0;
    for byte in input {
        let length = u32::from(LENGTHS[usize::from(*byte)]);
        bits = bits << length | u64::from(CODES[usize::from(*byte)]);
        held += length;
        if held >= 32 {
            held -= 32;
            out.put_u32((bits >> held) as u32);
        }
    }
    while held >= 8 {
        held -= 8;
        out.put_u8((bits >> held) as u8);
    }
    if held > 0 {
        out.put_u8((bits << (8 - held)) as u8 | (0xff >> held));
    }
}

fn refill(mut bits: u64, mut held: u32, mut input: &[u8]) -> (u64, u32, &[u8]) {
    if held < 32
        && let Some((four, rest)) = input.split_first_chunk()
    {
        bits |= u64::from(u32::from_be_bytes(*four)) << (32 - held);
        held += 32;
        input = rest;
    }
    while held <= 56
        && let Some((byte, rest)) = input.split_first()
    {
        bits |= u64::from(*byte) << (56 - held);
        held += 8;
        input = rest;
    }
    (bits, held, input)
}

/// The symbol and the length of the code at the front, which has more than eight bits.
fn long(bits: u64) -> (u16, u32) {
    let window = (bits >> (64 - LONGEST)) as u32;
    let mut length = 9;
    while length < LONGEST && window >= AFTER[length] {
        length += 1;
    }
    let code = window >> (LONGEST - length);
    let index = usize::from(BEFORE[length]) + (code - FIRST[length]) as usize;
    (SORTED[index], length as u32)
}

#[derive(Clone, Copy)]
struct Quick {
    symbol: u8,
    /// 0 for a code of more than eight bits.
    length: u8,
}

const LONGEST: usize = 30;

/// Appending byte by byte would look for room as often.
const CHUNK: usize = 64;

/// The symbols, 256 for EOS, by length of their code and value.
const SORTED: [u16; 257] = {
    let mut sorted = [0; 257];
    let (mut length, mut index) = (1, 0);
    while length <= LONGEST {
        let mut symbol = 0;
        while symbol < 257 {
            if LENGTHS[symbol] as usize == length {
                sorted[index] = symbol as u16;
                index += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    sorted
};

/// How many codes are shorter than a length.
const BEFORE: [u16; LONGEST + 1] = {
    let mut before = [0; LONGEST + 1];
    let mut length = 1;
    while length <= LONGEST {
        let mut symbol = 0;
        while symbol < 257 {
            if (LENGTHS[symbol] as usize) < length {
                before[length] += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    before
};

/// The first code of each length.
const FIRST: [u32; LONGEST + 1] = {
    let mut first = [0; LONGEST + 1];
    let mut length = 2;
    while length <= LONGEST {
        let shorter = (BEFORE[length] - BEFORE[length - 1]) as u32;
        first[length] = (first[length - 1] + shorter) << 1;
        length += 1;
    }
    first
};

/// The first code after those of a length, in as many bits as the longest has.
const AFTER: [u32; LONGEST + 1] = {
    let mut after = [0; LONGEST + 1];
    let mut length = 1;
    while length < LONGEST {
        let last = FIRST[length] + (BEFORE[length + 1] - BEFORE[length]) as u32;
        after[length] = last << (LONGEST - length);
        length += 1;
    }
    after
};

static CODES: [u32; 257] = {
    let mut codes = [0; 257];
    let mut index = 0;
    while index < 257 {
        let symbol = SORTED[index] as usize;
        let length = LENGTHS[symbol] as usize;
        codes[symbol] = FIRST[length] + (index as u32 - BEFORE[length] as u32);
        index += 1;
    }
    codes
};

static QUICK: [Quick; 256] = {
    let mut quick = [Quick {
        symbol: 0,
        length: 0,
    }; 256];
    let mut index = 0;
    while index < 257 {
        let symbol = SORTED[index];
        let length = LENGTHS[symbol as usize];
        if length <= 8 {
            let first = (FIRST[length as usize] + (index as u32 - BEFORE[length as usize] as u32))
                << (8 - length);
            let mut more = 0;
            while more < 1 << (8 - length) {
                quick[first as usize + more] = Quick {
                    symbol: symbol as u8,
                    length,
                };
                more += 1;
            }
        }
        index += 1;
    }
    quick
};

/// The length of each symbol's code in bits; the last is EOS.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(input: &[u8]) -> Result<Vec<u8>, Violation> {
        let mut out = Vec::new();
        decode(input, &mut out, Rules::default()).map(|()| out)
    }

    /// RFC 7541, appendix C.4 and C.6.
    #[test]
    fn the_examples_of_the_rfc_are_read_and_written() {
        for (text, code) in [
            (
                "www.example.com",
                &b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"[..],
            ),
            ("no-cache", b"\xa8\xeb\x10\x64\x9c\xbf"),
            ("custom-key", b"\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f"),
            ("custom-value", b"\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf"),
            ("302", b"\x64\x02"),
            ("private", b"\xae\xc3\x77\x1a\x4b"),
            ("gzip", b"\x9b\xd9\xab"),
            ("", b""),
        ] {
            let mut out = Vec::new();
            encode(text.as_bytes(), &mut out);
            assert_eq!(out, code, "{text}");
            assert_eq!(encoded_len(text.as_bytes()), code.len());
            assert_eq!(decoded(code).as_deref(), Ok(text.as_bytes()));
        }
    }

    /// RFC 7541, appendix B.
    #[test]
    fn codes_computed_from_their_lengths_are_those_of_the_rfc() {
        for (symbol, code) in [
            (usize::from(b'0'), 0x0),
            (usize::from(b'z'), 0x7b),
            (usize::from(b'!'), 0x3f8),
            (0, 0x1ff8),
            (127, 0xfff_fffc),
            (255, 0x3ff_ffee),
            (256, 0x3fff_ffff),
        ] {
            assert_eq!(CODES[symbol], code, "symbol {symbol}");
        }
    }

    #[test]
    fn padding_is_the_shortest_prefix_of_the_end() {
        assert_eq!(decoded(b"\x1f").as_deref(), Ok(&b"a"[..]));
        for bad in [
            // Ones are missing, or there are eight.
            &b"\x18"[..],
            b"\x1e",
            b"\x1f\xff",
            b"\xff",
            b"\xff\xff\xff",
        ] {
            assert_eq!(decoded(bad), Err(Violation::HuffmanPadding), "{bad:x?}");
        }
        assert_eq!(decoded(b"\xff\xff\xff\xff"), Err(Violation::HuffmanEnd));
        let within = b"\x1f\xff\xff\xff\xfc\x7f";
        assert!(decoded(within).is_err(), "EOS within a string");
    }

    proptest! {
        #[test]
        fn any_string_survives(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut out = Vec::new();
            encode(&bytes, &mut out);
            prop_assert_eq!(out.len(), encoded_len(&bytes));
            prop_assert_eq!(decoded(&out), Ok(bytes));
        }

        #[test]
        fn any_bytes_decode_to_what_encodes_to_them_or_are_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            if let Ok(text) = decoded(&bytes) {
                let mut out = Vec::new();
                encode(&text, &mut out);
                prop_assert_eq!(out, bytes);
            }
        }
    }
}

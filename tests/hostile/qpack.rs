//! Field sections and instructions that do not decode, or to too much.

use wayhold::http3::Code;

use crate::row::{
    Expect, Row, closed_by, encoded_get, frame, get, headers, integer, line, refused, section,
};

pub(crate) fn rows() -> Vec<Row> {
    [references(), strings(), instructions(), expansion()].concat()
}

fn fails(name: &'static str, bytes: Vec<u8>) -> Row {
    refused(name, bytes, Expect::Close(Code::DecompressionFailed))
}

/// A GET and one more line.
fn with(encoded: &[u8]) -> Vec<u8> {
    section(&[&encoded_get()[..], encoded].concat())
}

fn references() -> Vec<Row> {
    let prefixed = |prefix: &[u8]| frame(1, &[prefix, &encoded_get()].concat());
    vec![
        fails("a section that needs an insertion", prefixed(&[1, 0])),
        fails(
            "an insert count over 62 bits",
            prefixed(&[
                0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0,
            ]),
        ),
        fails("a negative base", prefixed(&[0, 0x80])),
        fails(
            "a base that never ends",
            prefixed(&[&[0, 0x7f][..], &[0x80; 20], &[0]].concat()),
        ),
        fails("a dynamic entry", with(&[0x80])),
        fails("a name from a dynamic entry", with(b"\x40\x01x")),
        fails("an entry behind the base", with(&[0x10])),
        fails("a name from an entry behind the base", with(b"\x00\x01x")),
        fails("the static entry 99", with(&integer(0xc0, 6, 99))),
        fails(
            "a name from the static entry 2^61",
            with(&[integer(0x50, 4, 1 << 61), b"\x01x".to_vec()].concat()),
        ),
        fails("half a prefix", frame(1, &[0])),
        fails(
            "trailers without a prefix",
            [get(&[]), frame(1, b"")].concat(),
        ),
    ]
}

fn strings() -> Vec<Row> {
    let end = [0xff, 0xff, 0xff, 0xff];
    let value = |huffman: &[u8]| {
        [
            b"\x21x",
            &integer(0x80, 7, huffman.len() as u64)[..],
            huffman,
        ]
        .concat()
    };
    vec![
        fails(
            "a name over 62 bits",
            with(&[
                0x27, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
            ]),
        ),
        fails(
            "a length padded with zeros",
            with(&[&[0x27][..], &[0x80; 30], &[0]].concat()),
        ),
        fails("a length that is cut", with(&[0x27, 0x80])),
        fails("a name that is cut", with(b"\x25abc")),
        fails("a value that is cut", with(b"\x21x\x05abc")),
        fails(
            "a value of 2^62 - 1 bytes",
            with(&[b"\x21x", &integer(0, 7, (1 << 62) - 1)[..]].concat()),
        ),
        fails("no value", with(b"\x21x")),
        fails("Huffman padding of zeros", with(&value(&[0x18]))),
        fails("a byte of Huffman padding", with(&value(&[0x1f, 0xff]))),
        fails(
            "the end of a Huffman string within it",
            with(&value(&[&end[..], &[0x1f]].concat())),
        ),
        fails("a Huffman code that is cut", with(&value(&[0xff, 0xfe]))),
        fails("a Huffman name with wrong padding", with(&[0x29, 0x18, 0])),
    ]
}

fn instructions() -> Vec<Row> {
    let encoder =
        |name, bytes: &[u8]| closed_by(name, [&[2][..], bytes].concat(), Code::EncoderStreamError);
    let decoder =
        |name, bytes: &[u8]| closed_by(name, [&[3][..], bytes].concat(), Code::DecoderStreamError);
    vec![
        encoder("an insertion with a static name", b"\xc0\x03abc"),
        encoder("an insertion with a literal name", b"\x4ax-x-x-x-x-\x01y"),
        encoder("a duplicate of nothing", &[0]),
        encoder("a capacity of 1", &[0x21]),
        encoder("a capacity of 2^62 - 1", &integer(0x20, 5, (1 << 62) - 1)),
        decoder("an acknowledgment of a section", &[0x80]),
        decoder("an insertion that was never made", &[0x01]),
        decoder("an increment of 0", &[0x00]),
        decoder(
            "a cancellation that never ends",
            &[&[0x7f][..], &[0x80; 12]].concat(),
        ),
    ]
}

fn expansion() -> Vec<Row> {
    // Each byte is a field of 26 bytes and more, as RFC 9114, section 4.2.2 counts.
    let small = [encoded_get(), vec![0xdd; 600]].concat();
    // '0' takes five bits.
    let zeros = [
        encoded_get(),
        b"\x21x".to_vec(),
        integer(0x80, 7, 25_000),
        vec![0; 25_000],
    ]
    .concat();
    let names = vec![("", ""); 3];
    vec![
        refused(
            "one byte for each field",
            section(&vec![0xc2; 30_000]),
            Expect::Status(431),
        ),
        refused(
            "fields of one byte behind a request",
            section(&small),
            Expect::Status(431),
        ),
        refused(
            "a Huffman string over the limit",
            section(&zeros),
            Expect::Status(431),
        ),
        refused(
            "empty fields",
            headers(&names),
            Expect::Reset(Code::MessageError),
        ),
        refused(
            "many short lines",
            section(&[encoded_get(), line(b"a", b"").repeat(500)].concat()),
            Expect::Status(431),
        ),
    ]
}

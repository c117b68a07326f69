//! Field sections and instructions that do not decode, or to too much.

use wayhold::http3::Code;

use crate::row::{
    End, Expect, HOST, Message, Reaches, Row, Step, closed_by, data, encoded_get, frame, get,
    headers, integer, line, refused, section, served,
};

pub(crate) fn rows() -> Vec<Row> {
    [
        references(),
        dynamic(),
        strings(),
        instructions(),
        expansion(),
        floods(),
    ]
    .concat()
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

/// An encoder stream that sets this capacity and goes on with these instructions.
fn encoder(capacity: u64, instructions: &[u8]) -> Vec<u8> {
    [&[2][..], &integer(0x20, 5, capacity), instructions].concat()
}

/// Waits until so many insertions have come.
fn filled(capacity: u64, instructions: &[u8], count: u8) -> [Step; 2] {
    [
        Step::OneWay(encoder(capacity, instructions), End::Open),
        Step::Answers(vec![count]),
    ]
}

/// An insertion with a literal name.
fn insertion(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = integer(0x40, 5, name.len() as u64);
    out.extend_from_slice(name);
    out.extend(integer(0, 7, value.len() as u64));
    out.extend_from_slice(value);
    out
}

/// A GET with this prefix and more lines.
fn referring(prefix: &[u8], encoded: &[u8]) -> Vec<u8> {
    frame(1, &[prefix, &encoded_get(), encoded].concat())
}

fn dynamic() -> Vec<Row> {
    // A table for two of these, in which the first has made room for the third.
    let three = [
        insertion(b"a", b"1"),
        insertion(b"b", b"2"),
        insertion(b"c", b"3"),
    ]
    .concat();
    let after = |row: Row| row.after(filled(68, &three, 3));
    let forms = b"\x80\x10\x40\x014\x00\x015";
    let expected = Message::new("GET", "/")
        .field("b", b"2")
        .field("c", b"3")
        .field("b", b"4")
        .field("c", b"5");
    let name_of_three = [&[0xc0][..], &integer(0, 7, 3), b"abc"].concat();
    vec![
        after(served(
            "lines before and behind the base",
            referring(&[4, 0x80], forms),
            expected,
        )),
        after(fails("an evicted entry", referring(&[4, 0], &[0x82]))),
        after(fails(
            "a name from an evicted entry",
            referring(&[4, 0], b"\x42\x01x"),
        )),
        after(fails(
            "an entry that was not inserted yet",
            referring(&[4, 0], &[0x10]),
        )),
        after(fails(
            "an entry that the section said not to need",
            referring(&[3, 0], &[0x10]),
        )),
        after(fails(
            "a name from an entry that was not inserted yet",
            referring(&[4, 0], b"\x00\x01x"),
        )),
        after(fails(
            "an insertion from the future",
            referring(&[5, 0], &[]),
        )),
        after(fails(
            "an insert count over twice the entries",
            referring(&integer(0, 8, 257), &[]),
        )),
        after(fails(
            "a base before the first entry",
            referring(&[4, 0x83], &[]),
        )),
        after(fails(
            "an index of 2^62 - 1 behind the base",
            referring(&[4, 0], &integer(0x10, 4, (1 << 62) - 1)),
        )),
        after(fails(
            "an index of 2^62 - 1 before a base as large",
            referring(
                &[&[4][..], &integer(0, 7, (1 << 62) - 1)].concat(),
                &integer(0x80, 6, 7),
            ),
        )),
        fails(
            "a reference to what a smaller capacity evicted",
            referring(&[2, 0], &[0x80]),
        )
        .after(filled(68, &[insertion(b"a", b"1"), vec![0x20]].concat(), 1)),
        served(
            "a name of the static table by way of the dynamic one",
            referring(&[2, 0], &[0x80]),
            Message::new("GET", "/").field("age", b"abc"),
        )
        .after(filled(
            68,
            &[&[0xc2][..], &integer(0, 7, 3), b"abc"].concat(),
            1,
        )),
        served(
            "a cancelled stream, of which a client with a table is told",
            get(&[]),
            Message::new("GET", "/"),
        )
        .after([Step::Answers(vec![0x40])])
        .after([Step::Request(vec![get(&[])[..3].to_vec()], End::Reset)])
        .after(filled(68, &insertion(b"a", b"1"), 1)),
        refused(
            "a second authority by way of the table",
            referring(&[2, 0], &[0x80]),
            Expect::Reset(Code::MessageError),
        )
        .after(filled(68, &name_of_three, 1)),
    ]
}

/// Many lines, instructions and answers of a few bytes.
fn floods() -> Vec<Row> {
    let long = insertion(b"a", &[b'x'; 4000]);
    let authority = [&[0xc0, 9][..], HOST.as_bytes()].concat();
    let referring_post = [
        frame(1, &[3, 0, 0xd4, 0xd7, 0xc1, 0x81]),
        data(b"x"),
        frame(1, &[3, 0, 0x80]),
    ]
    .concat();
    let unread = vec![Step::Request(vec![referring_post.clone()], End::Finished); 600];
    let mut deaf = refused(
        "answers that nobody reads",
        referring_post,
        Expect::Close(Code::ExcessiveLoad),
    )
    .after(unread)
    .after(filled(200, &[authority, insertion(b"a", b"1")].concat(), 2))
    .after([Step::Deaf]);
    deaf.reaches = Reaches::Ordinary;
    vec![
        refused(
            "many references to a large entry",
            referring(&[2, 0], &[0x80; 9]),
            Expect::Status(431),
        )
        .after(filled(4096, &long, 1)),
        closed_by(
            "duplicates without end",
            encoder(4096, &[insertion(b"a", b"1"), vec![0; 4000]].concat()),
            Code::ExcessiveLoad,
        ),
        closed_by(
            "capacities without end",
            [&[2][..], &[0x20; 1001]].concat(),
            Code::ExcessiveLoad,
        ),
        deaf,
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
    let wrong =
        |name, bytes: &[u8]| closed_by(name, [&[2][..], bytes].concat(), Code::EncoderStreamError);
    let decoder =
        |name, bytes: &[u8]| closed_by(name, [&[3][..], bytes].concat(), Code::DecoderStreamError);
    vec![
        wrong("an insertion without a capacity", b"\xc0\x03abc"),
        wrong(
            "a literal insertion without a capacity",
            b"\x4ax-x-x-x-x-\x01y",
        ),
        wrong("a duplicate of nothing", &[0]),
        wrong("a capacity of 4097", &integer(0x20, 5, 4097)),
        wrong("a capacity of 2^62 - 1", &integer(0x20, 5, (1 << 62) - 1)),
        wrong(
            "a capacity over 62 bits",
            &[&[0x3f][..], &[0x80; 10]].concat(),
        ),
        wrong(
            "an insertion that is larger than the table",
            &encoder(64, &insertion(b"abcd", &[b'x'; 29]))[1..],
        ),
        wrong(
            "a name that is larger than the table, by its length",
            &encoder(64, &integer(0x40, 5, 33))[1..],
        ),
        wrong(
            "a Huffman value that is larger than the table, by its length",
            &encoder(64, &[&[0xc0][..], &integer(0x80, 7, 150)].concat())[1..],
        ),
        wrong(
            "a value of 2^62 - 1 bytes in an insertion",
            &encoder(4096, &[&[0xc0][..], &integer(0, 7, (1 << 62) - 1)].concat())[1..],
        ),
        wrong(
            "an insertion with the static name 99",
            &encoder(4096, &[&integer(0xc0, 6, 99)[..], b"\x01x"].concat())[1..],
        ),
        wrong(
            "an insertion with a name that was not inserted",
            &encoder(4096, b"\x80\x01x")[1..],
        ),
        wrong(
            "an insertion with an evicted name",
            &encoder(
                34,
                &[&insertion(b"a", b"1")[..], b"\x41b\x012\x81\x01x"].concat(),
            )[1..],
        ),
        wrong(
            "a duplicate of an evicted entry",
            &encoder(
                34,
                &[&insertion(b"a", b"1")[..], b"\x41b\x012\x01"].concat(),
            )[1..],
        ),
        wrong(
            "a duplicate of 2^62 - 1",
            &encoder(4096, &integer(0, 5, (1 << 62) - 1))[1..],
        ),
        wrong(
            "Huffman padding of zeros in an insertion",
            &encoder(4096, b"\xc0\x81\x18")[1..],
        ),
        closed_by(
            "a finished encoder stream with entries",
            encoder(4096, &insertion(b"a", b"1")),
            Code::ClosedCriticalStream,
        )
        .ending(End::Finished),
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

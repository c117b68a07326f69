//! Oddities that are none of a client's faults.

use crate::row::{
    CONTROL, End, HOST, Message, Row, Step, begun, control, data, encoded_get, frame, get, headers,
    integer, line, long, post, pseudo, request, section, served, varint,
};

pub(crate) fn rows() -> Vec<Row> {
    [frames(), forms(), fields(), streams()].concat()
}

fn message(method: &str) -> Message {
    Message::new(method, "/")
}

fn frames() -> Vec<Row> {
    let grease = || frame(0x1f * 7 + 0x21, b"grease");
    let body = || message("POST").body(b"hello");
    let hello = || vec![post(&[]), data(b"hel"), data(b"lo")];
    let head = get(&[("x", "y")]);
    vec![
        served("a plain request", get(&[]), message("GET")),
        served(
            "grease before HEADERS",
            [grease(), get(&[])].concat(),
            message("GET"),
        ),
        served(
            "grease behind HEADERS",
            [get(&[]), grease()].concat(),
            message("GET"),
        ),
        served(
            "grease within the content",
            [post(&[]), data(b"hel"), grease(), data(b"lo")].concat(),
            body(),
        ),
        served(
            "empty DATA within the content",
            [post(&[]), data(b"hel"), data(b""), data(b"lo")].concat(),
            body(),
        ),
        served(
            "empty DATA before the end",
            [hello().concat(), data(b"")].concat(),
            body(),
        ),
        served(
            "empty DATA for no content",
            [post(&[("content-length", "0")]), data(b"")].concat(),
            message("POST").field("content-length", b"0"),
        ),
        served(
            "grease behind trailers",
            [
                post(&[("trailer", "x")]),
                data(b"hello"),
                headers(&[("x", "y")]),
                grease(),
            ]
            .concat(),
            body().field("trailer", b"x").trailer("x", b"y"),
        ),
        served(
            "empty trailers",
            [hello().concat(), headers(&[])].concat(),
            body(),
        ),
        served("an end that comes alone", vec![], body())
            .in_pieces([hello(), vec![vec![]]].concat()),
        served(
            "a head in two packets",
            vec![],
            message("GET").field("x", b"y"),
        )
        .in_pieces(vec![head[..9].to_vec(), head[9..].to_vec()]),
        served("a frame's header in two packets", vec![], body()).in_pieces(vec![
            [post(&[]), vec![0x40]].concat(),
            [&[0, 5][..], b"hello"].concat(),
        ]),
        served(
            "every byte in a packet of its own",
            vec![],
            message("GET").field("x", b"y"),
        )
        .in_pieces(head.chunks(1).map(<[u8]>::to_vec).collect()),
        served(
            "an unknown frame of a megabyte",
            [begun(0x21, 1 << 20), vec![7; 1 << 20], get(&[])].concat(),
            message("GET"),
        ),
        served(
            "content in frames of one byte",
            [post(&[("content-length", "300")]), data(b"x").repeat(300)].concat(),
            message("POST")
                .field("content-length", b"300")
                .body(&[b'x'; 300]),
        ),
    ]
}

/// The same in other forms of numbers and strings.
fn forms() -> Vec<Row> {
    let lines = encoded_get();
    let huffman = [
        &[0xd1, 0xd7, 0xc1][..],
        // :authority from entry 0, `localhost` in Huffman code.
        &[0x50, 0x86, 0xa0, 0xe4, 0x1d, 0x13, 0x9d, 0x09],
    ]
    .concat();
    let never = [&lines[..], b"\x31x\x01y"].concat();
    let long_head = [
        long(1),
        long(2 + lines.len() as u64),
        vec![0, 0],
        lines.clone(),
    ]
    .concat();
    vec![
        served("numbers of eight bytes", long_head, message("GET")),
        served(
            "DATA with numbers of eight bytes",
            [post(&[]), long(0), long(1), b"x".to_vec()].concat(),
            message("POST").body(b"x"),
        ),
        served(
            "a name in Huffman code",
            section(&[&lines[..], &[0x29, 0xf3, 1, b'y']].concat()),
            message("GET").field("x", b"y"),
        ),
        served("a value in Huffman code", section(&huffman), message("GET")),
        served(
            "a field that is never indexed",
            section(&never),
            message("GET").field("x", b"y"),
        ),
        served(
            "a base that is not 0",
            frame(1, &[&[0, 5][..], &lines].concat()),
            message("GET"),
        ),
        served(
            "a length in more bytes than it needs",
            section(&[&lines[..], &[0x27, 0x81, 0x00], b"abcdefgh", &[1, b'y']].concat()),
            message("GET").field("abcdefgh", b"y"),
        ),
        served(
            "fields of the static table",
            section(&[&lines[..], &[0xdd]].concat()),
            message("GET").field("accept", b"*/*"),
        ),
        served(
            "pseudo-fields in another order",
            headers(&[
                (":path", "/"),
                (":authority", HOST),
                (":scheme", "https"),
                (":method", "GET"),
            ]),
            message("GET"),
        ),
        served(
            "a section at the limit",
            get(&vec![("x", "y"); 128]),
            (0..128).fold(message("GET"), |message, _| message.field("x", b"y")),
        ),
    ]
}

fn fields() -> Vec<Row> {
    let bytes = [encoded_get(), line(b"x", b"a\xe4\t\xff")].concat();
    vec![
        served(
            "te: trailers",
            get(&[("te", "trailers")]),
            message("GET").field("te", b"trailers"),
        ),
        served(
            "the host beside the authority",
            get(&[("host", HOST)]),
            message("GET"),
        ),
        served(
            "a host and no authority",
            headers(&[
                (":method", "GET"),
                (":scheme", "https"),
                (":path", "/"),
                ("host", HOST),
            ]),
            message("GET"),
        ),
        served(
            "bytes beyond ASCII in a value",
            section(&bytes),
            message("GET").field("x", b"a\xe4\t\xff"),
        ),
        served(
            "an empty value",
            get(&[("x", "")]),
            message("GET").field("x", b""),
        ),
        served(
            "equal names with other values",
            get(&[("x", "1"), ("x", "2")]),
            message("GET").field("x", b"1").field("x", b"2"),
        ),
        served(
            "a priority that is none",
            get(&[("priority", "u=9, \"")]),
            message("GET").field("priority", b"u=9, \""),
        ),
        served(
            "content for a GET",
            [get(&[("content-length", "1")]), data(b"x")].concat(),
            message("GET").field("content-length", b"1").body(b"x"),
        ),
        served(
            "an expectation",
            [
                post(&[("expect", "100-continue"), ("content-length", "1")]),
                data(b"x"),
            ]
            .concat(),
            message("POST").field("content-length", b"1").body(b"x"),
        ),
        served(
            "an unknown method",
            request("M-SEARCH", "/", &[]),
            message("M-SEARCH"),
        ),
        served(
            "a query of odd characters",
            request("GET", "/?a=/../&b={}'", &[]),
            Message::new("GET", "/?a=/../&b={}'"),
        ),
        served(
            "an empty segment",
            request("GET", "//a//", &[]),
            Message::new("GET", "//a//"),
        ),
        served("HEAD", request("HEAD", "/", &[]), message("HEAD")),
        served(
            "trailers",
            // hyper passes on only what was announced.
            [
                post(&[("trailer", "x-sum")]),
                data(b"x"),
                headers(&[("x-sum", "1")]),
            ]
            .concat(),
            message("POST")
                .field("trailer", b"x-sum")
                .body(b"x")
                .trailer("x-sum", b"1"),
        ),
        served(
            "an authority in capitals",
            headers(&[
                (":method", "GET"),
                (":scheme", "https"),
                (":authority", "LOCALHOST"),
                (":path", "/"),
                ("host", "localhost"),
            ]),
            Message {
                authority: "LOCALHOST".into(),
                ..message("GET")
            },
        ),
    ]
}

fn streams() -> Vec<Row> {
    let open = |bytes: Vec<u8>| Step::OneWay(bytes, End::Open);
    let row = |name, steps: Vec<Step>| served(name, get(&[]), message("GET")).after(steps);
    let update = |id, value: &[u8]| frame(0xf_0700, &[&varint(id)[..], value].concat());
    vec![
        row(
            "unknown settings",
            vec![open(
                [&[0][..], &frame(4, &[0x21, 5, 0x40, 0x5f, 0])].concat(),
            )],
        ),
        row(
            "a control stream in eight bytes",
            vec![open([&long(0)[..], &frame(4, b"")].concat())],
        ),
        row(
            "grease on the control stream",
            vec![open(control(&frame(0x21, b"x")))],
        ),
        row(
            "a giant frame of unknown type on the control stream",
            vec![open(control(&begun(0x21, (1 << 62) - 1)))],
        ),
        row("pings", vec![Step::Pings(100)]),
        row(
            "an empty stream of one direction",
            vec![Step::OneWay(vec![], End::Finished)],
        ),
        row(
            "a stream whose type is cut",
            vec![Step::OneWay(vec![0x40], End::Reset)],
        ),
        row(
            "a stream of an unknown type",
            vec![open([varint(0x21), b"anything".to_vec()].concat())],
        ),
        row(
            "QPACK streams with nothing on them",
            vec![open(vec![2]), open(vec![3])],
        ),
        row("a capacity of 0", vec![open(vec![2, 0x20])]),
        row(
            "a cancellation",
            vec![open([vec![3], integer(0x40, 6, 1 << 40)].concat())],
        ),
        row(
            "MAX_PUSH_ID that grows",
            vec![open(control(
                &[frame(0xd, &[1]), frame(0xd, &[2])].concat(),
            ))],
        ),
        row(
            "GOAWAY from the client",
            vec![open(control(&[frame(7, &[8]), frame(7, &[0])].concat()))],
        ),
        row(
            "priorities for what is to come",
            vec![open(control(
                &[update(0, b"u=0, i"), update(4, b"")].concat(),
            ))],
        ),
        row(
            "no control stream yet",
            vec![Step::OneWay(vec![0], End::Open)],
        ),
        row(
            "a control stream with no setting",
            vec![Step::OneWay(CONTROL.to_vec(), End::Open)],
        ),
        served(
            "a request of many fields in Huffman code and none of them known",
            headers(
                &[
                    &pseudo("GET", "/")[..],
                    &[("x-a", "1"), ("x-b", "2"), ("x-c", "3")],
                ]
                .concat(),
            ),
            message("GET")
                .field("x-a", b"1")
                .field("x-b", b"2")
                .field("x-c", b"3"),
        ),
    ]
}

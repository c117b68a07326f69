//! Fields and lengths by which two recipients could be made to read two different messages.

use wayhold::http3::Code;

use crate::row::{End, Expect, Reaches, Row, data, get, headers, malformed, post, refused};

pub(crate) fn rows() -> Vec<Row> {
    [connection(), lengths(), trailers(), characters(), sizes()].concat()
}

const SMUGGLED: &[u8] = b"0\r\n\r\nGET /evil HTTP/1.1\r\nhost: evil\r\n\r\n";

fn connection() -> Vec<Row> {
    let upgrade = [
        ("upgrade", "websocket"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    vec![
        malformed(
            "transfer-encoding with a chunked body",
            [post(&[("transfer-encoding", "chunked")]), data(SMUGGLED)].concat(),
        ),
        malformed(
            "transfer-encoding beside content-length",
            [
                post(&[("content-length", "3"), ("transfer-encoding", "identity")]),
                data(b"abc"),
            ]
            .concat(),
        ),
        malformed(
            "connection that nominates a field",
            get(&[("connection", "x-auth"), ("x-auth", "secret")]),
        ),
        malformed("empty connection", get(&[("connection", "")])),
        malformed("keep-alive", get(&[("keep-alive", "timeout=5, max=1000")])),
        malformed(
            "proxy-connection",
            get(&[("proxy-connection", "keep-alive")]),
        ),
        malformed("upgrade to a websocket", get(&upgrade)),
        malformed("te with a coding", get(&[("te", "gzip")])),
        malformed(
            "te that lists trailers and more",
            get(&[("te", "trailers, deflate;q=0.5")]),
        ),
        malformed("empty te", get(&[("te", "")])),
        refused(
            "an expectation that nobody can meet",
            post(&[("expect", "200-ok")]),
            Expect::Status(417),
        ),
    ]
}

fn lengths() -> Vec<Row> {
    let length = |value| post(&[("content-length", value)]);
    vec![
        malformed(
            "content-length twice, alike",
            [
                post(&[("content-length", "3"), ("content-length", "3")]),
                data(b"abc"),
            ]
            .concat(),
        ),
        malformed(
            "content-length twice, unlike",
            [
                post(&[("content-length", "0"), ("content-length", "3")]),
                data(b"abc"),
            ]
            .concat(),
        ),
        malformed(
            "signed content-length",
            [length("+3"), data(b"abc")].concat(),
        ),
        malformed(
            "listed content-length",
            [length("3, 3"), data(b"abc")].concat(),
        ),
        malformed(
            "hexadecimal content-length",
            [length("0x3"), data(b"abc")].concat(),
        ),
        malformed(
            "content-length with a space within",
            [length("1 1"), data(b"a")].concat(),
        ),
        malformed("empty content-length", length("")),
        malformed(
            "content-length over 64 bits",
            length("18446744073709551616"),
        ),
        malformed(
            "content-length wrapped to 3",
            [length("18446744073709551619"), data(b"abc")].concat(),
        ),
        malformed(
            "content-length of a request without content",
            get(&[("content-length", "1")]),
        ),
        malformed(
            "content-length 0 with a byte",
            [length("0"), data(b"x")].concat(),
        ),
        malformed(
            "one frame over content-length",
            [length("3"), data(SMUGGLED)].concat(),
        ),
        malformed(
            "a second frame over content-length",
            [length("3"), data(b"abc"), data(SMUGGLED)].concat(),
        ),
        malformed(
            "less than content-length and the end with it",
            [length("5"), data(b"abc")].concat(),
        )
        .reaching(Reaches::Cut),
        malformed("less than content-length and the end alone", vec![])
            .in_pieces(vec![[length("5"), data(b"abc")].concat(), vec![]])
            .reaching(Reaches::Cut),
        malformed("no content for content-length and the end alone", vec![])
            .in_pieces(vec![length("5"), vec![]])
            .reaching(Reaches::Cut),
        malformed(
            "less than content-length before trailers",
            [length("5"), data(b"abc"), headers(&[("x", "y")])].concat(),
        )
        .reaching(Reaches::Cut),
        malformed(
            "empty frames for content-length",
            [length("1"), data(b""), data(b"")].concat(),
        )
        .reaching(Reaches::Cut),
        refused(
            "content-length met, and a frame cut behind it",
            [length("3"), data(b"abc"), vec![0x21, 5, b'x']].concat(),
            Expect::Close(Code::FrameError),
        ),
        malformed(
            "a second frame over content-length that comes later",
            vec![],
        )
        .in_pieces(vec![[length("3"), data(b"abc")].concat(), data(SMUGGLED)])
        .reaching(Reaches::Cut),
        malformed("trailers that break a rule behind content-length", vec![])
            .in_pieces(vec![
                [length("3"), data(b"abc")].concat(),
                headers(&[("content-length", "9")]),
            ])
            .reaching(Reaches::Cut),
        refused(
            "a length declared, and nothing of it sent",
            [length("3"), vec![0, 3]].concat(),
            Expect::Close(Code::FrameError),
        )
        .reaching(Reaches::Cut),
        malformed(
            "a frame of 2^62 - 1 bytes over content-length",
            [
                length("3"),
                vec![0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            ]
            .concat(),
        )
        .ending(End::Open),
    ]
}

fn trailers() -> Vec<Row> {
    let after = |lines: &[(&str, &str)]| [post(&[]), data(b"abc"), headers(lines)].concat();
    let row = |name, lines: &[(&str, &str)]| malformed(name, after(lines)).reaching(Reaches::Cut);
    vec![
        row("content-length in trailers", &[("content-length", "3")]),
        row(
            "transfer-encoding in trailers",
            &[("transfer-encoding", "chunked")],
        ),
        row("host in trailers", &[("host", "evil")]),
        row("te in trailers", &[("te", "trailers")]),
        row(
            "pseudo-field in trailers",
            &[("x", "y"), (":path", "/evil")],
        ),
        row("status in trailers", &[(":status", "200")]),
        row("a line break in trailers", &[("x", "a\r\nevil: 1")]),
        row("an upper-case name in trailers", &[("X", "y")]),
    ]
}

fn characters() -> Vec<Row> {
    vec![
        malformed("a line break in a value", get(&[("x", "a\r\nevil: 1")])),
        malformed("a bare line feed in a value", get(&[("x", "a\nevil: 1")])),
        malformed("a bare carriage return in a value", get(&[("x", "a\rb")])),
        malformed(
            "a second request in a value",
            get(&[("x", "a\r\n\r\nGET /evil HTTP/1.1")]),
        ),
        malformed("NUL in a value", get(&[("x", "a\0b")])),
        malformed("DEL in a value", get(&[("x", "a\x7fb")])),
        malformed("a space before a value", get(&[("x", " a")])),
        malformed("a tab behind a value", get(&[("x", "a\t")])),
        malformed("a value of one space", get(&[("x", " ")])),
        malformed("a folded line", get(&[("x", "a\r\n b")])),
        malformed("an upper-case name", get(&[("Content-Length", "0")])),
        malformed("a space behind a name", get(&[("content-length ", "0")])),
        malformed("a colon in a name", get(&[("x:evil", "1")])),
        malformed("a line break in a name", get(&[("x\r\nevil", "1")])),
        malformed("a whole line in a name", get(&[("x: y\nevil", "1")])),
        malformed("NUL in a name", get(&[("x\0", "1")])),
        malformed("a name beyond ASCII", get(&[("x\u{e4}", "1")])),
        malformed("an empty name", get(&[("", "1")])),
        malformed("a name of a separator", get(&[("(x)", "1")])),
    ]
}

fn sizes() -> Vec<Row> {
    let long = |length| "x".repeat(length);
    let large = long(33_000);
    let many = vec![("x", "y"); 129];
    let most = vec![("x", "y"); 127];
    vec![
        refused("too many fields", get(&many), Expect::Status(431)),
        refused(
            "one value over the limit",
            get(&[("x", &long(32_600))]),
            Expect::Status(431),
        ),
        refused(
            "a frame over the limit",
            get(&[("x", &large)]),
            Expect::Status(431),
        ),
        refused(
            "names over the limit",
            get(&[(&long(16_000), ""), (&long(16_550), "")]),
            Expect::Status(431),
        ),
        refused(
            "too many trailers",
            [post(&[]), data(b"abc"), headers(&many)].concat(),
            Expect::Status(413),
        )
        .reaching(Reaches::Cut),
        refused(
            "large trailers",
            [post(&most), data(b"abc"), headers(&[("x", &large)])].concat(),
            Expect::Status(413),
        )
        .reaching(Reaches::Cut),
    ]
}

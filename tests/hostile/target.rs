//! Methods, authorities and paths that lead elsewhere than they seem to.

use wayhold::http3::Code;

use crate::row::{Expect, HOST, Reaches, Row, data, headers, malformed, post, refused, request};

pub(crate) fn rows() -> Vec<Row> {
    [
        pseudo_fields(),
        connect(),
        authorities(),
        paths(),
        methods(),
    ]
    .concat()
}

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "https");
const AUTHORITY: (&str, &str) = (":authority", HOST);
const PATH: (&str, &str) = (":path", "/");

fn pseudo_fields() -> Vec<Row> {
    let row = |name, lines: &[(&str, &str)]| malformed(name, headers(lines));
    vec![
        row("no method", &[SCHEME, AUTHORITY, PATH]),
        row("no scheme", &[METHOD, AUTHORITY, PATH]),
        row("no path", &[METHOD, SCHEME, AUTHORITY]),
        row("no authority and no host", &[METHOD, SCHEME, PATH]),
        row("nothing at all", &[]),
        row("fields alone", &[("x", "y")]),
        row(
            "a second method",
            &[METHOD, (":method", "POST"), SCHEME, AUTHORITY, PATH],
        ),
        row(
            "a second scheme, alike",
            &[METHOD, SCHEME, SCHEME, AUTHORITY, PATH],
        ),
        row(
            "a second path",
            &[METHOD, SCHEME, AUTHORITY, PATH, (":path", "/evil")],
        ),
        row(
            "a second authority",
            &[METHOD, SCHEME, AUTHORITY, (":authority", "evil"), PATH],
        ),
        row(
            "a path behind a field",
            &[METHOD, SCHEME, AUTHORITY, ("x", "y"), PATH],
        ),
        row(
            "a second path behind all",
            &[
                METHOD,
                SCHEME,
                AUTHORITY,
                PATH,
                ("x", "y"),
                (":path", "/evil"),
            ],
        ),
        row(
            "a status",
            &[METHOD, SCHEME, AUTHORITY, PATH, (":status", "200")],
        ),
        row(
            "an unknown pseudo-field",
            &[METHOD, SCHEME, AUTHORITY, PATH, (":evil", "1")],
        ),
        row(
            "a pseudo-field without a name",
            &[METHOD, SCHEME, AUTHORITY, PATH, (":", "1")],
        ),
        row(
            "a pseudo-field in upper case",
            &[METHOD, SCHEME, AUTHORITY, (":Path", "/")],
        ),
        row(
            "a protocol without CONNECT",
            &[METHOD, SCHEME, AUTHORITY, PATH, (":protocol", "websocket")],
        ),
    ]
}

fn connect() -> Vec<Row> {
    let connect = (":method", "CONNECT");
    let port = (":authority", "localhost:443");
    let row = |name, lines: &[(&str, &str)]| malformed(name, headers(lines));
    vec![
        refused("CONNECT", headers(&[connect, port]), Expect::Status(501)),
        row("CONNECT with a path", &[connect, port, PATH]),
        row("CONNECT with a scheme", &[connect, port, SCHEME]),
        row("CONNECT to nobody", &[connect]),
        row("CONNECT without a port", &[connect, AUTHORITY]),
        row(
            "CONNECT to port 0",
            &[connect, (":authority", "localhost:0")],
        ),
        refused(
            "trailers behind CONNECT",
            [headers(&[connect, port]), headers(&[("x", "y")])].concat(),
            Expect::Close(Code::FrameUnexpected),
        ),
    ]
}

fn authorities() -> Vec<Row> {
    let at = |authority| headers(&[METHOD, SCHEME, (":authority", authority), PATH]);
    let host = |hosts: &[(&'static str, &'static str)]| {
        headers(&[&[METHOD, SCHEME, AUTHORITY, PATH][..], hosts].concat())
    };
    vec![
        malformed("another host", host(&[("host", "evil")])),
        malformed(
            "a host with a port that the authority has not",
            host(&[("host", "localhost:443")]),
        ),
        malformed("an empty host", host(&[("host", "")])),
        malformed("two hosts, alike", host(&[("host", HOST), ("host", HOST)])),
        malformed(
            "two hosts without an authority",
            headers(&[METHOD, SCHEME, PATH, ("host", HOST), ("host", "evil")]),
        ),
        malformed("an empty authority", at("")),
        malformed(
            "an empty host and no authority",
            headers(&[METHOD, SCHEME, PATH, ("host", "")]),
        ),
        malformed("userinfo", at("localhost@evil")),
        malformed("a space in the authority", at("localhost evil")),
        malformed("a path in the authority", at("localhost/evil")),
        malformed("a line break in the authority", at("localhost\r\nevil: 1")),
        malformed("an open bracket", at("[::1")),
        refused(
            "a list of authorities",
            at("localhost,evil"),
            Expect::Status(400),
        ),
        refused(
            "a port over 65535",
            at("localhost:65536"),
            Expect::Status(400),
        ),
        malformed("an encoded authority", at("%6cocalhost")),
    ]
}

fn paths() -> Vec<Row> {
    let to = |path: &str| request("GET", path, &[]);
    let odd = |name, path| refused(name, to(path), Expect::Status(400));
    vec![
        malformed("an empty path", to("")),
        malformed("a relative path", to("evil")),
        malformed("a whole URI for a path", to("http://evil/")),
        malformed("an asterisk for a GET", to("*")),
        malformed("a query alone", to("?a=b")),
        refused(
            "an asterisk for OPTIONS",
            request("OPTIONS", "*", &[]),
            Expect::Status(501),
        ),
        malformed("a request line for a path", to("/ HTTP/1.1")),
        malformed("a line break in a path", to("/\r\nevil: 1")),
        malformed("NUL in a path", to("/\0")),
        malformed("a fragment", to("/a#b")),
        malformed("a path beyond ASCII", to("/\u{e4}")),
        malformed("a space around a path", to(" /")),
        odd("dot segments", "/a/../../evil"),
        odd("encoded dot segments", "/a/%2e%2E/evil"),
        odd("a backslash", "/a\\..\\evil"),
        odd("an encoded NUL", "/a%00"),
    ]
}

fn methods() -> Vec<Row> {
    let by = |method: &str| request(method, "/", &[]);
    vec![
        malformed("an empty method", by("")),
        malformed(
            "a request line for a method",
            by("GET /evil HTTP/1.1\r\nx:"),
        ),
        malformed("a space in a method", by("GET /evil")),
        malformed("a separator in a method", by("GET,")),
        refused("a method in lower case", by("get"), Expect::Status(400)),
        refused(
            "the method of a connection preface",
            by("PRI"),
            Expect::Status(400),
        ),
        refused("TRACE", by("TRACE"), Expect::Status(501)),
        refused(
            "another scheme",
            headers(&[METHOD, (":scheme", "http"), AUTHORITY, PATH]),
            Expect::Status(400),
        ),
        malformed(
            "a scheme with a space",
            headers(&[METHOD, (":scheme", "ht tps"), AUTHORITY, PATH]),
        ),
        malformed(
            "an empty scheme",
            headers(&[METHOD, (":scheme", ""), AUTHORITY, PATH]),
        ),
        malformed(
            "a request in the content of a request without its length",
            [
                post(&[("content-length", "0")]),
                data(b"GET /evil HTTP/1.1\r\n\r\n"),
            ]
            .concat(),
        )
        .reaching(Reaches::Nothing),
    ]
}

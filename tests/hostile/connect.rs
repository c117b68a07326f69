//! What is almost an extended CONNECT (RFC 8441, section 4; RFC 9220, section 3).

use wayhold::http3::Code;

use crate::row::{
    Expect, HOST, Reaches, Row, begun, data, headers, malformed, pseudo, refused, request,
};

pub(crate) fn rows() -> Vec<Row> {
    [targets(), protocols(), lengths(), frames()].concat()
}

const METHOD: (&str, &str) = (":method", "CONNECT");
const SCHEME: (&str, &str) = (":scheme", "https");
const AUTHORITY: (&str, &str) = (":authority", HOST);
const PATH: (&str, &str) = (":path", "/chat");
const PROTOCOL: (&str, &str) = (":protocol", "websocket");

/// A HEADERS frame of a WebSocket with more fields.
fn websocket(fields: &[(&str, &str)]) -> Vec<u8> {
    headers(&[&[METHOD, SCHEME, AUTHORITY, PATH, PROTOCOL][..], fields].concat())
}

fn targets() -> Vec<Row> {
    let row = |name, lines: &[(&str, &str)]| malformed(name, headers(lines));
    vec![
        row(
            "a websocket without a path",
            &[METHOD, SCHEME, AUTHORITY, PROTOCOL],
        ),
        row(
            "a websocket without a scheme",
            &[METHOD, AUTHORITY, PATH, PROTOCOL],
        ),
        row("a websocket to nobody", &[METHOD, SCHEME, PATH, PROTOCOL]),
        row(
            "a websocket with a relative path",
            &[METHOD, SCHEME, AUTHORITY, (":path", "chat"), PROTOCOL],
        ),
        row(
            "a websocket with another host",
            &[
                METHOD,
                SCHEME,
                AUTHORITY,
                PATH,
                PROTOCOL,
                ("host", "evil.test"),
            ],
        ),
        refused(
            "a websocket with the scheme of its URL",
            headers(&[METHOD, (":scheme", "wss"), AUTHORITY, PATH, PROTOCOL]),
            Expect::Status(400),
        ),
        refused(
            "a websocket whose path climbs",
            headers(&[METHOD, SCHEME, AUTHORITY, (":path", "/a/../b"), PROTOCOL]),
            Expect::Status(400),
        ),
    ]
}

fn protocols() -> Vec<Row> {
    let named = |name, protocol| {
        let lines = [METHOD, SCHEME, AUTHORITY, PATH, (":protocol", protocol)];
        malformed(name, headers(&lines))
    };
    vec![
        named("a protocol without a name", ""),
        named("a list of protocols", "websocket, h2c"),
        named("a protocol with a version that is missing", "websocket/"),
        named("a protocol with a name that is too long", LONG),
        malformed(
            "a protocol twice",
            headers(&[METHOD, SCHEME, AUTHORITY, PATH, PROTOCOL, PROTOCOL]),
        ),
        malformed(
            "a protocol behind a field",
            headers(&[METHOD, SCHEME, AUTHORITY, PATH, ("x", "y"), PROTOCOL]),
        ),
        malformed(
            "a protocol in trailers",
            [request("POST", "/", &[]), data(b"x"), headers(&[PROTOCOL])].concat(),
        )
        .reaching(Reaches::Cut),
        malformed(
            "a protocol in a request that has content",
            [
                headers(&[&pseudo("POST", "/")[..], &[PROTOCOL]].concat()),
                data(b"x"),
            ]
            .concat(),
        ),
        refused(
            "a protocol that nobody serves",
            headers(&[METHOD, SCHEME, AUTHORITY, PATH, (":protocol", "gopher")]),
            Expect::Status(501),
        ),
    ]
}

fn lengths() -> Vec<Row> {
    vec![
        malformed(
            "a websocket with a content-length that is met",
            [websocket(&[("content-length", "1")]), data(b"x")].concat(),
        ),
        malformed(
            "a websocket without content",
            websocket(&[("content-length", "0")]),
        ),
        malformed(
            "CONNECT with a content-length",
            headers(&[
                METHOD,
                (":authority", "localhost:443"),
                ("content-length", "0"),
            ]),
        ),
        malformed(
            "a websocket with transfer-encoding",
            websocket(&[("transfer-encoding", "chunked")]),
        ),
        malformed(
            "a websocket with an upgrade too",
            websocket(&[("connection", "upgrade"), ("upgrade", "websocket")]),
        ),
    ]
}

fn frames() -> Vec<Row> {
    let closed = |name, frame: Vec<u8>, code| {
        refused(name, [websocket(&[]), frame].concat(), Expect::Close(code))
    };
    vec![
        closed(
            "trailers behind a websocket",
            headers(&[("x", "y")]),
            Code::FrameUnexpected,
        ),
        closed("SETTINGS in a websocket", vec![4, 0], Code::FrameUnexpected),
        closed(
            "a websocket cut within a frame",
            begun(0, 5),
            Code::FrameError,
        ),
    ]
}

const LONG: &str = "websocketwebsocketwebsocketwebsocketwebsocketwebsocketwebsocketwebsocket";

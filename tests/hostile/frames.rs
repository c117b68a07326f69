//! Frames on request streams that are in the wrong place, cut, or too long.

use wayhold::http3::Code;

use crate::row::{
    End, Expect, Reaches, Row, begun, data, frame, get, headers, long, post, refused,
};

pub(crate) fn rows() -> Vec<Row> {
    [order(), strangers(), cuts(), lengths()].concat()
}

fn closes(name: &'static str, bytes: Vec<u8>, code: Code) -> Row {
    refused(name, bytes, Expect::Close(code))
}

fn order() -> Vec<Row> {
    let unexpected = |name, bytes| closes(name, bytes, Code::FrameUnexpected);
    let trailers = || headers(&[("x", "y")]);
    vec![
        unexpected("DATA before HEADERS", [data(b"x"), get(&[])].concat()),
        unexpected("empty DATA before HEADERS", [data(b""), get(&[])].concat()),
        unexpected(
            "DATA behind trailers",
            [post(&[]), trailers(), data(b"x")].concat(),
        )
        .reaching(Reaches::Cut),
        unexpected(
            "empty DATA behind trailers",
            [post(&[]), trailers(), data(b"")].concat(),
        )
        .reaching(Reaches::Cut),
        unexpected(
            "trailers twice",
            [post(&[]), data(b"x"), trailers(), trailers()].concat(),
        )
        .reaching(Reaches::Cut),
        refused(
            "a second request on the stream",
            [get(&[]), get(&[])].concat(),
            Expect::Reset(Code::MessageError),
        ),
        refused(
            "an empty stream",
            vec![],
            Expect::Reset(Code::RequestIncomplete),
        ),
        refused(
            "a stream of unknown frames",
            [frame(0x21, b"x"), frame(0x40, b"")].concat(),
            Expect::Reset(Code::RequestIncomplete),
        ),
        closes(
            "an empty HEADERS frame",
            frame(1, b""),
            Code::DecompressionFailed,
        ),
    ]
}

/// Frames that belong on the control stream, that only servers send, or that HTTP/2 had.
fn strangers() -> Vec<Row> {
    let unexpected = |name, bytes: Vec<u8>| closes(name, bytes, Code::FrameUnexpected);
    let within = |frame: Vec<u8>| [post(&[]), data(b"x"), frame].concat();
    vec![
        unexpected("SETTINGS for a request", frame(4, b"")),
        unexpected("SETTINGS within a request", within(frame(4, &[6, 0]))).reaching(Reaches::Cut),
        unexpected("GOAWAY within a request", within(frame(7, &[0]))).reaching(Reaches::Cut),
        unexpected(
            "CANCEL_PUSH before HEADERS",
            [frame(3, &[0]), get(&[])].concat(),
        ),
        unexpected(
            "MAX_PUSH_ID behind HEADERS",
            [get(&[]), frame(0xd, &[5])].concat(),
        ),
        unexpected(
            "PUSH_PROMISE from a client",
            within(frame(5, b"\0\0\0\xd1")),
        )
        .reaching(Reaches::Cut),
        unexpected("PRIORITY of HTTP/2", [frame(2, &[0; 5]), get(&[])].concat()),
        unexpected("PING of HTTP/2", within(frame(6, &[0; 8]))).reaching(Reaches::Cut),
        unexpected(
            "WINDOW_UPDATE of HTTP/2",
            [get(&[]), frame(8, &[0, 0, 0xff, 0xff])].concat(),
        ),
        unexpected(
            "CONTINUATION of HTTP/2",
            [get(&[]), frame(9, &[0xd1])].concat(),
        ),
        unexpected(
            "PRIORITY_UPDATE on a request stream",
            [frame(0xf_0700, b"\0u=0"), get(&[])].concat(),
        ),
        unexpected(
            "PRIORITY_UPDATE of a push on a request stream",
            [get(&[]), frame(0xf_0701, b"\0")].concat(),
        ),
        unexpected(
            "a control stream for a request",
            [&[0, 0][..], &frame(4, b"")].concat(),
        ),
    ]
}

fn cuts() -> Vec<Row> {
    let cut = |name, bytes: Vec<u8>| closes(name, bytes, Code::FrameError);
    let head = get(&[("x", "y")]);
    vec![
        cut(
            "the end within a frame's type",
            [get(&[]), vec![0x40]].concat(),
        ),
        cut(
            "the end within a frame's length",
            [get(&[]), vec![0, 0x40]].concat(),
        ),
        cut(
            "the end between type and length",
            [post(&[]), vec![0]].concat(),
        ),
        cut("the end within HEADERS", head[..head.len() - 1].to_vec()),
        cut("the end before the payload of HEADERS", begun(1, 20)),
        cut(
            "the end within DATA",
            [post(&[]), begun(0, 5), b"abc".to_vec()].concat(),
        )
        .reaching(Reaches::Cut),
        cut(
            "the end within trailers",
            [post(&[]), data(b"x"), begun(1, 9), vec![0, 0]].concat(),
        )
        .reaching(Reaches::Cut),
        cut(
            "the end within an unknown frame",
            [get(&[]), begun(0x21, 9), vec![1]].concat(),
        ),
        cut(
            "the end within an unknown frame before HEADERS",
            begun(0x21, 1),
        ),
        cut("the end alone within DATA", vec![])
            .in_pieces(vec![
                [post(&[]), begun(0, 5), b"abc".to_vec()].concat(),
                vec![],
            ])
            .reaching(Reaches::Cut),
        cut("the end alone within a frame's header", vec![])
            .in_pieces(vec![[post(&[]), data(b"abc"), vec![0xc0]].concat(), vec![]])
            .reaching(Reaches::Cut),
    ]
}

fn lengths() -> Vec<Row> {
    let giant = [vec![1], long((1 << 62) - 1)].concat();
    vec![
        refused("HEADERS of 2^62 - 1 bytes", giant, Expect::Status(431)).ending(End::Open),
        refused(
            "HEADERS of 200 MiB, some of which come",
            [begun(1, 200 << 20), vec![0; 48 << 10]].concat(),
            Expect::Status(431),
        )
        .ending(End::Open),
        refused(
            "HEADERS one byte over what the limit can need",
            begun(1, (32 << 10) + 3),
            Expect::Status(431),
        )
        .ending(End::Open),
        refused(
            "trailers of 200 MiB",
            [post(&[]), data(b"x"), begun(1, 200 << 20)].concat(),
            Expect::Status(413),
        )
        .reaching(Reaches::Cut)
        .ending(End::Open),
    ]
}

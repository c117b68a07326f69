//! HTTP datagrams (RFC 9297) and the tunnels that take them (RFC 9298).

use wayhold::http3::Code;

use crate::row::{
    End, Expect, HOST, Message, Reaches, Row, Step, data, frame, get, headers, long, post, refused,
    served, varint,
};

pub(crate) fn rows() -> Vec<Row> {
    [streams(), uses(), targets(), oddities()].concat()
}

fn datagram(quarter: u64, payload: &[u8]) -> Step {
    Step::Datagram([&varint(quarter)[..], payload].concat())
}

/// A request for a tunnel.
fn ask(target: &str) -> Vec<u8> {
    headers(&[
        (":method", "CONNECT"),
        (":protocol", "connect-udp"),
        (":scheme", "https"),
        (":authority", HOST),
        (":path", &format!("/.well-known/masque/udp{target}")),
        ("capsule-protocol", "?1"),
    ])
}

fn streams() -> Vec<Row> {
    let closed = |name, frame: Vec<u8>, code| Row {
        name,
        steps: vec![Step::Datagram(frame)],
        expect: Expect::Close(code),
        reaches: Reaches::Nothing,
    };
    let wrong = |name, frame| closed(name, frame, Code::DatagramError);
    vec![
        wrong("a datagram of nothing", vec![]),
        wrong("a datagram cut within its stream", vec![0xc0, 0, 0]),
        wrong("a datagram of a stream that QUIC has not", long(1 << 60)),
        wrong("a datagram of the largest number", [0xff; 8].to_vec()),
        closed(
            "a datagram of the last stream of QUIC",
            long((1 << 60) - 1),
            Code::IdError,
        ),
        closed(
            "a datagram of the first stream over the limit",
            varint(128),
            Code::IdError,
        ),
    ]
}

fn uses() -> Vec<Row> {
    let useless = |name, steps| Row {
        name,
        steps,
        expect: Expect::Reset(Code::DatagramError),
        reaches: Reaches::Nothing,
    };
    let open = |bytes| Step::Request(vec![bytes], End::Open);
    vec![
        useless(
            "a datagram of a GET",
            vec![open(get(&[])), datagram(0, b"\0x")],
        ),
        useless(
            "a datagram before its GET",
            vec![datagram(0, b"\0x"), open(get(&[]))],
        ),
        useless(
            "a datagram of a POST within its content",
            vec![
                open([post(&[("content-length", "2")]), data(b"x")].concat()),
                datagram(0, b""),
            ],
        )
        .reaching(Reaches::Cut),
    ]
}

fn targets() -> Vec<Row> {
    let refused = |name, target, status| refused(name, ask(target), Expect::Status(status));
    vec![
        refused("a tunnel without a target", "/", 400),
        refused("a tunnel to port 0", "/127.0.0.1/0/", 400),
        refused("a tunnel with a query", "/127.0.0.1/9/?a=b", 400),
        refused("a tunnel to a zone", "/fe80::1%25lo/9/", 400),
        refused(
            "a tunnel to another port than is allowed",
            "/127.0.0.1/8/",
            403,
        ),
        refused("a tunnel by a number for an address", "/2130706433/9/", 400),
    ]
}

/// Tunnels that are opened, and end when their client ends them.
fn oddities() -> Vec<Row> {
    let tunnel = |name, stream: &[u8]| {
        let bytes = [ask("/127.0.0.1/9/"), stream.to_vec()].concat();
        refused(name, bytes, Expect::Status(200))
    };
    let capsule = |kind, payload: &[u8]| frame(kind, payload);
    vec![
        tunnel("a datagram of another context", b"").after([datagram(0, b"\x02x")]),
        tunnel("a datagram without a context", b"").after([datagram(0, b"")]),
        tunnel("a datagram whose stream is in eight bytes", b"")
            .after([Step::Datagram([&long(0)[..], b"\x02x"].concat())]),
        tunnel("more datagrams than are held", b"")
            .after((0..40).map(|number| datagram(3, &[number]))),
        tunnel("a capsule of unknown type", &data(&capsule(0x17, b"x"))),
        tunnel(
            "a capsule in frames of one byte",
            &capsule(0, b"\x02x")
                .iter()
                .flat_map(|byte| data(&[*byte]))
                .collect::<Vec<_>>(),
        ),
        served(
            "a datagram of a stream that is never opened",
            get(&[]),
            Message::new("GET", "/"),
        )
        .after([datagram(5, b"\0x")]),
    ]
}

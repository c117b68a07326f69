//! Clients that take their time, before a gateway that gives them little.

use wayhold::http3::Code;

use crate::row::{
    CONTROL, End, Expect, Message, Reaches, Row, Step, begun, closed_by, control, data, frame, get,
    ordinary, post, refused, request, served,
};

/// How much time there is: little, and still more than a busy machine takes for what is not slow. The
/// rate is above what a client gets done that does a little every now and then.
pub(crate) const LIMITS: &str = "timeouts.header = \"1s\"\ntimeouts.body_idle = \"1s\"\n\
     timeouts.idle = \"2s\"\nlimits.body_rate = 1000000\n";

/// A row, and the reason for which a request of it is counted as failed.
#[derive(Clone, Debug)]
pub(crate) struct Slow {
    pub(crate) row: Row,
    pub(crate) counted: Option<&'static str>,
}

pub(crate) fn rows() -> Vec<Slow> {
    [heads(), bodies(), responses(), connections()].concat()
}

fn counted(reason: &'static str, rows: Vec<Row>) -> Vec<Slow> {
    let slow = |row| Slow {
        row,
        counted: Some(reason),
    };
    rows.into_iter().map(slow).collect()
}

/// A request of which the first part comes at once and the rest byte by byte.
fn dripping(name: &'static str, at_once: Vec<u8>, then: Vec<u8>, expect: Expect) -> Row {
    Row {
        steps: vec![Step::Drip(at_once, then)],
        ..refused(name, vec![], expect)
    }
}

fn heads() -> Vec<Slow> {
    let late = Expect::Reset(Code::InternalError);
    let dripping = |name, at_once, then| dripping(name, at_once, then, late);
    let long = request("GET", "/", &[("x", &"y".repeat(300))]);
    let grease = frame(0x21, &[7; 50]).repeat(20);
    let stops = |name, bytes| refused(name, bytes, late).ending(End::Open);
    let rows = vec![
        dripping("a head byte by byte", vec![], long),
        dripping("unknown frames before a head byte by byte", vec![], grease),
        dripping(
            "a giant unknown frame byte by byte",
            begun(0x21, 1 << 40),
            vec![0; 300],
        ),
        stops("a head that stops", get(&[])[..20].to_vec()),
        stops("a frame's type and nothing more", vec![1]),
        stops("unknown frames and no head", frame(0x21, b"x")),
        stops("streams with nothing on them", vec![1]).after([Step::Open(100)]),
    ];
    counted("request_timeout", rows)
}

fn bodies() -> Vec<Slow> {
    let cut = |row: Row| row.reaching(Reaches::Cut);
    let dripping = |name, at_once, then| cut(dripping(name, at_once, then, Expect::Status(408)));
    let announced = || post(&[("content-length", "100000")]);
    let stops = |name, bytes| cut(refused(name, bytes, Expect::Status(408)).ending(End::Open));
    let crawl = vec![
        dripping(
            "content in frames of one byte, one at a time",
            post(&[]),
            data(b"x").repeat(300),
        ),
        dripping(
            "content of one long frame byte by byte",
            [announced(), begun(0, 100_000)].concat(),
            vec![b'x'; 300],
        ),
    ];
    let stand = vec![
        dripping(
            "an unknown frame within the content byte by byte",
            [post(&[]), data(b"x"), begun(0x21, 1 << 20)].concat(),
            vec![0; 300],
        ),
        dripping(
            "trailers byte by byte",
            [post(&[]), data(b"x"), begun(1, 3000)].concat(),
            vec![0; 300],
        ),
        stops("content that stops", [post(&[]), data(b"x")].concat()),
        stops("content that never comes", announced()),
        stops(
            "trailers that stop",
            [post(&[]), data(b"x"), vec![1, 40]].concat(),
        ),
    ];
    [
        counted("body_too_slow", crawl),
        counted("body_timeout", stand),
    ]
    .concat()
}

fn responses() -> Vec<Slow> {
    let taken = |name, step: fn(Vec<u8>) -> Step| {
        let row = refused(name, vec![], Expect::Reset(Code::InternalError));
        Row {
            steps: vec![step(request("GET", "/large", &[]))],
            ..row.reaching(Reaches::Whole(Message::new("GET", "/large")))
        }
    };
    let unread = vec![taken("a response that is never read", Step::Unread)];
    let sipped = vec![taken("a response that is read in sips", Step::Sip)];
    [
        counted("body_timeout", unread),
        counted("body_too_slow", sipped),
    ]
    .concat()
}

fn connections() -> Vec<Slow> {
    let closed = |name, bytes| closed_by(name, bytes, Code::NoError);
    let dripping = Row {
        steps: vec![Step::DripOneWay(control(&frame(0x21, &[0; 200])))],
        ..closed("grease on the control stream byte by byte", vec![])
    };
    let rows = vec![
        closed("a connection on which nothing is asked", CONTROL.to_vec()),
        Row {
            steps: vec![Step::Pings(100)],
            ..closed("pings and no request", vec![])
        },
        closed("a control stream that stops within a frame", control(&[7])),
        closed("a stream of one direction without a type", vec![0x40]),
        closed("a request, and then nothing more", CONTROL.to_vec())
            .after([ordinary()])
            .reaching(Reaches::Whole(Message::new("GET", "/"))),
        dripping,
        served(
            "streams that the last one opens",
            get(&[]),
            Message::new("GET", "/"),
        )
        .after([Step::Open(100)]),
    ];
    let slow = |row| Slow { row, counted: None };
    rows.into_iter().map(slow).collect()
}

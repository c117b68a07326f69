//! What is legal once and harmful a thousand times.

use wayhold::http3::Code;

use crate::row::{
    End, Expect, Reaches, Row, Step, closed_by, control, data, frame, get, headers, ordinary, post,
    refused, varint,
};

pub(crate) fn rows() -> Vec<Row> {
    [noise(), requests()].concat()
}

/// Time forgives a hundred each second, and a busy machine takes some for a row.
const MANY: usize = 3000;

fn excess(name: &'static str, steps: Vec<Step>) -> Row {
    Row {
        name,
        steps,
        expect: Expect::Close(Code::ExcessiveLoad),
        reaches: Reaches::Ordinary,
    }
}

fn noise() -> Vec<Row> {
    let request = |name, bytes: Vec<u8>| {
        refused(name, bytes, Expect::Close(Code::ExcessiveLoad)).reaching(Reaches::Ordinary)
    };
    let on_control =
        |name, one: Vec<u8>| closed_by(name, control(&one.repeat(MANY)), Code::ExcessiveLoad);
    let one_way = |name, kind: u8, byte: u8| {
        let bytes = [vec![kind], vec![byte; MANY]].concat();
        closed_by(name, bytes, Code::ExcessiveLoad)
    };
    let update = frame(0xf_0700, &[&varint(0)[..], b"u=1"].concat());
    let unknown = |index: usize| Step::OneWay(varint(0x21 + 0x1f * index as u64), End::Finished);
    vec![
        request("empty DATA", [post(&[]), data(b"").repeat(MANY)].concat()),
        request(
            "empty DATA between bytes",
            [post(&[]), [data(b"x"), data(b"")].concat().repeat(MANY)].concat(),
        ),
        request(
            "unknown frames before HEADERS",
            [frame(0x21, b"").repeat(MANY), get(&[])].concat(),
        ),
        request(
            "unknown frames behind HEADERS",
            [get(&[]), frame(0x5f, b"x").repeat(MANY)].concat(),
        ),
        on_control("unknown frames on the control stream", frame(0x21, b"xyz")),
        on_control("the same MAX_PUSH_ID", frame(0xd, &[9])),
        on_control("the same GOAWAY", frame(7, &[0])),
        on_control("priorities", update),
        one_way("capacities of 0", 2, 0x20),
        one_way("cancellations of QPACK", 3, 0x40),
        excess("streams of unknown types", (0..MANY).map(unknown).collect()),
    ]
}

fn requests() -> Vec<Row> {
    let repeated = |step: Step| vec![step; 2000];
    let head = get(&[]);
    let half = head[..head.len() / 2].to_vec();
    let malformed = get(&[("connection", "close")]);
    let large = headers(&[("x", &"y".repeat(40_000))]);
    vec![
        excess(
            "requests reset within the head",
            repeated(Step::Request(vec![half], End::Reset)),
        ),
        excess(
            "streams reset with nothing on them",
            repeated(Step::Request(vec![vec![]], End::Reset)),
        ),
        excess(
            "requests reset within the content",
            repeated(Step::Request(
                vec![[post(&[]), data(b"x")].concat()],
                End::Reset,
            )),
        ),
        excess(
            "responses that are not wanted",
            repeated(Step::Request(vec![request_forever()], End::Stopped)),
        ),
        excess(
            "malformed requests",
            repeated(Step::Request(vec![malformed], End::Finished)),
        ),
        excess(
            "requests that are too large",
            repeated(Step::Request(vec![large], End::Finished)),
        ),
        excess("malformed requests between good ones", between_good_ones()),
    ]
}

/// The backend never answers it.
fn request_forever() -> Vec<u8> {
    crate::row::request("GET", "/forever", &[])
}

/// One good request forgives one bad one.
fn between_good_ones() -> Vec<Step> {
    let bad = || Step::Request(vec![headers(&[])], End::Finished);
    let empty = Step::Request(vec![vec![]], End::Finished);
    (0..1000)
        .flat_map(|_| [ordinary(), bad(), empty.clone()])
        .collect()
}

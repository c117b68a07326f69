//! Control streams, and what stands in for them.

use wayhold::http3::Code;

use crate::row::{
    CONTROL, End, Expect, Reaches, Row, Step, begun, closed_by, control, frame, long, varint,
};

pub(crate) fn rows() -> Vec<Row> {
    [kinds(), settings(), frames(), priorities()].concat()
}

fn open(bytes: &[u8]) -> Step {
    Step::OneWay(bytes.to_vec(), End::Open)
}

/// A critical stream that ends.
fn ending(name: &'static str, bytes: &[u8], end: End) -> Row {
    closed_by(name, bytes.to_vec(), Code::ClosedCriticalStream).ending(end)
}

fn kinds() -> Vec<Row> {
    let second = |name, bytes: &[u8]| {
        closed_by(name, bytes.to_vec(), Code::StreamCreationError).after([open(bytes)])
    };
    vec![
        second("a second control stream", &CONTROL),
        second("a second encoder stream", &[2]),
        second("a second decoder stream", &[3]),
        closed_by("a push stream", vec![1, 0], Code::StreamCreationError),
        closed_by(
            "a push stream in eight bytes",
            [long(1), vec![0]].concat(),
            Code::StreamCreationError,
        ),
        ending("a control stream that ends", &CONTROL, End::Finished),
        ending("a control stream that is reset", &CONTROL, End::Reset),
        ending(
            "a control stream that ends within a frame",
            &[0, 4, 5, 6],
            End::Finished,
        ),
        ending("an encoder stream that ends", &[2], End::Finished),
        ending("a decoder stream that is reset", &[3], End::Reset),
        Row {
            name: "the gateway's control stream is stopped",
            steps: vec![Step::StopControl],
            expect: Expect::Close(Code::ClosedCriticalStream),
            reaches: Reaches::Nothing,
        },
    ]
}

fn settings() -> Vec<Row> {
    let settings = |payload: &[u8]| [&[0][..], &frame(4, payload)].concat();
    let wrong = |name, payload: &[u8]| closed_by(name, settings(payload), Code::SettingsError);
    vec![
        closed_by(
            "no SETTINGS but GOAWAY",
            [&[0][..], &frame(7, &[0])].concat(),
            Code::MissingSettings,
        ),
        closed_by(
            "no SETTINGS but DATA",
            [&[0][..], &frame(0, b"x")].concat(),
            Code::MissingSettings,
        ),
        closed_by(
            "an unknown frame before SETTINGS",
            [&[0][..], &frame(0x21, b""), &frame(4, b"")].concat(),
            Code::MissingSettings,
        ),
        closed_by(
            "SETTINGS twice",
            control(&frame(4, b"")),
            Code::FrameUnexpected,
        ),
        closed_by(
            "SETTINGS over the limit",
            [&[0][..], &begun(4, 4097)].concat(),
            Code::ExcessiveLoad,
        ),
        closed_by(
            "SETTINGS of 2^62 - 1 bytes behind SETTINGS",
            [&CONTROL[..], &[4], &long((1 << 62) - 1)].concat(),
            Code::FrameUnexpected,
        ),
        closed_by(
            "a setting without a value",
            settings(&[6]),
            Code::FrameError,
        ),
        closed_by(
            "a setting whose value is cut",
            settings(&[6, 0x40]),
            Code::FrameError,
        ),
        wrong("a setting twice", &[6, 1, 0x21, 0, 6, 1]),
        wrong("a setting twice in two forms", &[6, 1, 0x40, 6, 2]),
        wrong("a setting of HTTP/2", &[2, 0]),
        wrong("extended CONNECT neither on nor off", &[8, 2]),
        wrong("datagrams neither on nor off", &[0x33, 0x40, 0xff]),
    ]
}

fn frames() -> Vec<Row> {
    let unexpected = |name, frames: &[u8]| closed_by(name, control(frames), Code::FrameUnexpected);
    let id = |name, frames: &[u8]| closed_by(name, control(frames), Code::IdError);
    let cut = |name, frames: &[u8]| closed_by(name, control(frames), Code::FrameError);
    vec![
        unexpected("DATA on the control stream", &frame(0, b"x")),
        unexpected("HEADERS on the control stream", &frame(1, &[0, 0, 0xd1])),
        unexpected("PUSH_PROMISE on the control stream", &frame(5, &[0, 0, 0])),
        unexpected(
            "a frame of HTTP/2 on the control stream",
            &frame(6, &[0; 8]),
        ),
        id(
            "MAX_PUSH_ID shrinks",
            &[frame(0xd, &[5]), frame(0xd, &[4])].concat(),
        ),
        id(
            "CANCEL_PUSH without a promise",
            &[frame(0xd, &[5]), frame(3, &[0])].concat(),
        ),
        id("GOAWAY grows", &[frame(7, &[4]), frame(7, &[5])].concat()),
        cut("an empty MAX_PUSH_ID", &frame(0xd, b"")),
        cut("a MAX_PUSH_ID of two", &frame(0xd, &[1, 2])),
        cut("a GOAWAY that is cut", &frame(7, &[0x40])),
        closed_by(
            "a CANCEL_PUSH over the limit",
            control(&begun(3, 1 << 20)),
            Code::ExcessiveLoad,
        ),
    ]
}

fn priorities() -> Vec<Row> {
    let update = |kind, id: u64| frame(kind, &[&varint(id)[..], b"u=1"].concat());
    let id = |name, frame: Vec<u8>| closed_by(name, control(&frame), Code::IdError);
    vec![
        id(
            "a priority for a stream of one direction",
            update(0xf_0700, 2),
        ),
        id(
            "a priority beyond the stream limit",
            update(0xf_0700, 4 * 128),
        ),
        id(
            "a priority for the last stream of all",
            update(0xf_0700, (1 << 62) - 4),
        ),
        id("a priority for a push", update(0xf_0701, 0)),
        closed_by(
            "a priority for nothing",
            control(&frame(0xf_0700, b"")),
            Code::FrameError,
        ),
        id("an empty priority for a push", frame(0xf_0701, b"")),
    ]
}

//! Frames on a request stream, in any order and cut anywhere.

use wayhold::http3::{Terms, Violation};

use super::fields::{self, Fields, Seen, put_frame, put_varint, read};
use super::input::Input;

pub(crate) fn target(input: &[u8]) {
    let mut input = Input::new(input);
    let cuts: [u8; 4] = input.array();
    let bytes = stream(&mut input);
    let whole = read(Terms::default(), &[&bytes[..]]);
    let parts = read(Terms::default(), &pieces(&bytes, cuts));
    let single = read(Terms::default(), &bytes.chunks(1).collect::<Vec<_>>());
    for other in [&parts, &single] {
        assert_eq!(comparable(&whole), comparable(other));
    }
    against_reference(&bytes, &whole);
}

/// Frames of a request, more or less.
fn stream(input: &mut Input<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    if !input.one_in(8) {
        put_frame(&mut out, HEADERS, &head(input));
    }
    while !input.is_empty() {
        match input.below(16) {
            0..4 => put_frame(&mut out, DATA, input.bytes(8)),
            4 => put_frame(&mut out, HEADERS, &head(input)),
            5 => {
                let fields = (0..input.below(3)).map(|_| fields::line(input)).collect();
                put_frame(&mut out, HEADERS, &fields::section(&fields));
            }
            6 => put_frame(&mut out, HEADERS, input.bytes(20)),
            7 => put_frame(
                &mut out,
                0x21 + 0x1f * (input.u64() % (1 << 40)),
                input.bytes(8),
            ),
            8 => {
                let kind = input.pick(&[2, 3, 4, 5, 6, 7, 8, 9, 0xd, 0xf_0700, 0xf_0701]);
                put_frame(&mut out, kind, input.bytes(4));
            }
            9 => out.extend_from_slice(input.bytes(12)),
            10 => {
                put_varint(&mut out, input.u64(), input.below(4));
                put_varint(&mut out, input.u64(), input.below(4));
            }
            11 => {
                put_varint(&mut out, input.pick(&[DATA, HEADERS, 0x40]), input.below(4));
                put_varint(&mut out, input.below(3) as u64, input.below(4));
                out.extend_from_slice(input.bytes(3));
            }
            _ => put_frame(&mut out, DATA, b"abc"),
        }
    }
    out
}

fn head(input: &mut Input<'_>) -> Vec<u8> {
    let mut fields = Fields::new();
    fields::pseudo_fields(input, &mut fields);
    if input.one_in(2) {
        let length = input.below(12).to_string().into_bytes();
        fields.push((b"content-length".to_vec(), length));
    }
    fields::section(&fields)
}

/// Cuts bytes into pieces of four sizes in turn, from 0 to 15 bytes.
pub(crate) fn pieces(bytes: &[u8], sizes: [u8; 4]) -> Vec<&[u8]> {
    let (mut rest, mut pieces) = (bytes, Vec::new());
    for (turn, size) in sizes.iter().cycle().enumerate() {
        if rest.is_empty() {
            break;
        }
        let size = usize::from(size & 15).max(usize::from(turn % 4 == 3));
        let (piece, after) = rest.split_at(size.min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// The content that came before a violation depends on where the stream was cut, and nothing else does.
fn comparable(seen: &Seen) -> (String, String, &[u8], u32, Option<Violation>) {
    let content = match seen.violation {
        Some(_) => &[],
        None => &seen.content[..],
    };
    (
        format!("{:?}", seen.head),
        format!("{:?}", seen.trailers),
        content,
        seen.glitches,
        seen.violation,
    )
}

/// Reads the frames once more, slowly and all at once, and wants the same.
fn against_reference(bytes: &[u8], seen: &Seen) {
    let (frames, cut) = frames(bytes);
    let kinds: Vec<_> = frames.iter().map(|(kind, _)| *kind).collect();
    let has = |kind: &dyn Fn(u64) -> bool| kinds.iter().any(|found| kind(*found));
    let sections = kinds.iter().filter(|kind| **kind == HEADERS).count();
    let Some(violation) = seen.violation else {
        assert!(
            !cut && !has(&is_forbidden),
            "all frames are whole and allowed"
        );
        let message: Vec<_> = kinds
            .into_iter()
            .filter(|kind| matches!(*kind, DATA | HEADERS))
            .collect();
        assert!(message.first() == Some(&HEADERS) && (1..=2).contains(&sections));
        assert!(
            sections == 1 || message.last() == Some(&HEADERS),
            "nothing after trailers"
        );
        assert_eq!(seen.trailers.is_some(), sections == 2);
        let data = frames.iter().filter(|(kind, _)| *kind == DATA);
        let content = data
            .clone()
            .flat_map(|(_, payload)| payload.to_vec())
            .collect::<Vec<_>>();
        assert_eq!(seen.content, content, "DATA and nothing else is content");
        let head = seen.head.as_ref().expect("there is a head");
        let length = head.content_length.filter(|_| head.method != "CONNECT");
        assert!(length.is_none_or(|length| length == content.len() as u64));
        assert!(head.method != "CONNECT" || sections == 1);
        let glitches = frames.iter().filter(|(kind, payload)| match *kind {
            DATA => payload.is_empty(),
            kind => kind != HEADERS,
        });
        assert_eq!(seen.glitches as usize, glitches.count());
        return;
    };
    let reason = match violation {
        Violation::TruncatedFrame => cut,
        Violation::ReservedFrame => has(&|kind| matches!(kind, 2 | 6 | 8 | 9)),
        Violation::ControlFrameOnRequest => has(&|kind| matches!(kind, 3 | 4 | 7 | 0xd)),
        Violation::PriorityUpdateOnRequest => has(&|kind| kind >> 1 == 0xf_0700 >> 1),
        Violation::PushPromise => has(&|kind| kind == 5),
        Violation::DataBeforeHead => kinds.iter().find(|kind| **kind <= 1) == Some(&DATA),
        Violation::DataAfterTrailers | Violation::HeadersInTunnel => {
            sections >= 1 && kinds.len() > 1
        }
        Violation::HeadersAfterTrailers => sections > 2,
        Violation::IncompleteRequest => sections == 0,
        Violation::LongBody | Violation::ShortBody => seen
            .head
            .as_ref()
            .is_some_and(|head| head.content_length.is_some()),
        // What is wrong with a section is for the other targets.
        _ => has(&|kind| kind == HEADERS),
    };
    assert!(reason, "{violation:?} has a reason");
}

fn is_forbidden(kind: u64) -> bool {
    matches!(kind, 2..=9 | 0xd | 0xf_0700 | 0xf_0701)
}

/// All frames, and whether the last one is cut. Of that one what is there counts.
fn frames(mut bytes: &[u8]) -> (Vec<(u64, &[u8])>, bool) {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let mut header = [0; 2];
        for value in &mut header {
            let length = 1 << (bytes.first().copied().unwrap_or(0) >> 6);
            if bytes.len() < length {
                return (frames, true);
            }
            *value = u64::from(bytes[0] & 0x3f);
            for byte in &bytes[1..length] {
                *value = *value * 256 + u64::from(*byte);
            }
            bytes = &bytes[length..];
        }
        let length = usize::try_from(header[1]).unwrap_or(usize::MAX);
        let cut = length > bytes.len();
        let (payload, rest) = bytes.split_at(length.min(bytes.len()));
        frames.push((header[0], payload));
        bytes = rest;
        if cut {
            return (frames, true);
        }
    }
    (frames, false)
}

const DATA: u64 = 0;
const HEADERS: u64 = 1;

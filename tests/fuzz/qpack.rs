//! Field sections (RFC 9204) beside another implementation of them.
//!
//! The engine shows sections as the trailers of a request, so rules of messages take part.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use wayhold::http3::{Limits, ResponseStream, Terms, Violation};

use super::fields::{self, Fields, Seen, decode_section, put_frame, read};
use super::input::Input;

/// Any section is read as the other implementation reads it, or refused for a reason.
pub(crate) fn decode(input: &[u8]) {
    let section = section(&mut Input::new(input));
    let seen = trailers(&section);
    let others = decode_section(&section);
    match (seen.violation, others) {
        (None, others) => {
            let trailers = seen.trailers.expect("the section was read");
            let others = others.expect("what is read here is read elsewhere");
            assert_eq!(listed(&trailers), sorted(others));
            again(&trailers);
        }
        (Some(violation), None) => {
            let message = is_about_messages(violation);
            assert!(message || is_about_qpack(violation), "{violation:?}");
        }
        (Some(violation), Some(others)) => {
            let reason = match violation {
                // The other one reads these.
                Violation::LargeInteger
                | Violation::HuffmanPadding
                | Violation::HuffmanEnd
                | Violation::NegativeBase
                | Violation::RequiredInsertCount => true,
                _ => is_about_messages(violation) && others.iter().any(|line| !is_trailer(line)),
            };
            let large = others
                .iter()
                .map(|(name, value)| 32 + name.len() + value.len())
                .sum::<usize>();
            let limits = LIMITS;
            let large = large > limits.section_bytes as usize || others.len() > limits.fields;
            assert!(reason || large, "{violation:?} has a reason: {others:?}");
        }
    }
}

/// Any fields are written so that the other implementation and this one read them.
pub(crate) fn encode(input: &[u8]) {
    let mut input = Input::new(input);
    let mut map = HeaderMap::new();
    let mut expected = Fields::new();
    while !input.is_empty() {
        let (name, value) = if input.one_in(3) {
            (
                input.bytes(12).to_ascii_lowercase(),
                input.bytes(60).to_vec(),
            )
        } else {
            fields::line(&mut input)
        };
        let (Ok(name), Ok(mut value)) = (
            HeaderName::from_bytes(&name),
            HeaderValue::from_bytes(&value),
        ) else {
            continue;
        };
        value.set_sensitive(input.one_in(4));
        expected.push((name.as_str().into(), value.as_bytes().into()));
        map.append(name, value);
    }
    let frame = ResponseStream::trailers(&map);
    let section = payload(&frame);
    let plain: usize = expected
        .iter()
        .map(|(name, value)| name.len() + value.len() + 6)
        .sum();
    assert!(section.len() <= 2 + plain, "no field is longer than itself");
    let others = decode_section(section).expect("the other implementation reads it");
    assert_eq!(sorted(others), sorted(expected));
    let seen = trailers(section);
    if seen.violation.is_none() {
        let read = seen.trailers.unwrap_or_default();
        assert_eq!(read, map);
        let sensitive = |map: &HeaderMap| {
            map.values()
                .map(HeaderValue::is_sensitive)
                .collect::<Vec<_>>()
        };
        assert_eq!(sensitive(&read), sensitive(&map));
    }
}

/// What was read can be written and read again.
fn again(trailers: &HeaderMap) {
    let frame = ResponseStream::trailers(trailers);
    let read = self::trailers(payload(&frame));
    assert_eq!(read.trailers.as_ref(), Some(trailers));
}

fn trailers(section: &[u8]) -> Seen {
    let head: [(&[u8], &[u8]); 4] = [
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":authority", b"a"),
        (b":path", b"/"),
    ];
    let head = head
        .map(|(name, value)| (name.to_vec(), value.to_vec()))
        .to_vec();
    let mut bytes = Vec::new();
    put_frame(&mut bytes, 1, &fields::section(&head));
    put_frame(&mut bytes, 1, section);
    read(Terms::new(LIMITS), &[&bytes[..]])
}

/// Lines of every form, right or nearly so.
fn section(input: &mut Input<'_>) -> Vec<u8> {
    let mut out = if input.one_in(8) {
        input.bytes(4).to_vec()
    } else {
        vec![0, 0]
    };
    while !input.is_empty() {
        match input.below(10) {
            0 => put_integer(&mut out, 0xc0, 6, input.u64(), input),
            1 => out.push(0xc0 | input.byte()),
            2 => {
                let flags = input.pick(&[0x50, 0x70]);
                put_integer(&mut out, flags, 4, input.below(110) as u64, input);
                put_string(&mut out, 0, 7, input);
            }
            3 | 4 => {
                let flags = input.pick(&[0x20, 0x30]);
                put_string(&mut out, flags, 3, input);
                put_string(&mut out, 0, 7, input);
            }
            5 => out.extend_from_slice(input.bytes(10)),
            6 => out.push(input.byte() & 0x7f),
            _ => {
                let lines = vec![fields::line(input)];
                out.extend_from_slice(&fields::section(&lines)[2..]);
            }
        }
    }
    out
}

fn put_integer(out: &mut Vec<u8>, flags: u8, prefix: u32, value: u64, input: &mut Input<'_>) {
    let most = (1_u8 << prefix) - 1;
    let Some(mut rest) = value.checked_sub(most.into()) else {
        out.push(flags | value.to_le_bytes()[0]);
        return;
    };
    out.push(flags | most);
    while rest >= 0x80 {
        out.push(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    out.push(rest.to_le_bytes()[0]);
    if input.one_in(16) {
        let last = out.len() - 1;
        out[last] |= 0x80;
        out.push(0);
    }
}

fn put_string(out: &mut Vec<u8>, flags: u8, prefix: u32, input: &mut Input<'_>) {
    let text = input.bytes(24);
    let kind = input.byte();
    let bytes = match kind & 3 {
        // The other implementation's Huffman code, cut out of a line with a literal value.
        0 => {
            let line = fields::section(&vec![(b":path".to_vec(), text.to_vec())]);
            line[4.min(line.len())..].to_vec()
        }
        _ => text.to_vec(),
    };
    let huffman = if kind & 2 == 0 { 1 << prefix } else { 0 };
    let length = bytes.len() as u64 + u64::from(kind > 250);
    put_integer(out, flags | huffman, prefix, length, input);
    out.extend_from_slice(&bytes);
}

fn listed(map: &HeaderMap) -> Fields {
    sorted(
        map.iter()
            .map(|(name, value)| (name.as_str().into(), value.as_bytes().into()))
            .collect(),
    )
}

/// By names; lines of one name stay in their order.
fn sorted(mut fields: Fields) -> Fields {
    fields.sort_by(|(one, _), (other, _)| one.cmp(other));
    fields
}

/// What follows the header of a HEADERS frame.
fn payload(frame: &Bytes) -> &[u8] {
    assert_eq!(frame[0], 1);
    let header = 1 + (1 << (frame[1] >> 6));
    let mut again = BytesMut::new();
    put(&mut again, &frame[header..]);
    assert_eq!(
        again[..],
        frame[..],
        "the length is that of the section, in its shortest form"
    );
    &frame[header..]
}

fn put(out: &mut BytesMut, section: &[u8]) {
    let mut bytes = Vec::new();
    put_frame(&mut bytes, 1, section);
    out.extend_from_slice(&bytes);
}

/// Whether a line may be in trailers, in other words than the engine's.
fn is_trailer((name, value): &(Vec<u8>, Vec<u8>)) -> bool {
    const NOT: [&str; 8] = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
        "content-length",
        "host",
        "te",
    ];
    let legal =
        HeaderName::from_bytes(name).is_ok_and(|legal| legal.as_str().as_bytes() == &name[..]);
    let trimmed = value.trim_ascii_start().trim_ascii_end().len() == value.len();
    legal
        && trimmed
        && HeaderValue::from_bytes(value).is_ok()
        && !NOT.iter().any(|not| not.as_bytes() == &name[..])
}

fn is_about_qpack(violation: Violation) -> bool {
    use Violation as V;
    matches!(
        violation,
        V::RequiredInsertCount
            | V::NegativeBase
            | V::DynamicReference
            | V::StaticIndex
            | V::LargeInteger
            | V::TruncatedSection
            | V::HuffmanPadding
            | V::HuffmanEnd
    )
}

fn is_about_messages(violation: Violation) -> bool {
    use Violation as V;
    matches!(
        violation,
        V::LargeFrame
            | V::LargeSection
            | V::ManyFields
            | V::EmptyName
            | V::UppercaseName
            | V::IllegalName
            | V::IllegalValue
            | V::PaddedValue
            | V::PseudoFieldInTrailers
            | V::ConnectionField
            | V::Reframing
            | V::Unrepresentable
    )
}

/// Small ones, so that inputs reach them.
const LIMITS: Limits = Limits {
    section_bytes: 600,
    fields: 8,
    streams: 8,
};

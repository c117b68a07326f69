//! Bytes of HTTP/3 as a client writes them, and what the engine makes of them.

use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;
use wayhold::http3::{Connection, Part, RequestStream, StreamId, Terms, Violation};

use super::input::Input;

/// Names and values; any bytes.
pub(crate) type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// What came of a request stream, with the content in one piece.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) head: Option<wayhold::http3::Head>,
    pub(crate) content: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
    pub(crate) ended: bool,
    pub(crate) glitches: u32,
    pub(crate) violation: Option<Violation>,
}

/// Sends these pieces and the end of the stream, and holds the engine to what is true of every stream.
pub(crate) fn read(terms: Terms, pieces: &[&[u8]]) -> Seen {
    read_on(&mut Connection::new(terms, start()), terms, pieces)
}

/// The same on a connection on which something was inserted.
pub(crate) fn read_on(connection: &mut Connection, terms: Terms, pieces: &[&[u8]]) -> Seen {
    let mut stream = RequestStream::new(terms);
    let mut seen = Seen::default();
    for piece in pieces {
        seen.receive(connection, &mut stream, piece);
        if seen.violation.is_some() {
            break;
        }
    }
    match stream.finish() {
        Ok(()) => {
            assert_eq!(seen.violation, None, "a violation is not forgotten");
            seen.ended = true;
            seen.receive(connection, &mut stream, &[]);
        }
        Err(violation) => {
            assert_eq!(*seen.violation.get_or_insert(violation), violation);
            let again = stream.next(&mut Bytes::from_static(b"\0\0"));
            assert_eq!(again.err(), Some(violation), "a violation is the last word");
        }
    }
    seen
}

impl Seen {
    fn receive(&mut self, connection: &mut Connection, stream: &mut RequestStream, piece: &[u8]) {
        let mut input = Bytes::copy_from_slice(piece);
        loop {
            let mut part = stream.next(&mut input);
            if let Ok(Some(Part::Referring)) = part {
                part = connection.read_section(StreamId::new(0), stream);
                if let Ok(None) = part {
                    continue;
                }
            }
            match part {
                Ok(Some(Part::Referring)) => panic!("it was read"),
                Ok(Some(Part::Head(head))) => {
                    assert!(self.head.replace(*head).is_none(), "one head");
                }
                Ok(Some(Part::Data(data))) => {
                    assert!(self.head.is_some() && self.trailers.is_none() && !data.is_empty());
                    self.content.extend_from_slice(&data);
                }
                Ok(Some(Part::Trailers(trailers))) => {
                    assert!(self.head.is_some() && self.ended, "trailers come last");
                    assert!(self.trailers.replace(trailers).is_none(), "once");
                }
                Ok(None) => break assert!(input.is_empty(), "all of it was used"),
                Err(violation) => {
                    self.violation = Some(violation);
                    break;
                }
            }
        }
        self.glitches += stream.take_glitches();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "virtual time has to begin somewhere"
)]
pub(crate) fn start() -> Instant {
    Instant::now()
}

/// Appends an integer as RFC 9000, section 16 has it, in `1 << size` bytes or as many as it needs.
pub(crate) fn put_varint(out: &mut Vec<u8>, value: u64, size: usize) {
    let value = value & ((1 << 62) - 1);
    let needed = match value {
        0..0x40 => 0,
        0x40..0x4000 => 1,
        0x4000..0x4000_0000 => 2,
        _ => 3,
    };
    let size = size.clamp(needed, 3);
    let bytes = (value | (size as u64) << (8 * (1 << size) - 2)).to_be_bytes();
    out.extend_from_slice(&bytes[8 - (1 << size)..]);
}

pub(crate) fn put_frame(out: &mut Vec<u8>, kind: u64, payload: &[u8]) {
    put_varint(out, kind, 0);
    put_varint(out, payload.len() as u64, 0);
    out.extend_from_slice(payload);
}

/// Encodes a section with another implementation of QPACK.
pub(crate) fn section(fields: &Fields) -> Vec<u8> {
    let mut out = Vec::new();
    let fields = fields
        .iter()
        .map(|(name, value)| ::qpack::HeaderField::new(name.clone(), value.clone()));
    ::qpack::encode_stateless(&mut out, fields).expect("it encodes anything");
    out
}

/// Decodes a section with another implementation of QPACK.
pub(crate) fn decode_section(mut section: &[u8]) -> Option<Fields> {
    let decoded = ::qpack::decode_stateless(&mut section, u64::MAX).ok()?;
    let lines = decoded.fields.into_iter().map(|field| {
        let (name, value) = field.into_inner();
        (name.into_owned(), value.into_owned())
    });
    Some(lines.collect())
}

/// A line of those that requests are made of, right or nearly so.
pub(crate) fn line(input: &mut Input<'_>) -> (Vec<u8>, Vec<u8>) {
    let name = input.pick(NAMES);
    let value = input.pick(VALUES);
    let (mut name, mut value) = (name.to_vec(), value.to_vec());
    match input.below(16) {
        0 => name = input.bytes(12).to_vec(),
        1 => value = input.bytes(40).to_vec(),
        2 => name.push(input.byte()),
        3 => value.push(input.byte()),
        4 => value.insert(0, input.byte()),
        _ => {}
    }
    (name, value)
}

/// The pseudo-fields of a request, of which some may be missing or other than they should be.
pub(crate) fn pseudo_fields(input: &mut Input<'_>, out: &mut Fields) {
    let method = input.pick(METHODS);
    let odd = input.byte();
    let connect = method == b"CONNECT" && odd & 1 == 0;
    let parts: [(&[u8], &[u8], bool); 4] = [
        (b":method", method, odd & 0xe0 != 0xe0),
        (b":scheme", b"https", !connect && odd & 0x70 != 0x70),
        (
            b":authority",
            if connect { b"a:1" } else { b"a" },
            odd & 0x38 != 0x38,
        ),
        (b":path", input.pick(PATHS), !connect && odd & 0x1c != 0x1c),
    ];
    for (name, value, there) in parts {
        if there {
            out.push((name.to_vec(), value.to_vec()));
        }
    }
}

const METHODS: &[&[u8]] = &[b"GET", b"POST", b"OPTIONS", b"CONNECT", b"get", b"M-SEARCH"];
const PATHS: &[&[u8]] = &[
    b"/",
    b"/a?b",
    b"*",
    b"",
    b"/a//../b",
    b"/%00",
    b"/a b",
    b"/#",
    b"http://a/",
];
const NAMES: &[&[u8]] = &[
    b"host",
    b"te",
    b"cookie",
    b"x",
    b"priority",
    b"content-length",
    b"connection",
    b"transfer-encoding",
    b"upgrade",
    b"keep-alive",
    b"proxy-connection",
    b":path",
    b":protocol",
    b":status",
    b":authority",
    b":method",
    b"expect",
    b"x-Y",
    b"accept-encoding",
    b"range",
];
const VALUES: &[&[u8]] = &[
    b"",
    b"a",
    b"a:1",
    b"trailers",
    b"0",
    b"3",
    b"GET",
    b"/",
    b" a",
    b"a\t",
    b"\x80\xff",
    b"a\0",
    b"a\r\nb: c",
    b"u=1, i",
    b"18446744073709551616",
    b"+3",
    b"3, 3",
    b"gzip, deflate, br",
];

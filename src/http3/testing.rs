//! What tests of the engine share: raw frames, and a connection whose streams are all in one place.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};

use super::qpack::encode;
use super::{
    Admission, Connection, OneWay, Part, RequestStream, Step, StreamId, Terms, Violation, varint,
};

#[expect(
    clippy::disallowed_methods,
    reason = "virtual time has to begin somewhere"
)]
pub(super) fn start() -> Instant {
    Instant::now()
}

/// A frame of this type.
pub(super) fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    varint::put(&mut out, kind);
    varint::put(&mut out, payload.len() as u64);
    out.put_slice(payload);
    out
}

/// An encoded field section.
pub(super) fn section(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode::prefix(&mut out);
    for (name, value) in fields {
        encode::line(&mut out, name.as_bytes(), value.as_bytes());
    }
    out.to_vec()
}

/// A HEADERS frame.
pub(super) fn headers(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(1, &section(fields))
}

/// A HEADERS frame of a request with more fields.
pub(super) fn request(method: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let pseudo = [
        (":method", method),
        (":scheme", "https"),
        (":authority", "gw.test"),
        (":path", "/"),
    ];
    headers(&[&pseudo[..], fields].concat())
}

/// What came of a request stream, with the content in one piece.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) head: Option<String>,
    pub(super) content: Vec<u8>,
    pub(super) trailers: Option<String>,
    pub(super) ended: bool,
    pub(super) glitches: u32,
    pub(super) violation: Option<Violation>,
}

/// Sends these pieces and the end of the stream.
pub(super) fn run(terms: Terms, pieces: &[&[u8]]) -> Seen {
    run_on(&mut Connection::new(terms, start()), terms, pieces)
}

/// Sends them on a connection that has a table.
pub(super) fn run_on(connection: &mut Connection, terms: Terms, pieces: &[&[u8]]) -> Seen {
    let mut stream = RequestStream::new(terms);
    let mut seen = Seen::default();
    for piece in pieces {
        seen.receive_on(connection, &mut stream, piece);
    }
    match stream.finish() {
        Ok(()) => {
            seen.receive(&mut stream, &[]);
            seen.ended = true;
        }
        Err(violation) => seen.violation = Some(violation),
    }
    seen
}

impl Seen {
    pub(super) fn receive(&mut self, stream: &mut RequestStream, piece: &[u8]) {
        self.receive_on(
            &mut Connection::new(Terms::default(), start()),
            stream,
            piece,
        );
    }

    fn receive_on(
        &mut self,
        connection: &mut Connection,
        stream: &mut RequestStream,
        piece: &[u8],
    ) {
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
                Ok(Some(Part::Referring)) => unreachable!("it was read"),
                Ok(Some(Part::Head(head))) => {
                    self.head = Some(format!("{head:?}"));
                }
                Ok(Some(Part::Data(data))) => self.content.extend_from_slice(&data),
                Ok(Some(Part::Trailers(trailers))) => {
                    self.trailers = Some(format!("{trailers:?}"));
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

/// A connection and its streams of one direction.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) connection: Connection,
    streams: BTreeMap<u64, OneWay>,
    pub(super) now: Instant,
}

impl Peer {
    pub(super) fn new() -> Self {
        let now = start();
        Self {
            connection: Connection::new(Terms::default(), now),
            streams: BTreeMap::new(),
            now,
        }
    }

    /// Sends bytes on a stream of one direction, and gives every step that is not just to go on.
    pub(super) fn send(&mut self, id: u64, bytes: &[u8]) -> Result<Vec<Step>, Violation> {
        let stream = self.streams.entry(id).or_default();
        let mut input = Bytes::copy_from_slice(bytes);
        let mut steps = Vec::new();
        loop {
            match self.connection.receive(stream, &mut input, self.now)? {
                Step::More => break,
                stop @ Step::Stop(_) => {
                    steps.push(stop);
                    break;
                }
                step => steps.push(step),
            }
        }
        Ok(steps)
    }

    /// Ends a stream of one direction.
    pub(super) fn end(&self, id: u64) -> Result<(), Violation> {
        self.connection.one_way_ended(&self.streams[&id])
    }

    /// Opens a request stream.
    pub(super) fn admit(&mut self, id: u64) -> Admission {
        self.connection.admit(StreamId::new(id))
    }
}

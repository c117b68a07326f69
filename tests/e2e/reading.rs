//! Reads responses over HTTP/3 part by part, as their bytes come.

use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;
use quinn::RecvStream;
use tokio::time::timeout;
use wayhold::http3::{Admission, Connection, Part, StreamId, Terms};

use crate::raw::{DATA, HEADERS, frame, frame_status, take_varint};
use crate::stage::PATIENCE;

/// A response stream whose parts a test takes one after the other.
pub(crate) struct Reading {
    stream: RecvStream,
    held: Vec<u8>,
}

/// What comes after the head of a response.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Rest {
    pub(crate) content: Vec<u8>,
    /// The sections that followed.
    pub(crate) trailers: Vec<HeaderMap>,
}

impl Reading {
    pub(crate) fn new(stream: RecvStream) -> Self {
        let held = Vec::new();
        Self { stream, held }
    }

    /// Takes a head, final or not, which must come next.
    pub(crate) async fn head(&mut self) -> (u16, HeaderMap) {
        let (kind, payload) = self.frame().await.expect("a response ends after its head");
        assert_eq!(kind, HEADERS);
        let status = frame_status(&frame(HEADERS, &payload));
        (status, fields(&payload[2 + status_line(&payload[2..])..]))
    }

    /// Takes a piece of content, which must come next.
    pub(crate) async fn piece(&mut self) -> Vec<u8> {
        let (kind, payload) = self.frame().await.expect("a response ends after its head");
        assert_eq!(kind, DATA);
        payload
    }

    /// Takes everything up to the end, which must be a clean one.
    pub(crate) async fn rest(mut self) -> Rest {
        let mut rest = Rest::default();
        while let Some((kind, payload)) = self.frame().await {
            match kind {
                DATA => rest.content.extend_from_slice(&payload),
                HEADERS => rest.trailers.push(fields(&payload[2..])),
                other => panic!("frame of type {other}"),
            }
        }
        rest
    }

    async fn frame(&mut self) -> Option<(u64, Vec<u8>)> {
        loop {
            if let Some((kind, start, end)) = whole_frame(&self.held) {
                let rest = self.held.split_off(end);
                let frame = std::mem::replace(&mut self.held, rest);
                return Some((kind, frame[start..].to_vec()));
            }
            let chunk = timeout(PATIENCE, self.stream.read_chunk(1 << 16, true)).await;
            let Some(chunk) = chunk.unwrap().unwrap() else {
                assert!(self.held.is_empty(), "the response ends within a frame");
                return None;
            };
            self.held.extend_from_slice(&chunk.bytes);
        }
    }
}

/// The type of the first frame and where its payload is, if all of it is there.
fn whole_frame(bytes: &[u8]) -> Option<(u64, usize, usize)> {
    let varint_len = |bytes: &[u8]| bytes.first().map(|first| 1 << (first >> 6));
    let kind_len = varint_len(bytes)?;
    let header = kind_len + varint_len(bytes.get(kind_len..)?)?;
    let (kind, rest) = take_varint(bytes.get(..header)?);
    let end = header + usize::try_from(take_varint(rest).0).unwrap();
    (bytes.len() >= end).then_some((kind, header, end))
}

/// How long the line of `:status` is.
fn status_line(lines: &[u8]) -> usize {
    match lines {
        [0xff, ..] => 2,
        [indexed, ..] if *indexed >= 0xc0 => 1,
        // The name by a reference of two bytes, then the length of the value in seven bits.
        [_, _, length, ..] => 3 + usize::from(length & 0x7f),
        short => panic!("{short:?}"),
    }
}

/// Reads lines as those of a request, which the engine can.
fn fields(lines: &[u8]) -> HeaderMap {
    let mut connection = Connection::new(Terms::default(), now());
    let Admission::Accepted(mut stream, _) = connection.admit(StreamId::new(0)) else {
        panic!("a new connection rejects nothing");
    };
    // `:method: GET`, `:scheme: https`, `:path: /` and `:authority: x` (RFC 9204, appendix A).
    let section = [&[0, 0, 0xd1, 0xd7, 0xc1, 0x50, 1, b'x'], lines].concat();
    match stream.next(&mut Bytes::from(frame(HEADERS, &section))) {
        Ok(Some(Part::Head(head))) => head.fields,
        other => panic!("{other:?}"),
    }
}

#[expect(clippy::disallowed_methods, reason = "only an origin for virtual time")]
fn now() -> Instant {
    Instant::now()
}

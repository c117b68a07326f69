use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, StatusCode};

use super::frame::count;
use super::qpack::encode;
use super::{frame, varint};

/// The gateway's side of one request stream: the parts of a response in, what goes before and between
/// the pieces of its content out. The pieces themselves need not pass through, so nothing copies them.
#[derive(Debug, Default)]
pub struct ResponseStream {
    /// What is left of a DATA frame that was begun.
    left: u64,
}

/// More content came than its frame was begun for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more content than was declared")]
pub struct Overrun;

impl ResponseStream {
    /// The HEADERS frame of a response, and with a known `length` of its content the beginning of one
    /// DATA frame for all of it.
    pub fn head(&mut self, status: StatusCode, fields: &HeaderMap, length: Option<u64>) -> Bytes {
        let mut out = section(|out| {
            encode::status(out, status);
            encode::fields(out, fields);
        });
        self.left = length.unwrap_or(0);
        if self.left > 0 {
            put_header(&mut out, frame::DATA, self.left);
        }
        out.freeze()
    }

    /// The HEADERS frame of an interim response (RFC 9110, section 15.2).
    pub fn interim(status: StatusCode, fields: &HeaderMap) -> Bytes {
        debug_assert!(status.is_informational(), "the final response is a head");
        section(|out| {
            encode::status(out, status);
            encode::fields(out, fields);
        })
        .freeze()
    }

    /// What goes before a piece of content of this length: nothing where a DATA frame is open.
    ///
    /// # Errors
    /// When the open frame is shorter than the piece.
    pub fn data(&mut self, length: usize) -> Result<Bytes, Overrun> {
        if self.left > 0 {
            self.left = self.left.checked_sub(count(length)).ok_or(Overrun)?;
            return Ok(Bytes::new());
        }
        let mut out = BytesMut::with_capacity(MAX_HEADER);
        put_header(&mut out, frame::DATA, count(length));
        Ok(out.freeze())
    }

    /// The HEADERS frame of trailers.
    pub fn trailers(trailers: &HeaderMap) -> Bytes {
        section(|out| encode::fields(out, trailers)).freeze()
    }

    /// Whether the response may end here. One that may not is reset.
    pub fn is_whole(&self) -> bool {
        self.left == 0
    }

    /// The whole response to a request whose header section is over the limit.
    pub fn too_large() -> Bytes {
        section(|out| encode::status(out, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)).freeze()
    }
}

/// A HEADERS frame, whose length is known when its payload has been written.
fn section(write: impl FnOnce(&mut BytesMut)) -> BytesMut {
    let mut out = BytesMut::with_capacity(USUAL_SECTION);
    out.put_bytes(0, MAX_HEADER);
    encode::prefix(&mut out);
    write(&mut out);
    let length = count(out.len() - MAX_HEADER);
    let start = MAX_HEADER - 1 - varint::len(length);
    let mut header = &mut out[start..MAX_HEADER];
    varint::put(&mut header, frame::HEADERS);
    varint::put(&mut header, length);
    out.advance(start);
    out
}

fn put_header(out: &mut BytesMut, kind: u64, length: u64) {
    varint::put(out, kind);
    varint::put(out, length);
}

/// A type of one byte and a length of eight.
const MAX_HEADER: usize = 9;
/// What most responses need.
const USUAL_SECTION: usize = 256;

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_response_of_known_length_has_one_data_frame() {
        let mut response = ResponseStream::default();
        let mut fields = HeaderMap::new();
        fields.insert("content-length", HeaderValue::from_static("5"));
        let head = response.head(StatusCode::OK, &fields, Some(5));
        assert_eq!(&head[..], b"\x01\x06\x00\x00\xd9\x54\x015\x00\x05");
        assert_eq!(response.data(2), Ok(Bytes::new()));
        assert!(!response.is_whole());
        assert_eq!(response.data(3), Ok(Bytes::new()));
        assert!(response.is_whole());
    }

    #[test]
    fn content_over_its_frame_is_refused() {
        let mut response = ResponseStream::default();
        response.head(StatusCode::OK, &HeaderMap::new(), Some(5));
        assert_eq!(response.data(6), Err(Overrun));
    }

    #[test]
    fn content_of_unknown_length_has_a_frame_for_each_piece() {
        let mut response = ResponseStream::default();
        let head = response.head(StatusCode::OK, &HeaderMap::new(), None);
        assert_eq!(&head[..], b"\x01\x03\x00\x00\xd9");
        assert_eq!(&response.data(1).unwrap()[..], b"\x00\x01");
        assert_eq!(&response.data(70_000).unwrap()[..], b"\x00\x80\x01\x11\x70");
        let mut trailers = HeaderMap::new();
        trailers.insert("a", HeaderValue::from_static("b"));
        assert_eq!(
            &ResponseStream::trailers(&trailers)[..],
            b"\x01\x06\x00\x00\x21a\x01b"
        );
    }

    #[test]
    fn a_long_section_has_a_long_length() {
        let mut fields = HeaderMap::new();
        let long = HeaderValue::from_bytes(&[b'~'; 100]).unwrap();
        for _ in 0..200 {
            fields.append("x", long.clone());
        }
        let frame = ResponseStream::interim(StatusCode::EARLY_HINTS, &fields);
        let (kind, rest) = varint::split(&frame).unwrap();
        let (length, payload) = varint::split(rest).unwrap();
        assert_eq!((kind, length), (1, payload.len() as u64));
        assert!(length > 16_383);
    }

    #[test]
    fn the_answer_to_a_section_over_the_limit_is_ten_bytes() {
        assert_eq!(
            &ResponseStream::too_large()[..],
            b"\x01\x08\x00\x00\x5f\x09\x03431"
        );
    }
}

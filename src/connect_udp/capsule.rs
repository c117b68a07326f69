//! The capsule protocol (RFC 9297, section 3).

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::payload::{MAX_UDP_PAYLOAD, UDP};
use crate::http3::varint;

/// Reads the data stream of a tunnel.
///
/// Of a capsule that is not whole it holds at most a header of 16 bytes and, of a DATAGRAM capsule, what
/// the limit allows; a capsule that lies in one piece is not copied. What is longer than the limit, and
/// capsules of unknown types, are skipped and never held.
#[derive(Debug)]
pub struct CapsuleReader {
    limit: usize,
    state: State,
    held: BytesMut,
}

/// What came of a capsule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Capsule {
    /// The payload of a DATAGRAM capsule.
    Datagram(Bytes),
    /// A DATAGRAM capsule over the limit, of which nothing is held.
    TooLong,
    /// A capsule of another type, of which nothing is held.
    Unknown,
}

/// Why a data stream is malformed (RFC 9297, section 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CapsuleError {
    /// The stream ended within a capsule.
    #[error("the stream ended within a capsule")]
    Cut,
    /// A UDP payload of more than 65527 bytes (RFC 9298, section 5).
    #[error("a UDP payload is longer than 65527 bytes")]
    LongPayload,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Header,
    Datagram(usize),
    /// A DATAGRAM capsule over the limit, whose context ID is not read yet.
    Large(u64),
    Skip(u64),
}

impl CapsuleReader {
    /// Takes HTTP datagrams of at most so many bytes, at least 8.
    pub fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(LONGEST_INTEGER),
            state: State::Header,
            held: BytesMut::new(),
        }
    }

    /// Takes bytes off the front of `input` up to the end of the next capsule that means something. None
    /// when `input` is used up.
    ///
    /// # Errors
    /// When the stream is malformed; it has to be aborted then.
    pub fn next(&mut self, input: &mut Bytes) -> Result<Option<Capsule>, CapsuleError> {
        loop {
            match self.state {
                State::Header => {
                    let Some((kind, length)) = self.header(input) else {
                        return Ok(None);
                    };
                    self.state = match usize::try_from(length) {
                        _ if kind != DATAGRAM => {
                            self.state = State::Skip(length);
                            return Ok(Some(Capsule::Unknown));
                        }
                        Ok(length) if length <= self.limit => State::Datagram(length),
                        Ok(_) | Err(_) => State::Large(length),
                    };
                }
                State::Datagram(length) => return Ok(self.datagram(length, input)),
                State::Large(length) => {
                    let Some(context) = self.integer(input) else {
                        return Ok(None);
                    };
                    let left = length.saturating_sub(context.len);
                    if context.value == UDP && left > MAX_UDP_PAYLOAD as u64 {
                        return Err(CapsuleError::LongPayload);
                    }
                    self.state = State::Skip(left);
                    return Ok(Some(Capsule::TooLong));
                }
                State::Skip(0) => self.state = State::Header,
                State::Skip(_) if input.is_empty() => return Ok(None),
                State::Skip(left) => {
                    let skipped =
                        usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
                    input.advance(skipped);
                    self.state = State::Skip(left - skipped as u64);
                }
            }
        }
    }

    /// Takes the end of the stream.
    ///
    /// # Errors
    /// When the last capsule is not whole.
    pub fn finish(&self) -> Result<(), CapsuleError> {
        match self.state {
            State::Header if self.held.is_empty() => Ok(()),
            State::Skip(0) => Ok(()),
            _ => Err(CapsuleError::Cut),
        }
    }

    fn datagram(&mut self, length: usize, input: &mut Bytes) -> Option<Capsule> {
        let piece = input.split_to((length - self.held.len()).min(input.len()));
        let whole = if self.held.is_empty() && piece.len() == length {
            piece
        } else {
            self.held.extend_from_slice(&piece);
            if self.held.len() < length {
                return None;
            }
            std::mem::take(&mut self.held).freeze()
        };
        self.state = State::Header;
        Some(Capsule::Datagram(whole))
    }

    /// A type and a length, wherever they are cut.
    fn header(&mut self, input: &mut Bytes) -> Option<(u64, u64)> {
        while !input.is_empty() {
            self.held.put_u8(input.get_u8());
            if let Some((kind, rest)) = varint::split(&self.held)
                && let Some((length, _)) = varint::split(rest)
            {
                self.held.clear();
                return Some((kind, length));
            }
        }
        None
    }

    fn integer(&mut self, input: &mut Bytes) -> Option<Integer> {
        while !input.is_empty() {
            self.held.put_u8(input.get_u8());
            if let Some((value, _)) = varint::split(&self.held) {
                let len = self.held.len() as u64;
                self.held.clear();
                return Some(Integer { value, len });
            }
        }
        None
    }
}

struct Integer {
    value: u64,
    len: u64,
}

/// Appends the header of a DATAGRAM capsule whose payload has so many bytes.
pub fn put_datagram(out: &mut impl BufMut, payload_len: usize) {
    varint::put(out, DATAGRAM);
    varint::put(out, payload_len as u64);
}

/// RFC 9297, section 3.5.
const DATAGRAM: u64 = 0x00;
const LONGEST_INTEGER: usize = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn capsule(kind: u64, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        varint::put(&mut out, kind);
        varint::put(&mut out, payload.len() as u64);
        out.extend_from_slice(payload);
        out
    }

    /// Reads pieces; gives what came, the error, and the most bytes held.
    fn read(limit: usize, pieces: &[&[u8]]) -> (Vec<Capsule>, Result<(), CapsuleError>, usize) {
        let mut reader = CapsuleReader::new(limit);
        let (mut read, mut held) = (Vec::new(), 0);
        for piece in pieces {
            let mut input = Bytes::copy_from_slice(piece);
            loop {
                match reader.next(&mut input) {
                    Ok(Some(capsule)) => read.push(capsule),
                    Ok(None) => break,
                    Err(error) => return (read, Err(error), held),
                }
            }
            assert!(input.is_empty());
            held = held.max(reader.held.len());
        }
        (read, reader.finish(), held)
    }

    #[test]
    fn datagrams_are_read_and_other_types_are_skipped() {
        let stream = [
            capsule(0, b"\0one"),
            capsule(0x17, b"not known"),
            capsule(0x40, b""),
            capsule(0, b"\0two"),
        ]
        .concat();
        let expected = vec![
            Capsule::Datagram(Bytes::from_static(b"\0one")),
            Capsule::Unknown,
            Capsule::Unknown,
            Capsule::Datagram(Bytes::from_static(b"\0two")),
        ];
        assert_eq!(read(64, &[&stream]), (expected.clone(), Ok(()), 0));
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(read(64, &bytes).0, expected);
        let mut written = Vec::new();
        put_datagram(&mut written, 4);
        written.extend_from_slice(b"\0one");
        assert_eq!(written, capsule(0, b"\0one"));
    }

    #[test]
    fn a_capsule_of_unknown_type_is_skipped_and_never_held() {
        let mut stream = vec![0x21, 0xc0, 0, 0, 0, 0x40, 0, 0, 0];
        stream.resize(1 << 16, 7);
        let (read, end, held) = read(64, &stream.chunks(1000).collect::<Vec<_>>());
        assert_eq!(read, [Capsule::Unknown]);
        assert_eq!(end, Err(CapsuleError::Cut));
        assert!(held <= 16, "{held} bytes");
    }

    #[test]
    fn a_datagram_over_the_limit_is_skipped_and_never_held() {
        let long = [&[0][..], &[7; 5000]].concat();
        let stream = [capsule(0, &long), capsule(0, b"\0after")].concat();
        let (read, end, held) = read(100, &stream.chunks(50).collect::<Vec<_>>());
        let after = Capsule::Datagram(Bytes::from_static(b"\0after"));
        assert_eq!(read, [Capsule::TooLong, after]);
        assert_eq!(end, Ok(()));
        assert!(held <= 100, "{held} bytes");
    }

    #[test]
    fn a_payload_that_no_udp_packet_has_is_malformed_before_it_comes() {
        let declared = |context: &[u8], payload: usize| {
            let mut out = Vec::new();
            put_datagram(&mut out, context.len() + payload);
            out.extend_from_slice(context);
            read(1500, &[&out]).1
        };
        let long = Err(CapsuleError::LongPayload);
        assert_eq!(declared(b"\0", MAX_UDP_PAYLOAD + 1), long);
        assert_eq!(declared(b"\x40\0", MAX_UDP_PAYLOAD + 1), long);
        assert_eq!(declared(b"\0", MAX_UDP_PAYLOAD), Err(CapsuleError::Cut));
        // Of another context nobody knows how long it may be.
        assert_eq!(
            declared(b"\x02", MAX_UDP_PAYLOAD + 1),
            Err(CapsuleError::Cut)
        );
    }

    #[test]
    fn a_stream_that_ends_within_a_capsule_is_malformed() {
        let stream = capsule(0, b"\0hello");
        for cut in 0..=stream.len() {
            let whole = cut == 0 || cut == stream.len();
            let expected = if whole {
                Ok(())
            } else {
                Err(CapsuleError::Cut)
            };
            assert_eq!(read(64, &[&stream[..cut]]).1, expected, "{cut}");
        }
        // What an empty one says, its context ID would.
        let empty = vec![Capsule::Datagram(Bytes::new())];
        assert_eq!(read(64, &[&capsule(0, b"")]), (empty, Ok(()), 0));
    }

    proptest! {
        #[test]
        fn where_a_stream_is_cut_does_not_matter(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            cut in 0..200_usize,
        ) {
            let cut = cut.min(bytes.len());
            let whole = read(32, &[&bytes]);
            let cut = read(32, &[&bytes[..cut], &bytes[cut..]]);
            prop_assert_eq!((whole.0, whole.1), (cut.0, cut.1));
            prop_assert!(cut.2 <= 32);
        }
    }
}

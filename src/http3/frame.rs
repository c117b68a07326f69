//! Frame headers (RFC 9114, section 7.1).

use bytes::{Buf, Bytes};

use super::varint;

/// Collects a frame's type and length, at most 16 bytes, wherever the stream was cut.
#[derive(Clone, Debug, Default)]
pub(super) struct HeaderReader {
    held: [u8; 16],
    len: usize,
}

/// The type of a frame and the length of its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: u64,
    pub(super) length: u64,
}

impl HeaderReader {
    /// Takes a header off the front of `input`, or all of it where the header goes on.
    pub(super) fn take(&mut self, input: &mut Bytes) -> Option<Header> {
        if self.len == 0
            && let Some((header, used)) = parse(input)
        {
            input.advance(used);
            return Some(header);
        }
        while let Some(byte) = input.first() {
            self.held[self.len] = *byte;
            self.len += 1;
            input.advance(1);
            if let Some((header, _)) = parse(&self.held[..self.len]) {
                self.len = 0;
                return Some(header);
            }
        }
        None
    }

    /// Whether the stream is between two frames.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }
}

fn parse(bytes: &[u8]) -> Option<(Header, usize)> {
    let (kind, rest) = varint::split(bytes)?;
    let (length, rest) = varint::split(rest)?;
    Some((Header { kind, length }, bytes.len() - rest.len()))
}

/// How much of so much is there.
pub(super) fn within(left: u64, available: usize) -> usize {
    usize::try_from(left).map_or(available, |left| left.min(available))
}

/// As many bytes, in the type of a frame's length.
pub(super) fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

pub(super) const DATA: u64 = 0x00;
pub(super) const HEADERS: u64 = 0x01;
pub(super) const CANCEL_PUSH: u64 = 0x03;
pub(super) const SETTINGS: u64 = 0x04;
pub(super) const PUSH_PROMISE: u64 = 0x05;
pub(super) const GOAWAY: u64 = 0x07;
pub(super) const MAX_PUSH_ID: u64 = 0x0d;
/// RFC 9218, section 7.2.
pub(super) const PRIORITY_UPDATE: u64 = 0xf_0700;
pub(super) const PRIORITY_UPDATE_PUSH: u64 = 0xf_0701;

/// Whether HTTP/2 used this type for what HTTP/3 has not (RFC 9114, section 11.2.1).
pub(super) fn is_reserved(kind: u64) -> bool {
    matches!(kind, 0x02 | 0x06 | 0x08 | 0x09)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_the_same_wherever_it_is_cut() {
        let bytes = b"\xc0\x00\x00\x00\x00\x00\x00\x21\x80\x00\x00\x05";
        let whole = Header {
            kind: 0x21,
            length: 5,
        };
        for cut in 0..=bytes.len() {
            let mut reader = HeaderReader::default();
            let (mut left, mut right) = (
                Bytes::copy_from_slice(&bytes[..cut]),
                Bytes::copy_from_slice(&bytes[cut..]),
            );
            let taken = reader.take(&mut left).or_else(|| reader.take(&mut right));
            assert_eq!(taken, Some(whole), "cut at {cut}");
            assert!(left.is_empty() && right.is_empty() && reader.is_empty());
        }
    }
}

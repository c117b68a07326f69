use std::fmt;

use super::varint;

/// The ID of a QUIC stream (RFC 9000, section 2.1), at most 2^62 - 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(u64);

impl StreamId {
    /// The largest that a request stream can have.
    pub(super) const LAST_REQUEST: Self = Self(varint::MAX - 3);

    /// Takes the low 62 bits.
    pub fn new(id: u64) -> Self {
        Self(id & varint::MAX)
    }

    /// The number on the wire.
    pub fn value(self) -> u64 {
        self.0
    }

    /// Whether the client opened it for both directions.
    pub fn is_request(self) -> bool {
        self.0.is_multiple_of(4)
    }

    /// How many request streams come before it.
    pub(super) fn index(self) -> u64 {
        self.0 >> 2
    }

    /// The request stream behind this one.
    pub(super) fn next(self) -> Self {
        Self((self.0 + 4).min(Self::LAST_REQUEST.0))
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

//! Bytes that show whose they are and where they belong.

/// What two sides agree on about one direction of a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pattern(u64);

impl Pattern {
    /// What a client sends under this tag.
    pub(crate) fn up(tag: u64) -> Self {
        Self(tag.wrapping_mul(MULTIPLIER))
    }

    /// What it is sent.
    pub(crate) fn down(tag: u64) -> Self {
        Self((tag ^ u64::MAX).wrapping_mul(MULTIPLIER))
    }

    /// Some bytes from an offset on.
    pub(crate) fn bytes(self, offset: u64, len: usize) -> Vec<u8> {
        (offset..).take(len).map(|at| self.byte(at)).collect()
    }

    /// Whether bytes are those from an offset on.
    pub(crate) fn fits(self, offset: u64, bytes: &[u8]) -> bool {
        (offset..).zip(bytes).all(|(at, byte)| self.byte(at) == *byte)
    }

    fn byte(self, at: u64) -> u8 {
        let mixed = (self.0 ^ at).wrapping_mul(MULTIPLIER);
        (mixed >> 56) as u8
    }
}

const MULTIPLIER: u64 = 0xd6e8_feb8_6659_fd93;

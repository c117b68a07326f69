//! Bytes that show whose they are and where they belong.

use std::sync::OnceLock;

use wayhold::link::Random;

/// What two sides agree on about one direction of a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pattern(u64);

impl Pattern {
    pub(crate) const MOST: usize = 4096;

    /// What a client sends under this tag.
    pub(crate) fn up(tag: u64) -> Self {
        Self(tag.wrapping_mul(MULTIPLIER))
    }

    /// What it is sent.
    pub(crate) fn down(tag: u64) -> Self {
        Self((tag ^ u64::MAX).wrapping_mul(MULTIPLIER))
    }

    /// Some bytes from an offset on, at most [`Pattern::MOST`].
    pub(crate) fn bytes(self, offset: u64, len: usize) -> &'static [u8] {
        static TABLE: OnceLock<Vec<u8>> = OnceLock::new();
        let table = TABLE.get_or_init(|| {
            let mut table = vec![0; PERIOD as usize];
            Random::new(0).fill(&mut table);
            table.extend_from_within(..Self::MOST);
            table
        });
        let from = (self.0 % PERIOD + offset % PERIOD) % PERIOD;
        &table[from as usize..][..len]
    }

    /// Whether bytes are those from an offset on.
    pub(crate) fn fits(self, offset: u64, bytes: &[u8]) -> bool {
        let parts = bytes.chunks(Self::MOST);
        let offsets = (offset..).step_by(Self::MOST);
        parts
            .zip(offsets)
            .all(|(part, at)| self.bytes(at, part.len()) == part)
    }
}

const MULTIPLIER: u64 = 0xd6e8_feb8_6659_fd93;
/// A prime, so that packets and blocks of any size that are lost or swapped show.
const PERIOD: u64 = 65_521;

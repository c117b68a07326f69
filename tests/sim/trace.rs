//! What happened, condensed to a number that two runs of one seed have in common.

use std::time::Instant;

use crate::clock::beginning;

/// A record of times, lengths and verdicts.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    hash: u64,
    steps: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// Starts a record that keeps only its sum, or every line as well.
    pub(crate) fn new(keep: Keep) -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            steps: 0,
            lines: (keep == Keep::Lines).then(Vec::new),
        }
    }

    pub(crate) fn note(&mut self, now: Instant, what: &str, place: u64, len: usize) {
        let time = now.duration_since(beginning()).as_nanos() as u64;
        self.steps += 1;
        for number in [time, place, len as u64] {
            self.mix(number);
        }
        what.bytes().for_each(|byte| self.mix(byte.into()));
        if let Some(lines) = &mut self.lines {
            let micros = time / 1000;
            lines.push(format!("{micros:>10} us {what} at {place}, {len} bytes"));
        }
    }

    /// Its sum and how many steps it has.
    pub(crate) fn sum(&self) -> (u64, u64) {
        (self.hash, self.steps)
    }

    pub(crate) fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }

    fn mix(&mut self, number: u64) {
        self.hash = (self.hash ^ number).wrapping_mul(0xd6e8_feb8_6659_fd93);
        self.hash ^= self.hash >> 32;
    }
}

/// How much of a trace is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    Sum,
    Lines,
}

/// Accepts each counter of a sender once, in any order within a window.
///
/// A counter more than [`WINDOW`] behind the highest one seen is refused, because whether it was
/// used is no longer known.
#[derive(Clone, Debug)]
pub struct ReplayWindow {
    highest: Option<u64>,
    seen: Box<[u64; WORDS]>,
}

impl ReplayWindow {
    /// Creates a window that has seen nothing.
    pub fn new() -> Self {
        Self {
            highest: None,
            seen: Box::new([0; WORDS]),
        }
    }

    /// Whether this counter would be accepted.
    pub fn is_fresh(&self, counter: u64) -> bool {
        match self.highest {
            None => true,
            Some(highest) if counter > highest => true,
            Some(highest) => highest - counter < WINDOW && !self.marked(counter),
        }
    }

    /// Marks an authenticated counter as used; false when it was used before or is too old.
    pub fn accept(&mut self, counter: u64) -> bool {
        if !self.is_fresh(counter) {
            return false;
        }
        let advance = match self.highest {
            Some(highest) => counter.saturating_sub(highest),
            None => WINDOW,
        };
        if advance >= WINDOW {
            self.seen.fill(0);
        } else {
            for passed in counter - advance..counter {
                *self.word(passed + 1) &= !mask(passed + 1);
            }
        }
        *self.word(counter) |= mask(counter);
        self.highest = Some(self.highest.map_or(counter, |highest| highest.max(counter)));
        true
    }

    fn marked(&self, counter: u64) -> bool {
        self.seen[index(counter)] & mask(counter) != 0
    }

    fn word(&mut self, counter: u64) -> &mut u64 {
        &mut self.seen[index(counter)]
    }
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self::new()
    }
}

fn index(counter: u64) -> usize {
    usize::try_from(counter / 64 % (WINDOW / 64)).expect("fewer words than usize::MAX")
}

fn mask(counter: u64) -> u64 {
    1 << (counter % 64)
}

/// How many counters back a datagram may arrive late. At 100,000 datagrams a second this is 80 ms
/// of reordering between two nodes.
pub const WINDOW: u64 = 8192;
const WORDS: usize = 128;

use std::time::Duration;

/// Numbers that repeat exactly from a seed (SplitMix64): for models and simulations, never for keys.
#[derive(Clone, Debug)]
pub struct Random(u64);

/// How often something happens: so many times in a million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PerMillion(pub u32);

impl PerMillion {
    /// Not at all.
    pub const NEVER: Self = Self(0);
    /// Every time.
    pub const ALWAYS: Self = Self(1_000_000);

    /// So many times in a hundred.
    pub const fn percent(percent: u32) -> Self {
        Self(percent * 10_000)
    }

    /// How often a burst begins where there is none, if bursts of this mean length make this share of
    /// all. What has a length of up to 1 is no burst, and begins as often as it is.
    pub(super) fn begins_bursts_of(self, length: u32) -> Self {
        if length <= 1 {
            return self;
        }
        let outside = Self::ALWAYS.0.saturating_sub(self.0);
        let always = u64::from(Self::ALWAYS.0);
        let begins = (u64::from(self.0) * always)
            .checked_div(u64::from(length) * u64::from(outside))
            .unwrap_or(always);
        u32::try_from(begins).map_or(Self::ALWAYS, |begins| Self(begins).min(Self::ALWAYS))
    }
}

impl Random {
    /// Starts from a seed. Any two seeds give unrelated numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Starts another sequence, which does not depend on how far this one goes on.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self(self.number())
    }

    /// The next 64 bits.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `end`, or 0 if there is none.
    pub fn below(&mut self, end: u64) -> u64 {
        let wide = u128::from(self.number()) * u128::from(end);
        (wide >> 64) as u64
    }

    /// A duration of at most `most`, to the nanosecond.
    pub fn up_to(&mut self, most: Duration) -> Duration {
        let most = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX - 1);
        Duration::from_nanos(self.below(most + 1))
    }

    /// Whether something happens this time.
    pub fn happens(&mut self, how_often: PerMillion) -> bool {
        // Drawn in any case, so that all that follows stays the same when only this is changed.
        self.below(1_000_000) < u64::from(how_often.0)
    }

    /// Fills bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let next = self.number().to_le_bytes();
            chunk.copy_from_slice(&next[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_another_differs() {
        let numbers = |seed| {
            let mut random = Random::new(seed);
            [(); 4].map(|()| random.number())
        };
        assert_eq!(numbers(7), numbers(7));
        assert_ne!(numbers(7), numbers(8));
    }

    #[test]
    fn the_sequence_is_that_of_splitmix64() {
        let mut random = Random::new(1_234_567);
        assert_eq!(random.number(), 6_457_827_717_110_365_317);
        assert_eq!(random.number(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn limits_hold() {
        let mut random = Random::new(1);
        assert_eq!(random.below(0), 0);
        assert_eq!(random.up_to(Duration::ZERO), Duration::ZERO);
        assert!((0..1000).all(|_| random.below(3) < 3));
        assert!((0..1000).all(|_| !random.happens(PerMillion::NEVER)));
        assert!((0..1000).all(|_| random.happens(PerMillion::percent(100))));
        assert!(random.up_to(Duration::MAX) > Duration::ZERO);
    }

    #[test]
    fn a_chance_is_met() {
        let mut random = Random::new(2);
        let count = (0..100_000)
            .filter(|_| random.happens(PerMillion::percent(5)))
            .count();
        assert!((4700..5300).contains(&count), "{count}");
    }

    #[test]
    fn every_byte_is_filled() {
        let mut bytes = [0; 21];
        Random::new(3).fill(&mut bytes);
        assert!(bytes.windows(5).all(|bytes| bytes != [0; 5]));
    }
}

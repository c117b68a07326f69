use std::collections::BTreeSet;
use std::fmt;
use std::mem;
use std::time::Duration;

/// The address-validation tokens that clients showed to this process, so that each counts once here
/// (RFC 9000, section 8.1.4).
///
/// A token is remembered for as long as it is good, unless more than [`UsedTokens::CAPACITY`] are used
/// within that time: then the earlier ones are forgotten, and may count twice.
#[derive(Default)]
pub struct UsedTokens {
    recent: BTreeSet<u128>,
    earlier: BTreeSet<u128>,
    /// When `recent` began, in seconds since 1970.
    began: u64,
}

/// Whether a token was shown before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It was not.
    First,
    /// It was not as far as is known, and so many tokens are used that older uses were just forgotten.
    FirstAndFull,
    /// It was.
    Repeated,
}

impl UsedTokens {
    /// How long a token of a `NEW_TOKEN` frame is good: 24 hours.
    pub const LIFETIME: Duration = Duration::from_hours(24);
    /// The most tokens in each of two halves: about 4 MiB.
    pub const CAPACITY: usize = 131_072;

    /// Notes that the token with these random bytes was shown at a time, given as seconds since 1970.
    pub fn note(&mut self, now: u64, random: u128) -> Use {
        if now.saturating_sub(self.began) > Self::LIFETIME.as_secs() {
            self.turn(now);
        }
        if self.earlier.contains(&random) || self.recent.contains(&random) {
            return Use::Repeated;
        }
        let full = self.recent.len() >= Self::CAPACITY;
        if full {
            self.turn(now);
        }
        self.recent.insert(random);
        if full { Use::FirstAndFull } else { Use::First }
    }

    fn turn(&mut self, now: u64) {
        self.earlier = mem::take(&mut self.recent);
        self.began = now;
    }
}

impl fmt::Debug for UsedTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UsedTokens")
            .field("recent", &self.recent.len())
            .field("earlier", &self.earlier.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    #[test]
    fn a_token_counts_once_while_it_is_good() {
        let mut used = UsedTokens::default();
        assert_eq!(used.note(NOW, 1), Use::First);
        let lifetime = UsedTokens::LIFETIME.as_secs();
        for later in [0, lifetime / 2, lifetime] {
            assert_eq!(used.note(NOW + later, 1), Use::Repeated);
        }
        assert_eq!(used.note(NOW + lifetime + 1, 2), Use::First);
        assert_eq!(used.note(NOW + lifetime + 1, 1), Use::Repeated);
    }

    #[test]
    fn what_no_token_can_be_any_more_is_forgotten() {
        let mut used = UsedTokens::default();
        used.note(NOW, 1);
        let lifetime = UsedTokens::LIFETIME.as_secs();
        for turn in 1..=2 {
            used.note(NOW + turn * (lifetime + 1), u128::from(turn) + 1);
        }
        assert_eq!(used.recent.len() + used.earlier.len(), 2);
    }

    #[test]
    fn a_flood_of_tokens_is_bounded_and_shows() {
        let mut used = UsedTokens::default();
        let count = u128::try_from(UsedTokens::CAPACITY).unwrap();
        let full = (0..3 * count).filter(|random| used.note(NOW, *random) == Use::FirstAndFull);
        assert_eq!(full.count(), 2);
        assert_eq!(used.recent.len(), UsedTokens::CAPACITY);
        assert_eq!(used.earlier.len(), UsedTokens::CAPACITY);
    }
}

/// Which backend a key belongs to, by Maglev hashing (Eisenbud et al., NSDI 2016, section 3.4): every
/// backend has a share of the keys by its weight, and when one comes or goes, hardly any key moves
/// that it need not.
///
/// It follows from the backends' hashes and weights alone, so every node has the same.
#[derive(Clone, Debug)]
pub(super) struct Maglev {
    slots: Box<[u16]>,
}

impl Maglev {
    /// Makes the table for backends with these hashes and weights; those of weight 0 get nothing.
    pub(super) fn new(backends: &[(u64, u16)]) -> Self {
        let size = size(backends.len());
        let modulus = u64::from(size);
        let heaviest = backends
            .iter()
            .map(|&(_, weight)| weight)
            .max()
            .unwrap_or(0);
        let mut walks: Vec<Walk> = backends
            .iter()
            .map(|&(hash, weight)| Walk {
                at: mix(hash) % modulus,
                step: mix(hash ^ STEP_SEED) % (modulus - 1) + 1,
                credit: 0,
                weight: weight.into(),
            })
            .collect();
        let mut slots = vec![EMPTY; usize::from(size)].into_boxed_slice();
        let mut left = if heaviest == 0 { 0 } else { size };
        while left > 0 {
            for (index, walk) in walks.iter_mut().enumerate() {
                if left == 0 {
                    break;
                }
                // A backend of half the weight takes a slot in every other round.
                walk.credit += walk.weight;
                if walk.credit < u32::from(heaviest) {
                    continue;
                }
                walk.credit -= u32::from(heaviest);
                while slots[walk.place()] != EMPTY {
                    walk.at = (walk.at + walk.step) % modulus;
                }
                slots[walk.place()] = u16::try_from(index).unwrap_or(EMPTY);
                left -= 1;
            }
        }
        Self { slots }
    }

    /// The backends for a key, the one that it belongs to first; each may come more than once.
    pub(super) fn candidates(&self, key: u64) -> impl Iterator<Item = usize> + '_ {
        let size = u64::try_from(self.slots.len()).unwrap_or(u64::MAX);
        let first = usize::try_from(mix(key) % size).unwrap_or_default();
        let (before, after) = self.slots.split_at(first);
        after
            .iter()
            .chain(before)
            .filter(|slot| **slot != EMPTY)
            .map(|slot| usize::from(*slot))
    }
}

/// The order in which a backend asks for slots: all of them, since the number of slots is prime.
#[derive(Debug)]
struct Walk {
    at: u64,
    step: u64,
    credit: u32,
    weight: u32,
}

impl Walk {
    fn place(&self) -> usize {
        usize::try_from(self.at).unwrap_or_default()
    }
}

/// About a hundred slots for each backend, so that shares differ by a percent.
fn size(backends: usize) -> u16 {
    let wanted = backends.saturating_mul(100);
    PRIMES
        .into_iter()
        .find(|prime| usize::from(*prime) >= wanted)
        .unwrap_or(PRIMES[PRIMES.len() - 1])
}

/// Spreads every bit over all (the finalizer of `SplitMix64`).
pub(super) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

const PRIMES: [u16; 4] = [1021, 4093, 16381, 65521];
const EMPTY: u16 = u16::MAX;
const STEP_SEED: u64 = 0x5bd1_e995_97f4_a7c1;

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: u64 = 20_000;

    fn shares(backends: &[(u64, u16)]) -> Vec<u64> {
        let table = Maglev::new(backends);
        let mut shares = vec![0; backends.len()];
        for key in 0..KEYS {
            shares[table.candidates(key).next().unwrap()] += 1;
        }
        shares
    }

    #[test]
    fn every_backend_has_its_share_by_weight() {
        for share in shares(&[(11, 1), (12, 1), (13, 1), (14, 1), (15, 1)]) {
            assert!((3600..4400).contains(&share), "{share}");
        }
        let weighted = shares(&[(11, 1), (12, 3), (13, 0)]);
        assert!((4500..5500).contains(&weighted[0]), "{weighted:?}");
        assert_eq!(weighted[2], 0);
    }

    #[test]
    fn hardly_a_key_moves_that_need_not_when_a_backend_goes() {
        let before: Vec<(u64, u16)> = (0..10).map(|hash| (hash * 977, 1)).collect();
        let mut after = before.clone();
        let gone = after.remove(4).0;
        let (old, new) = (Maglev::new(&before), Maglev::new(&after));
        let of = |table: &Maglev, list: &[(u64, u16)], key| {
            list[table.candidates(key).next().unwrap()].0
        };
        let needless = (0..KEYS)
            .filter(|&key| {
                let was = of(&old, &before, key);
                was != gone && was != of(&new, &after, key)
            })
            .count();
        assert!(needless < 1000, "{needless} of {KEYS}");
    }

    #[test]
    fn the_candidates_of_a_key_are_all_backends_in_an_order_of_its_own() {
        let table = Maglev::new(&[(1, 1), (2, 1), (3, 1)]);
        let order = |key| {
            let mut seen: Vec<usize> = Vec::new();
            for index in table.candidates(key) {
                if !seen.contains(&index) {
                    seen.push(index);
                }
            }
            seen
        };
        let orders: std::collections::HashSet<_> = (0..100).map(order).collect();
        assert_eq!(orders.len(), 6, "every order of three occurs");
        assert!(orders.iter().all(|order| order.len() == 3));
    }

    #[test]
    fn a_table_of_nothing_has_no_candidates() {
        assert_eq!(Maglev::new(&[]).candidates(7).count(), 0);
        assert_eq!(Maglev::new(&[(1, 0)]).candidates(7).count(), 0);
    }
}

use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Bounds the stateless resets that a node sends for others, for each source and in all.
///
/// Sources share a fixed number of buckets by a keyed hash, so nothing grows under a flood of
/// sources, and at worst two of them share one allowance. An IPv6 source is its /64.
#[derive(Debug)]
pub struct ResetLimit {
    seed: u64,
    sources: Box<[Bucket]>,
    all: Bucket,
}

/// The time until which an allowance is used up (the generic cell rate algorithm).
#[derive(Clone, Copy, Debug, Default)]
struct Bucket(Option<Instant>);

impl ResetLimit {
    /// Resets to one source: as many at once, and as many in a second. A thousand clients of a dead
    /// node may sit behind one NAT, and each should be freed by its first packet.
    pub const PER_SOURCE: u32 = 1000;
    /// Resets to all sources, at once and in a second: below 5 % of a core.
    pub const IN_ALL: u32 = 10_000;

    /// Starts with full allowances. The seed must be random, so that nobody can aim at the bucket of
    /// another source.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            sources: vec![Bucket::default(); BUCKETS].into_boxed_slice(),
            all: Bucket::default(),
        }
    }

    /// Whether a reset may be sent to this source now; if so, it is counted.
    pub fn allow(&mut self, now: Instant, source: IpAddr) -> bool {
        let source = &mut self.sources[bucket(self.seed, source)];
        if !source.has_room(now, Self::PER_SOURCE) || !self.all.has_room(now, Self::IN_ALL) {
            return false;
        }
        source.take(now, Self::PER_SOURCE);
        self.all.take(now, Self::IN_ALL);
        true
    }
}

impl Bucket {
    fn has_room(self, now: Instant, rate: u32) -> bool {
        self.0
            .is_none_or(|used| used + SECOND / rate <= now + SECOND)
    }

    fn take(&mut self, now: Instant, rate: u32) {
        let used = self.0.map_or(now, |used| used.max(now));
        self.0 = Some(used + SECOND / rate);
    }
}

fn bucket(seed: u64, source: IpAddr) -> usize {
    let prefix = match source.to_canonical() {
        IpAddr::V4(ip) => u64::from(ip.to_bits()),
        IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64,
    };
    let mut hash = prefix ^ seed;
    for _ in 0..2 {
        hash = (hash ^ hash >> 32).wrapping_mul(MULTIPLIER);
    }
    (hash >> 32) as usize % BUCKETS
}

const SECOND: Duration = Duration::from_secs(1);
const BUCKETS: usize = 4096;
const MULTIPLIER: u64 = 0xd6e8_feb8_6659_fd93;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steer::start;

    fn source(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    fn allowed(
        limit: &mut ResetLimit,
        now: Instant,
        sources: impl Iterator<Item = IpAddr>,
    ) -> usize {
        sources.filter(|source| limit.allow(now, *source)).count()
    }

    #[test]
    fn one_source_gets_its_share_at_once_and_again_with_time() {
        let (mut limit, now) = (ResetLimit::new(1), start());
        let one = || std::iter::repeat_n(source(7), 5000);
        assert_eq!(allowed(&mut limit, now, one()), 1000);
        assert_eq!(allowed(&mut limit, now + SECOND / 10, one()), 100);
        assert_eq!(allowed(&mut limit, now + SECOND * 10, one()), 1000);
    }

    #[test]
    fn a_flood_from_one_source_takes_nothing_from_another() {
        let (mut limit, now) = (ResetLimit::new(1), start());
        allowed(&mut limit, now, std::iter::repeat_n(source(7), 5000));
        assert!(limit.allow(now, source(8)));
    }

    #[test]
    fn a_flood_of_sources_is_bounded_in_all() {
        let (mut limit, now) = (ResetLimit::new(1), start());
        assert_eq!(allowed(&mut limit, now, (0..50_000).map(source)), 10_000);
    }

    #[test]
    fn an_ipv6_network_is_one_source() {
        let (mut limit, now) = (ResetLimit::new(1), start());
        let hosts = (0..5000_u128).map(|host| IpAddr::V6((0x2001_0db8 << 96 | host).into()));
        assert_eq!(allowed(&mut limit, now, hosts), 1000);
    }
}

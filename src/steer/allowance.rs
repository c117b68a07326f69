use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::fleet::NodeId;

/// Bounds what a node does for datagrams that anyone can make, for each source and in all.
///
/// Sources share a fixed number of buckets by a keyed hash, so nothing grows under a flood of
/// sources, and at worst two of them share one allowance. An IPv6 source is its /64.
#[derive(Debug)]
pub struct Allowance {
    rate: Rate,
    seed: u64,
    sources: Box<[Bucket]>,
    all: Bucket,
}

/// How much an [`Allowance`] grants: as much at once, and as much in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// To one source; at least 1.
    pub per_source: u32,
    /// To all sources; at least 1.
    pub in_all: u32,
}

/// An [`Allowance`] of what is passed on to peers, which bounds it for each of them as well: what is
/// aimed at one of them leaves the others theirs.
#[derive(Debug)]
pub struct PeerAllowance {
    sources: Allowance,
    per_peer: u32,
    peers: [Bucket; PEERS],
}

/// The time until which an allowance is used up (the generic cell rate algorithm).
#[derive(Clone, Copy, Debug, Default)]
struct Bucket(Option<Instant>);

impl Allowance {
    /// Starts in full. The seed must be random, so that nobody can aim at the bucket of another source.
    pub fn new(rate: Rate, seed: u64) -> Self {
        Self {
            rate,
            seed,
            sources: vec![Bucket::default(); BUCKETS].into_boxed_slice(),
            all: Bucket::default(),
        }
    }

    /// Whether there is any left for this source now; if so, one is taken.
    pub fn take(&mut self, now: Instant, source: IpAddr) -> bool {
        let source = &mut self.sources[bucket(self.seed, source)];
        let Rate { per_source, in_all } = self.rate;
        let any = source.has_room(now, per_source) && self.all.has_room(now, in_all);
        if any {
            source.take(now, per_source);
            self.all.take(now, in_all);
        }
        any
    }
}

impl PeerAllowance {
    /// Starts in full, with as much for each peer at once and in a second; the seed as in
    /// [`Allowance::new`].
    pub fn new(rate: Rate, per_peer: u32, seed: u64) -> Self {
        Self {
            sources: Allowance::new(rate, seed),
            per_peer,
            peers: [Bucket::default(); PEERS],
        }
    }

    /// Whether there is any left for this source and this peer now; if so, one is taken.
    pub fn take(&mut self, now: Instant, source: IpAddr, peer: NodeId) -> bool {
        let peer = &mut self.peers[peer.get() as usize % PEERS];
        let any = peer.has_room(now, self.per_peer) && self.sources.take(now, source);
        if any {
            peer.take(now, self.per_peer);
        }
        any
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
/// Peers share buckets by their ID. A fleet has at most 128, so those that are numbered one after the
/// other share none.
const PEERS: usize = 256;
const MULTIPLIER: u64 = 0xd6e8_feb8_6659_fd93;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steer::start;

    fn source(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    fn allowance() -> Allowance {
        let rate = Rate {
            per_source: 1000,
            in_all: 10_000,
        };
        Allowance::new(rate, 1)
    }

    fn taken(
        allowance: &mut Allowance,
        now: Instant,
        sources: impl Iterator<Item = IpAddr>,
    ) -> usize {
        sources
            .filter(|source| allowance.take(now, *source))
            .count()
    }

    #[test]
    fn one_source_gets_its_share_at_once_and_again_with_time() {
        let (mut allowance, now) = (allowance(), start());
        let one = || std::iter::repeat_n(source(7), 5000);
        assert_eq!(taken(&mut allowance, now, one()), 1000);
        assert_eq!(taken(&mut allowance, now + SECOND / 10, one()), 100);
        assert_eq!(taken(&mut allowance, now + SECOND * 10, one()), 1000);
    }

    #[test]
    fn a_flood_from_one_source_takes_nothing_from_another() {
        let (mut allowance, now) = (allowance(), start());
        taken(&mut allowance, now, std::iter::repeat_n(source(7), 5000));
        assert!(allowance.take(now, source(8)));
    }

    #[test]
    fn a_flood_of_sources_is_bounded_in_all() {
        let (mut allowance, now) = (allowance(), start());
        assert_eq!(taken(&mut allowance, now, (0..50_000).map(source)), 10_000);
    }

    #[test]
    fn what_is_aimed_at_one_peer_leaves_the_others_theirs() {
        let rate = Rate {
            per_source: 10,
            in_all: 500,
        };
        let (mut allowance, now) = (PeerAllowance::new(rate, 200, 1), start());
        let mut to = |number: u32, now: Instant, count: u32| {
            let peer = NodeId::new(number).unwrap();
            let sources = (0..count).map(source);
            sources
                .filter(|source| allowance.take(now, *source, peer))
                .count()
        };
        assert_eq!(to(4, now, 1000), 200);
        assert_eq!(to(5, now, 1000), 200);
        assert_eq!(to(6, now, 1000), 100, "no more in all");
        assert_eq!(to(4, now + SECOND / 10, 1000), 20);
    }

    #[test]
    fn an_ipv6_network_is_one_source() {
        let (mut allowance, now) = (allowance(), start());
        let hosts = (0..5000_u128).map(|host| IpAddr::V6((0x2001_0db8 << 96 | host).into()));
        assert_eq!(taken(&mut allowance, now, hosts), 1000);
    }
}

use std::hash::{DefaultHasher, Hasher};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How many requests may be sent, and how many of them at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateTerms {
    /// How many, at least one.
    pub requests: u32,
    /// In this time.
    pub per: Duration,
    /// How many at once after a pause, at least one.
    pub burst: u32,
}

/// A request is one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany {
    /// After this time the next one is not.
    pub after: Duration,
}

/// A token bucket.
///
/// It is kept as the time at which it will be full again (the generic cell rate algorithm, ITU-T I.371,
/// annex A): one number, and nothing to do while no request comes.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    full_at: u64,
}

/// Which part of the internet counts as one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientPrefixes {
    /// Bits of an IPv4 address: at most 32.
    pub ipv4: u8,
    /// Bits of an IPv6 address: at most 64.
    pub ipv6: u8,
}

/// One client, as [`ClientPrefixes`] tells clients apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientKey(u64);

/// A token bucket for each of the clients of late, in a table of fixed size.
///
/// A bucket that is full again tells as much as none, so its place is free. Where a new client finds none
/// in its group, it takes that of the client whose bucket is fullest. So a client that has used up its
/// burst is displaced only when all others of its group have used up theirs, and which clients are of one
/// group nobody outside knows. A client that has just come is never refused for lack of a place.
#[derive(Debug)]
pub struct ClientBuckets {
    pace: Pace,
    epoch: Instant,
    seed: u64,
    groups: Vec<[Slot; GROUP]>,
    used: usize,
}

/// What one request of a client came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Whether it may pass.
    pub verdict: Result<(), TooMany>,
    /// Whether another client was forgotten for it whose bucket was not full again.
    pub displaced: bool,
}

/// A limit in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// Until a bucket has one request more.
    each: u64,
    /// Until one that is empty is full.
    all: u64,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    client: ClientKey,
    bucket: Bucket,
}

/// A limit for all requests alike.
#[derive(Debug)]
pub struct RateLimit {
    pace: Pace,
    epoch: Instant,
    bucket: Bucket,
}

impl RateLimit {
    /// Begins with a full bucket.
    pub fn new(terms: RateTerms, now: Instant) -> Self {
        Self {
            pace: Pace::new(terms),
            epoch: now,
            bucket: Bucket::FULL,
        }
    }

    /// Counts a request, unless it is one too many.
    ///
    /// # Errors
    /// It is; nothing has changed then.
    pub fn take(&mut self, now: Instant) -> Result<(), TooMany> {
        self.bucket.take(self.pace, since(self.epoch, now))
    }
}

impl ClientBuckets {
    /// Begins without clients and with room for at least this many, 16 bytes each. The seed is a secret,
    /// so that nobody can choose addresses that share a group.
    pub fn new(terms: RateTerms, clients: u32, seed: u64, now: Instant) -> Self {
        let clients = usize::try_from(clients).unwrap_or(usize::MAX);
        Self {
            pace: Pace::new(terms),
            epoch: now,
            seed,
            groups: vec![[Slot::FREE; GROUP]; clients.div_ceil(GROUP).max(1)],
            used: 0,
        }
    }

    /// Counts a request of a client, unless it is one too many; then nothing has changed.
    pub fn take(&mut self, client: ClientKey, now: Instant) -> Counted {
        let now = since(self.epoch, now);
        let index = client.hash(self.seed) % (self.groups.len() as u64);
        let group = &mut self.groups[usize::try_from(index).unwrap_or_default()];
        let known = group
            .iter_mut()
            .find(|slot| slot.client == client && slot.is_used());
        if let Some(slot) = known {
            return Counted {
                verdict: slot.bucket.take(self.pace, now),
                displaced: false,
            };
        }
        let [first, rest @ ..] = group;
        let fullest = rest.iter_mut().fold(first, |best, slot| {
            if slot.bucket.full_at < best.bucket.full_at {
                slot
            } else {
                best
            }
        });
        let displaced = fullest.bucket.full_at > now;
        self.used += usize::from(!fullest.is_used());
        *fullest = Slot {
            client,
            bucket: Bucket::FULL,
        };
        Counted {
            verdict: fullest.bucket.take(self.pace, now),
            displaced,
        }
    }

    /// How many places are taken; those of clients that have not come for long are until others need them.
    pub fn used(&self) -> usize {
        self.used
    }
}

impl Bucket {
    const FULL: Self = Self { full_at: 0 };

    fn take(&mut self, pace: Pace, now: u64) -> Result<(), TooMany> {
        let full_at = self.full_at.max(now).saturating_add(pace.each);
        let beyond = (full_at - now).saturating_sub(pace.all);
        if beyond > 0 {
            return Err(TooMany {
                after: Duration::from_nanos(beyond),
            });
        }
        self.full_at = full_at;
        Ok(())
    }
}

impl Slot {
    const FREE: Self = Self {
        client: ClientKey(0),
        bucket: Bucket::FULL,
    };

    fn is_used(&self) -> bool {
        self.bucket.full_at > 0
    }
}

impl Pace {
    fn new(terms: RateTerms) -> Self {
        let per = u64::try_from(terms.per.as_nanos()).unwrap_or(u64::MAX);
        let each = (per / u64::from(terms.requests.max(1))).max(1);
        Self {
            each,
            all: each.saturating_mul(terms.burst.max(1).into()),
        }
    }
}

impl ClientKey {
    /// The client that this address belongs to; one of IPv4 in the form of IPv6 is of IPv4.
    pub fn new(address: IpAddr, prefixes: ClientPrefixes) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => {
                let drop = u32::from(32 - prefixes.ipv4.min(32));
                let bits = u64::from(address.to_bits());
                // In 0:1::/32, which nobody has.
                1 << 32 | (bits >> drop << drop)
            }
            IpAddr::V6(address) => {
                let drop = u32::from(64 - prefixes.ipv6.min(64));
                let bits = (address.to_bits() >> 64) as u64;
                bits.checked_shr(drop)
                    .unwrap_or(0)
                    .checked_shl(drop)
                    .unwrap_or(0)
            }
        })
    }

    /// A hash that nobody can foretell who does not know the seed; shards may be chosen by its high bits.
    pub fn hash(self, seed: u64) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(seed);
        hasher.write_u64(self.0);
        hasher.finish()
    }
}

fn since(epoch: Instant, now: Instant) -> u64 {
    let since = now.saturating_duration_since(epoch).as_nanos();
    // Nothing is full at zero, so that what is free can be told from what is not.
    u64::try_from(since).unwrap_or(u64::MAX).saturating_add(1)
}

/// With fewer a table of random groups is full in places long before it is full; with more each request
/// looks at more than two cache lines.
const GROUP: usize = 8;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::balance::testing::start;

    const PREFIXES: ClientPrefixes = ClientPrefixes { ipv4: 24, ipv6: 56 };

    fn terms(requests: u32, per: u64, burst: u32) -> RateTerms {
        RateTerms {
            requests,
            per: Duration::from_secs(per),
            burst,
        }
    }

    fn client(number: u32) -> ClientKey {
        ClientKey::new(IpAddr::from((number << 8).to_be_bytes()), PREFIXES)
    }

    fn after(milliseconds: u64) -> Instant {
        start() + Duration::from_millis(milliseconds)
    }

    /// As many as pass of those sent at once.
    fn passed(table: &mut ClientBuckets, client: ClientKey, now: Instant, sent: u32) -> u32 {
        (0..sent)
            .filter(|_| table.take(client, now).verdict.is_ok())
            .count()
            .try_into()
            .unwrap()
    }

    #[test]
    fn a_burst_passes_at_once_and_then_what_the_rate_allows() {
        let mut rate = RateLimit::new(terms(10, 1, 3), start());
        let mut passed = |now| (0..20).filter(|_| rate.take(now).is_ok()).count();
        assert_eq!(passed(start()), 3);
        assert_eq!(passed(after(99)), 0);
        assert_eq!(passed(after(100)), 1);
        assert_eq!(passed(after(350)), 2);
        assert_eq!(
            passed(after(100_000)),
            3,
            "no more than a burst is saved up"
        );
    }

    #[test]
    fn what_is_told_to_wait_passes_after_just_that_time() {
        let mut rate = RateLimit::new(terms(10, 60, 1), start());
        assert_eq!(rate.take(start()), Ok(()));
        let TooMany { after: wait } = rate.take(after(1500)).unwrap_err();
        assert_eq!(wait, Duration::from_millis(4500));
        let nearly = wait.saturating_sub(Duration::from_nanos(1));
        assert!(rate.take(after(1500) + nearly).is_err());
        assert_eq!(rate.take(after(6000)), Ok(()));
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing_away() {
        let mut rate = RateLimit::new(terms(1, 1, 1), after(5000));
        assert_eq!(rate.take(after(5000)), Ok(()));
        assert!(rate.take(after(0)).is_err());
        assert!(rate.take(after(5999)).is_err());
        assert_eq!(rate.take(after(6000)), Ok(()));
    }

    #[test]
    fn clients_are_told_apart_by_their_prefix_alone() {
        let key = |text: &str| ClientKey::new(text.parse().unwrap(), PREFIXES);
        assert_eq!(key("192.0.2.1"), key("192.0.2.255"));
        assert_eq!(key("192.0.2.1"), key("::ffff:192.0.2.9"));
        assert_ne!(key("192.0.2.1"), key("192.0.3.1"));
        assert_eq!(key("2001:db8:1:2ff::1"), key("2001:db8:1:200:9::"));
        assert_ne!(key("2001:db8:1:200::"), key("2001:db8:1:300::"));
        assert_ne!(key("0.0.0.0"), key("::"));
        let one = |ipv4, ipv6| ClientKey::new([192, 0, 2, 1].into(), ClientPrefixes { ipv4, ipv6 });
        assert_eq!(one(0, 0), ClientKey(1 << 32));
        assert_ne!(one(32, 0), one(31, 0));
        let all = ClientPrefixes { ipv4: 0, ipv6: 0 };
        assert_eq!(
            ClientKey::new("2001:db8::".parse().unwrap(), all),
            ClientKey(0)
        );
    }

    #[test]
    fn clients_do_not_spend_of_each_other() {
        let mut table = ClientBuckets::new(terms(1, 1, 5), 1024, 7, start());
        for number in 0..100 {
            assert_eq!(passed(&mut table, client(number), start(), 9), 5);
        }
        assert_eq!(table.used(), 100);
    }

    #[test]
    fn a_client_at_its_limit_is_not_displaced_by_a_flood_of_new_ones() {
        let mut table = ClientBuckets::new(terms(10, 1, 20), 1024, 7, start());
        let abuser = client(1_000_000);
        assert_eq!(passed(&mut table, abuser, start(), 100), 20);
        let mut displaced = 0;
        for number in 0..100_000 {
            let counted = table.take(client(number), start());
            assert_eq!(counted.verdict, Ok(()), "a new client is served");
            displaced += usize::from(counted.displaced);
        }
        assert!(
            displaced > 90_000,
            "the table was full all the time: {displaced}"
        );
        assert_eq!(table.used(), 1024);
        assert_eq!(passed(&mut table, abuser, start(), 100), 0);
        assert_eq!(passed(&mut table, abuser, after(500), 100), 5);
    }

    #[test]
    fn no_number_of_clients_that_have_something_left_displaces_one_that_has_nothing() {
        let mut table = ClientBuckets::new(terms(1, 1, 4), 8, 7, start());
        let abuser = client(1_000_000);
        assert_eq!(passed(&mut table, abuser, start(), 9), 4);
        for number in 0..1000 {
            assert_eq!(passed(&mut table, client(number), start(), 3), 3);
        }
        assert_eq!(passed(&mut table, abuser, start(), 9), 0);
        for number in 2000..2007 {
            assert_eq!(passed(&mut table, client(number), start(), 4), 4);
        }
        assert_eq!(passed(&mut table, abuser, start(), 9), 0);
        let eighth = table.take(client(3000), start());
        assert!(eighth.displaced, "now one at its limit has gone");
        assert_eq!(eighth.verdict, Ok(()));
    }

    /// What a bucket is in plain words: tokens that come back with time, in nanoseconds of it.
    #[derive(Clone, Copy)]
    struct Plain {
        tokens: u128,
        at: Instant,
    }

    impl Plain {
        fn take(&mut self, terms: RateTerms, now: Instant) -> bool {
            let each = terms.per.as_nanos() / u128::from(terms.requests);
            let full = each * u128::from(terms.burst);
            self.tokens = full.min(self.tokens + (now - self.at).as_nanos());
            self.at = now;
            let passes = self.tokens >= each;
            self.tokens -= if passes { each } else { 0 };
            passes
        }
    }

    proptest! {
        #[test]
        fn the_table_is_what_a_bucket_for_every_client_would_be(
            (requests, per, burst) in (1_u32..2000, 1_u64..100, 1_u32..50),
            events in proptest::collection::vec((0_u32..12, 0_u64..3000), 1..400),
            seed: u64,
        ) {
            let terms = terms(requests, per, burst);
            let mut table = ClientBuckets::new(terms, 4096, seed, start());
            let mut plain: HashMap<u32, Plain> = HashMap::new();
            let mut now = start();
            for (number, pause) in events {
                now += Duration::from_micros(pause * pause);
                let full = terms.per.as_nanos() / u128::from(requests) * u128::from(burst);
                let fresh = Plain { tokens: full, at: start() };
                let passes = plain.entry(number).or_insert(fresh).take(terms, now);
                let counted = table.take(client(number), now);
                prop_assert_eq!(counted.verdict.is_ok(), passes);
                if let Err(TooMany { after }) = counted.verdict {
                    prop_assert!(after > Duration::ZERO && after <= terms.per);
                }
            }
        }

        #[test]
        fn a_table_that_overflows_is_never_stricter_and_keeps_its_size(
            events in proptest::collection::vec((0_u32..200, 0_u64..300), 1..600),
            seed: u64,
        ) {
            let terms = terms(10, 1, 5);
            let mut table = ClientBuckets::new(terms, 16, seed, start());
            let mut plain: HashMap<u32, Plain> = HashMap::new();
            let mut now = start();
            for (number, pause) in events {
                now += Duration::from_millis(pause / 20);
                let fresh = Plain { tokens: 500_000_000, at: start() };
                let entry = plain.entry(number).or_insert(fresh);
                let before = *entry;
                if table.take(client(number), now).verdict.is_ok() {
                    if !entry.take(terms, now) {
                        // It was displaced, and began afresh.
                        *entry = Plain { tokens: 400_000_000, at: now };
                    }
                } else {
                    let mut model = before;
                    prop_assert!(!model.take(terms, now), "refused what it could pay for");
                }
            }
            prop_assert!(table.used() <= 16);
        }
    }
}

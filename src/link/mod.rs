//! A model of a network link that repeats exactly from its seed: how long each packet takes, and
//! which are lost, doubled or late.
//!
//! It holds no packet and reads no clock: the caller asks when a packet arrives and keeps it until then.

mod random;

use std::time::{Duration, Instant};

pub use random::{PerMillion, Random};

/// What a link does to packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// How long the way takes.
    pub delay: Duration,
    /// How much longer it may take, evenly spread. Jitter alone keeps the order.
    pub jitter: Duration,
    /// Packets that are lost.
    pub loss: PerMillion,
    /// How many packets in a row a loss takes on average; up to 1, each is lost by itself.
    ///
    /// After Gilbert's model: the link is good or bad, it may change before each packet, and while it is
    /// bad every packet is lost. So with bursts, no more than burst / (burst + 1) of all can be.
    pub burst: u32,
    /// Packets that arrive twice.
    pub duplication: PerMillion,
    /// Packets that are overtaken by those after them.
    pub reordering: PerMillion,
    /// How much longer an overtaken packet takes, and the second of two copies.
    pub lateness: Duration,
    /// What leaves the link in a second; none is without limit.
    pub bytes_per_second: Option<u64>,
    /// Bytes that wait for a link with a rate; what comes when they are used up is lost.
    pub queue: u64,
    /// The longest packet; longer ones are lost.
    pub mtu: usize,
}

/// One direction of a link.
#[derive(Clone, Debug)]
pub struct Link {
    profile: Profile,
    random: Random,
    up: bool,
    bad: bool,
    free: Option<Instant>,
    newest: Option<Instant>,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives.
    Arrives {
        /// When.
        at: Instant,
        /// When it arrives once more, if it does.
        again: Option<Instant>,
    },
    /// It does not.
    Lost(Loss),
}

/// Why a packet was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Loss {
    /// The link is cut.
    Cut,
    /// It is longer than the MTU.
    Mtu,
    /// The queue was full.
    Queue,
    /// By chance.
    Chance,
    /// Somebody chose this packet.
    Chosen,
}

impl Profile {
    /// A link that takes this long and does nothing else to packets of up to 1500 bytes.
    pub const fn of(delay: Duration) -> Self {
        Self {
            delay,
            jitter: Duration::ZERO,
            loss: PerMillion::NEVER,
            burst: 1,
            duplication: PerMillion::NEVER,
            reordering: PerMillion::NEVER,
            lateness: Duration::ZERO,
            bytes_per_second: None,
            queue: u64::MAX,
            mtu: 1500,
        }
    }
}

impl Link {
    /// Starts with nothing on the way. The same seed and the same packets have the same fates.
    pub fn new(profile: Profile, seed: u64) -> Self {
        Self {
            profile,
            random: Random::new(seed),
            up: true,
            bad: false,
            free: None,
            newest: None,
        }
    }

    /// What the link does.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Changes what the link does to packets that are sent from now on.
    pub fn set_profile(&mut self, profile: Profile) {
        self.profile = profile;
    }

    /// Cuts the link: what is sent from now on is lost.
    pub fn cut(&mut self) {
        self.up = false;
    }

    /// Joins a link that was cut.
    pub fn join(&mut self) {
        self.up = true;
    }

    /// Sends a packet of `len` bytes. `now` never goes back.
    pub fn send(&mut self, now: Instant, len: usize) -> Fate {
        if !self.up {
            return Fate::Lost(Loss::Cut);
        }
        if len > self.profile.mtu {
            return Fate::Lost(Loss::Mtu);
        }
        let Some(sent) = self.transmit(now, len) else {
            return Fate::Lost(Loss::Queue);
        };
        let Profile {
            delay,
            jitter,
            duplication,
            reordering,
            lateness,
            ..
        } = self.profile;
        if self.loses() {
            return Fate::Lost(Loss::Chance);
        }
        let arrives = sent + delay + self.random.up_to(jitter);
        let at = if self.random.happens(reordering) {
            arrives + lateness
        } else {
            let at = self.newest.map_or(arrives, |newest| newest.max(arrives));
            self.newest = Some(at);
            at
        };
        let again = self.random.happens(duplication).then(|| at + lateness);
        Fate::Arrives { at, again }
    }

    /// Whether chance takes this packet.
    fn loses(&mut self) -> bool {
        let Profile { loss, burst, .. } = self.profile;
        let within_burst = self.bad && burst > 1 && loss != PerMillion::NEVER;
        // One draw for each packet, with and without bursts.
        self.bad = self.random.happens(if within_burst {
            PerMillion(PerMillion::ALWAYS.0 - PerMillion::ALWAYS.0 / burst)
        } else {
            loss.begins_bursts_of(burst)
        });
        self.bad
    }

    /// When the last byte has left the queue; `None` if there is no room in it.
    fn transmit(&mut self, now: Instant, len: usize) -> Option<Instant> {
        let Some(rate) = self.profile.bytes_per_second.filter(|rate| *rate > 0) else {
            return Some(now);
        };
        let free = self.free.map_or(now, |free| free.max(now));
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        if duration_of(self.profile.queue.saturating_sub(len), rate) < free - now {
            return None;
        }
        let sent = free + duration_of(len, rate);
        self.free = Some(sent);
        Some(sent)
    }
}

/// At most some 18 years, so that it can be added to an instant.
fn duration_of(bytes: u64, rate: u64) -> Duration {
    let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(rate);
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;

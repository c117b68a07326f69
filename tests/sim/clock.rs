//! Virtual time: one beginning for all, and a wall clock that the world sets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use quinn_proto::TimeSource;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

/// Where the time of every world begins. Only distances from it are ever seen.
#[expect(
    clippy::disallowed_methods,
    reason = "an Instant has no other beginning"
)]
pub(crate) fn beginning() -> Instant {
    static BEGINNING: OnceLock<Instant> = OnceLock::new();
    *BEGINNING.get_or_init(Instant::now)
}

/// The wall clock of one world, shared by everything in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct WallClock(Arc<AtomicU64>);

impl WallClock {
    pub(crate) fn set(&self, now: Instant) {
        let elapsed = now.duration_since(beginning()).as_nanos();
        let elapsed = u64::try_from(elapsed).expect("a world lasts less than centuries");
        self.0.store(elapsed, Ordering::Relaxed);
    }

    /// The time since 1970.
    pub(crate) fn since_epoch(&self) -> Duration {
        NOON + Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

impl TimeSource for WallClock {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + self.since_epoch()
    }
}

/// The time by which certificates are judged, the same in every world.
#[derive(Debug)]
pub(crate) struct Noon;

impl TimeProvider for Noon {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(NOON))
    }
}

const NOON: Duration = Duration::from_secs(1_800_000_000);

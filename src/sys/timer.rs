//! Waiting for descriptors and for a time at once, to the nanosecond, and what the two clocks of the
//! system say of each other.

#![expect(
    unsafe_code,
    reason = "timerfd, poll, clock_gettime and sched_setattr have no safe form in the libraries used"
)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// A timer that is waited for together with descriptors.
///
/// The kernel grants the time limit of poll(2) a slack of a thousandth of it; this timer has none.
#[derive(Debug)]
pub struct Timer {
    timer: OwnedFd,
    entries: Vec<libc::pollfd>,
}

impl Timer {
    /// Makes a timer that is not set.
    ///
    /// # Errors
    /// The system's.
    pub fn new() -> io::Result<Self> {
        let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
        // SAFETY: the call takes numbers and no pointer.
        let timer = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) };
        if timer < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            // SAFETY: the kernel made the descriptor for this call, and nothing else has it.
            timer: unsafe { OwnedFd::from_raw_fd(timer) },
            entries: Vec::new(),
        })
    }

    /// Waits until one of the descriptors can be read or is closed at its other end, or until so much
    /// time has gone by, if a time is given. Gives which of the descriptors it was.
    ///
    /// # Errors
    /// The system's.
    pub fn wait(
        &mut self,
        descriptors: &[BorrowedFd<'_>],
        time: Option<Duration>,
    ) -> io::Result<impl Iterator<Item = usize> + use<'_>> {
        self.set(time)?;
        self.entries.clear();
        let waited = descriptors
            .iter()
            .map(|descriptor| entry(descriptor.as_raw_fd()));
        self.entries
            .extend(waited.chain([entry(self.timer.as_raw_fd())]));
        let count = libc::nfds_t::try_from(self.entries.len()).expect("a few descriptors");
        // SAFETY: the kernel reads and writes as many entries as there are, which outlive the call.
        let ready = unsafe { libc::poll(self.entries.as_mut_ptr(), count, -1) };
        if ready < 0 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
            self.entries.iter_mut().for_each(|entry| entry.revents = 0);
        }
        let waited = self.entries.iter().take(descriptors.len()).enumerate();
        let ready = waited.filter(|(_, entry)| entry.revents != 0);
        Ok(ready.map(|(index, _)| index))
    }

    fn set(&self, time: Option<Duration>) -> io::Result<()> {
        // All zeros would mean never.
        let time = time.map_or(Duration::ZERO, |time| time.max(Duration::from_nanos(1)));
        let none = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let setting = libc::itimerspec {
            it_interval: none,
            it_value: libc::timespec {
                tv_sec: time.as_secs().try_into().unwrap_or(libc::time_t::MAX),
                tv_nsec: time.subsec_nanos().into(),
            },
        };
        // SAFETY: the kernel reads the setting, which outlives the call, and is asked for no old one.
        let result = unsafe {
            libc::timerfd_settime(
                self.timer.as_raw_fd(),
                0,
                &raw const setting,
                std::ptr::null_mut(),
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

/// The monotonic clock and the wall clock at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    /// The monotonic one.
    pub instant: Instant,
    /// The other, since its epoch.
    pub wall: Duration,
}

impl Clocks {
    /// Reads both, apart by less than a microsecond unless the thread is stopped at every attempt.
    pub fn read() -> Self {
        let mut best: Option<(Duration, Self)> = None;
        for _ in 0..ATTEMPTS {
            let before = now();
            let wall = wall();
            let apart = now() - before;
            let clocks = Self {
                instant: before + apart / 2,
                wall,
            };
            if apart < CLOSE {
                return clocks;
            }
            if best.is_none_or(|(least, _)| apart < least) {
                best = Some((apart, clocks));
            }
        }
        best.expect("there was an attempt").1
    }

    /// The instant at which the wall clock showed this, at the latest now.
    pub fn instant_of(self, wall: Duration) -> Instant {
        let age = self.wall.saturating_sub(wall);
        self.instant.checked_sub(age).unwrap_or(self.instant)
    }

    /// What the wall clock showed at this instant, or will show if nobody sets it.
    pub fn wall_of(self, instant: Instant) -> Duration {
        let before = self.instant.saturating_duration_since(instant);
        let after = instant.saturating_duration_since(self.instant);
        (self.wall + after).saturating_sub(before)
    }
}

fn entry(descriptor: RawFd) -> libc::pollfd {
    libc::pollfd {
        fd: descriptor,
        events: libc::POLLIN,
        revents: 0,
    }
}

#[expect(clippy::disallowed_methods, reason = "reading it is what this is for")]
fn now() -> Instant {
    Instant::now()
}

fn wall() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` lives for the whole call, which only writes it.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut time) };
    debug_assert_eq!(result, 0, "every system has this clock");
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanoseconds)
}

const ATTEMPTS: usize = 4;
const CLOSE: Duration = Duration::from_micros(1);

#[cfg(test)]
mod tests {
    use std::io::{Write, pipe};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn what_can_be_read_ends_the_wait_and_is_named() {
        let (quiet, _writer) = pipe().unwrap();
        let (loud, mut writer) = pipe().unwrap();
        let mut timer = Timer::new().unwrap();
        writer.write_all(b"!").unwrap();
        let both = [quiet.as_fd(), loud.as_fd()];
        let ready: Vec<_> = timer.wait(&both, None).unwrap().collect();
        assert_eq!(ready, [1]);
    }

    #[test]
    fn time_ends_the_wait_and_not_before() {
        let (quiet, _writer) = pipe().unwrap();
        let mut timer = Timer::new().unwrap();
        let begin = now();
        let time = Duration::from_millis(3);
        let ready = timer.wait(&[quiet.as_fd()], Some(time)).unwrap().count();
        assert_eq!(ready, 0);
        assert!(begin.elapsed() >= time);
        assert_eq!(
            timer
                .wait(&[quiet.as_fd()], Some(Duration::ZERO))
                .unwrap()
                .count(),
            0
        );
    }

    #[test]
    fn the_clocks_are_translated_into_each_other() {
        let clocks = Clocks::read();
        let age = Duration::from_micros(700);
        let wall = clocks.wall.checked_sub(age).unwrap();
        let instant = clocks.instant.checked_sub(age).unwrap();
        assert_eq!(clocks.instant_of(wall), instant);
        assert_eq!(clocks.instant_of(clocks.wall + age), clocks.instant);
        assert_eq!(clocks.wall_of(instant), wall);
        assert_eq!(clocks.wall_of(clocks.instant + age), clocks.wall + age);
    }
}

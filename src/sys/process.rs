//! What a process asks for itself.

#![expect(
    unsafe_code,
    reason = "setrlimit and prctl have no safe form in the libraries used"
)]

use std::io;

/// Forbids core dumps for this process and its children, so that session keys and ticket keys
/// never reach a disk.
///
/// For the start of a program; a library has no business to call it.
pub fn forbid_core_dumps() -> io::Result<()> {
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `none` lives for the whole call, which only reads it.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Has the kernel kill this process when the thread that started it ends.
///
/// # Errors
/// The system's.
pub fn die_with_parent() -> io::Result<()> {
    // SAFETY: this option takes a number and no pointer.
    let result = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The system's monotonic clock in microseconds, by which the service manager orders what it is told.
pub fn monotonic_micros() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` lives for the whole call, which only writes it.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    if result != 0 {
        return 0;
    }
    let whole = u64::try_from(time.tv_sec).unwrap_or(0);
    let rest = u64::try_from(time.tv_nsec).unwrap_or(0);
    whole * 1_000_000 + rest / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_dumps_stay_forbidden() {
        forbid_core_dumps().unwrap();
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
        let core = limits
            .lines()
            .find(|line| line.starts_with("Max core file size"))
            .unwrap();
        let values: Vec<_> = core.split_whitespace().skip(4).take(2).collect();
        assert_eq!(values, ["0", "0"]);
    }
}

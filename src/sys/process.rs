//! What a process asks for itself.

#![expect(
    unsafe_code,
    reason = "setrlimit, prctl, kill, signal, geteuid and mallopt have no safe form in the libraries used"
)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

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

/// Lets this process, and those that it starts, open so many files, if the hard limit allows it.
///
/// # Errors
/// [`io::ErrorKind::PermissionDenied`] when the hard limit is lower, and what else the system says.
pub fn raise_open_files(wanted: u64) -> io::Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the structure lives for the whole call, which only writes it.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    if limit.rlim_cur >= wanted {
        return Ok(());
    }
    if limit.rlim_max < wanted {
        let most = limit.rlim_max;
        let reason = format!("{wanted} open files are needed, and RLIMIT_NOFILE allows {most}");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
    }
    limit.rlim_cur = wanted;
    // SAFETY: the structure lives for the whole call, which only reads it.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
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

/// Has the kernel kill the process that this command will start when the thread that starts it ends.
pub fn bind_to_parent(command: &mut Command) {
    // SAFETY: between fork and exec the closure makes one system call and neither allocates nor
    // locks.
    unsafe { command.pre_exec(die_with_parent) };
}

/// Has every allocation of 128 KiB or more come fresh from the kernel, and go back to it when it is
/// freed. By default glibc stops doing so for sizes that have been freed once, and clears by hand what it
/// uses again. Does nothing with another C library.
///
/// For the start of a program; a library has no business to call it.
pub fn map_large_blocks() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call takes numbers and no pointer, and glibc locks what it changes.
    let set = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10) };
    #[cfg(target_env = "gnu")]
    // It fails only for thresholds above 32 MiB.
    debug_assert_eq!(set, 1);
}

/// Kills the process with this ID, which need not be a child of this one.
///
/// # Errors
/// The system's: there is none, or it is another user's.
pub fn kill(pid: u32) -> io::Result<()> {
    signal(pid, libc::SIGKILL)
}

/// Asks the process with this ID to end, which need not be a child of this one.
///
/// # Errors
/// The system's: there is none, or it is another user's.
pub fn terminate(pid: u32) -> io::Result<()> {
    signal(pid, libc::SIGTERM)
}

fn signal(pid: u32, signal: libc::c_int) -> io::Result<()> {
    let Some(pid) = libc::pid_t::try_from(pid).ok().filter(|pid| *pid > 0) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    // SAFETY: the call takes numbers and no pointer; a positive one names a single process.
    let result = unsafe { libc::kill(pid, signal) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Has SIGINT do nothing to this process and those that it starts, or what it does by default.
///
/// For the start of a program; a library has no business to call it.
pub fn set_interrupt(interrupt: Interrupt) {
    let action = match interrupt {
        Interrupt::Ignored => libc::SIG_IGN,
        Interrupt::Default => libc::SIG_DFL,
    };
    // SAFETY: both actions are constants of the system's, and no handler of this process's.
    unsafe { libc::signal(libc::SIGINT, action) };
}

/// What SIGINT does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// Nothing.
    Ignored,
    /// It ends the process.
    Default,
}

/// The user with whose rights this process acts.
pub fn effective_user() -> u32 {
    // SAFETY: the call takes nothing, and cannot fail.
    unsafe { libc::geteuid() }
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
    fn a_process_is_killed_by_its_id_and_groups_are_not() {
        let mut command = Command::new("sleep");
        bind_to_parent(command.arg("600"));
        let mut child = command.spawn().unwrap();
        kill(child.id()).unwrap();
        assert_eq!(child.wait().unwrap().code(), None);
        for group in [0, u32::MAX] {
            assert_eq!(kill(group).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }

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

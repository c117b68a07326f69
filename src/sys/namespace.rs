//! User, PID and network namespaces, which need no privilege where the system allows them.

#![expect(
    unsafe_code,
    reason = "unshare and setns have no safe form in the libraries used"
)]

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::{io, thread};

/// Puts this process into a new user and network namespace, in which it is root, and each child
/// that it starts from here on into one new PID namespace.
///
/// The first child is the root of that PID namespace: when it ends, the kernel ends all others.
///
/// # Errors
/// The system's. `EINVAL` when the process has more than one thread, `EPERM` or `ENOSPC` when
/// namespaces are forbidden here.
pub fn isolate() -> io::Result<()> {
    // SAFETY: the call takes nothing and cannot fail.
    let user = unsafe { libc::geteuid() };
    // SAFETY: the call takes nothing and cannot fail.
    let group = unsafe { libc::getegid() };
    unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET | libc::CLONE_NEWPID)?;
    // Without privilege a group can only be mapped once setgroups(2) is given up
    // (user_namespaces(7)).
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {group} 1"))
}

/// A network namespace, which lasts at least as long as this.
#[derive(Debug)]
pub struct NetworkNamespace(OwnedFd);

impl NetworkNamespace {
    /// Makes an empty one, in which even the loopback interface is down.
    ///
    /// # Errors
    /// The system's. `EPERM` without the capability in the process's user namespace.
    pub fn new() -> io::Result<Self> {
        let made = on_thread(|| {
            unshare(libc::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        })??;
        Ok(Self(made.into()))
    }

    /// Runs something on a thread in this namespace.
    ///
    /// Sockets, processes and threads made there belong to the namespace for good.
    ///
    /// # Errors
    /// The system's, when the thread cannot be started or the namespace not be entered.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        on_thread(|| {
            // SAFETY: the descriptor is open for the whole call, and the call takes no pointer.
            check(unsafe { libc::setns(self.0.as_raw_fd(), libc::CLONE_NEWNET) })?;
            Ok(work())
        })?
    }
}

impl AsFd for NetworkNamespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A namespace belongs to a thread, so what changes it gets a thread of its own.
fn on_thread<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().spawn_scoped(scope, work)?;
        thread
            .join()
            .map_or_else(|panic| std::panic::resume_unwind(panic), Ok)
    })
}

fn unshare(namespaces: libc::c_int) -> io::Result<()> {
    // SAFETY: the call takes no pointer.
    check(unsafe { libc::unshare(namespaces) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_cannot_isolate_itself() {
        // The harness runs each test on a thread, beside its main one.
        let refused = isolate().unwrap_err();
        let code = refused.raw_os_error();
        assert!(
            [libc::EINVAL, libc::EPERM].map(Some).contains(&code),
            "{refused}"
        );
    }
}

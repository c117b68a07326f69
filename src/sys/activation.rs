//! Sockets that systemd opened for this process (`sd_listen_fds(3)`).

#![expect(
    unsafe_code,
    reason = "the sockets are named by number, which no library used turns into owned ones"
)]

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// Takes the sockets that were opened for this process, each with the name of `FileDescriptorName=`.
///
/// They are closed when this process executes another program. For the start of a program; every
/// call but the first gives none, and so does any call in a process that the variables do not mean.
pub fn take_sockets() -> Vec<(String, OwnedFd)> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let variable = |name| std::env::var(name).unwrap_or_default();
    let count = count(
        &variable("LISTEN_PID"),
        &variable("LISTEN_FDS"),
        std::process::id(),
    );
    if count == 0 || TAKEN.swap(true, Ordering::Relaxed) {
        return Vec::new();
    }
    let names = variable("LISTEN_FDNAMES");
    (FIRST..)
        .take(count)
        .zip(names.split(':').chain(std::iter::repeat("")))
        .filter_map(|(number, name)| Some((name.to_owned(), take(number)?)))
        .collect()
}

/// How many sockets the variables promise to the process with this ID.
fn count(pid: &str, count: &str, own: u32) -> usize {
    if pid.parse() == Ok(own) {
        count.parse().unwrap_or(0).min(MOST)
    } else {
        0
    }
}

fn take(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: for a number that is no descriptor this is an error and nothing else.
    let set = unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    if set < 0 {
        return None;
    }
    // SAFETY: the descriptor is open, the variables give it to this process, and nothing else takes
    // it, because this happens once.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Standard input, output and error come before.
const FIRST: RawFd = 3;
const MOST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sockets_for_this_process_are_taken() {
        assert_eq!(count("17", "3", 17), 3);
        assert_eq!(count("17", "3", 18), 0);
        assert_eq!(count("", "", 18), 0);
        assert_eq!(count("17", "none", 17), 0);
        assert_eq!(count("17", "99999999", 17), MOST);
    }

    #[test]
    fn a_process_without_the_variables_has_none() {
        assert!(take_sockets().is_empty());
    }
}

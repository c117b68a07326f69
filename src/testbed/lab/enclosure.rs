use std::process::{Command, ExitStatus};
use std::{env, fs, io};

use crate::sys::namespace::isolate;
use crate::sys::process::die_with_parent;

/// Where a process stands that called [`enclose`].
#[derive(Debug)]
pub enum Enclosure {
    /// In namespaces of its own, in which it may make [hosts](super::Host).
    Inside,
    /// Outside. The process inside has ended, and this is how.
    Ended(ExitStatus),
}

/// Why a process can have no namespaces of its own, or no network in them, and what would help.
#[derive(Debug, thiserror::Error)]
#[error("no networks can be made here without privilege: {error}; {remedy}")]
pub struct Forbidden {
    /// What the system said.
    pub error: io::Error,
    /// What forbids it, as far as can be seen, and what to do about it.
    pub remedy: String,
}

/// Starts this program again, with the same arguments, in user, network and PID namespaces of its own, and
/// waits until it ends; it gets here as well, and goes on.
///
/// For the start of a program, before it has a second thread. `marker` is an environment variable that
/// tells the process inside from the one outside. All that the process inside starts ends with it.
///
/// # Errors
/// The system forbids it.
pub fn enclose(marker: &str) -> Result<Enclosure, Forbidden> {
    if env::var_os(marker).is_some() {
        die_with_parent()?;
        return Ok(Enclosure::Inside);
    }
    isolate()?;
    let inside = env::current_exe().and_then(|this| {
        Command::new(this)
            .args(env::args_os().skip(1))
            .env(marker, "1")
            .status()
    });
    Ok(Enclosure::Ended(inside?))
}

impl From<io::Error> for Forbidden {
    /// Looks for what may have caused this.
    fn from(error: io::Error) -> Self {
        let remedy = remedy(|variable| {
            let text = fs::read_to_string(format!("/proc/sys/{variable}")).ok()?;
            text.trim().parse().ok()
        });
        Self { error, remedy }
    }
}

/// What forbids namespaces, by the kernel's variables.
fn remedy(variable: impl Fn(&str) -> Option<u64>) -> String {
    let found = REMEDIES
        .iter()
        .filter(|(name, forbids, _)| variable(&name.replace('.', "/")) == Some(*forbids));
    let found: Vec<_> = found
        .map(|(name, forbids, remedy)| format!("{name} is {forbids}: {remedy}"))
        .collect();
    if found.is_empty() {
        "no variable of the kernel forbids it, so probably a sandbox does, such as a container's seccomp \
         profile: run outside of it"
            .to_owned()
    } else {
        found.join("; ")
    }
}

/// Variables, the value with which each forbids namespaces, and what helps.
const REMEDIES: [(&str, u64, &str); 4] = [
    (
        "user.max_user_namespaces",
        0,
        "set it to some thousands with sysctl",
    ),
    (
        "user.max_net_namespaces",
        0,
        "set it to some thousands with sysctl",
    ),
    (
        "kernel.unprivileged_userns_clone",
        0,
        "set it to 1 with sysctl",
    ),
    (
        "kernel.apparmor_restrict_unprivileged_userns",
        1,
        "set it to 0 with sysctl, or give this program an AppArmor profile with the rule `userns,`",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_forbids_namespaces_is_named_with_its_remedy() {
        let ubuntu = remedy(|name| match name {
            "kernel/apparmor_restrict_unprivileged_userns" => Some(1),
            "user/max_user_namespaces" => Some(31_000),
            _ => None,
        });
        assert!(
            ubuntu.contains("apparmor_restrict_unprivileged_userns is 1"),
            "{ubuntu}"
        );
        assert!(!ubuntu.contains("max_user"), "{ubuntu}");
        let debian =
            remedy(|name| (name != "kernel/apparmor_restrict_unprivileged_userns").then_some(0));
        assert!(
            debian.contains("unprivileged_userns_clone is 0"),
            "{debian}"
        );
        assert!(debian.contains("max_user_namespaces is 0"), "{debian}");
    }

    #[test]
    fn without_such_a_variable_a_sandbox_is_suspected() {
        assert!(remedy(|_| None).contains("seccomp"));
    }
}

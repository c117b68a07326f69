//! What is to be known of the program and of the machine, read where the system tells it.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};
use std::{env, fs, thread};

use super::{Machine, Software};

/// What this program was built of.
pub fn software() -> Software {
    let locked = |name: &&str| Some(((*name).to_owned(), locked(name)?.to_owned()));
    Software {
        wayhold: env!("CARGO_PKG_VERSION").to_owned(),
        revision: revision(),
        rustc: env!("BENCH_RUSTC").to_owned(),
        build: if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        }
        .to_owned(),
        crates: CRATES.iter().filter_map(locked).collect(),
    }
}

/// How this program was called, without the directory that it lies in.
pub fn command() -> Vec<String> {
    let mut words: Vec<_> = env::args_os()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    if let Some(program) = words.first_mut()
        && let Some(name) = Path::new(program.as_str()).file_name()
    {
        *program = name.to_string_lossy().into_owned();
    }
    words
}

/// The commit of the checkout of this package that the running program lies in.
///
/// None for a program that was installed elsewhere, and where there is no `git`.
pub fn revision() -> Option<String> {
    let program = env::current_exe().ok()?;
    let directory = program.parent()?;
    let top = git(directory, &["rev-parse", "--show-toplevel"])?;
    let manifest = fs::read_to_string(Path::new(&top).join("Cargo.toml")).ok()?;
    let own = concat!("name = \"", env!("CARGO_PKG_NAME"), "\"");
    if !manifest.lines().any(|line| line == own) {
        return None;
    }
    let commit = git(directory, &["rev-parse", "HEAD"])?;
    let changes = git(
        Path::new(&top),
        &["status", "--porcelain", "--untracked-files=no"],
    )?;
    Some(if changes.is_empty() {
        commit
    } else {
        format!("{commit}-dirty")
    })
}

/// What the system says of the machine, of the network of the calling thread, and of the load now.
///
/// Where a run takes place in a network namespace, [`Machine::network`] has to come from
/// [`network_variables`] on a thread there.
pub fn machine() -> Machine {
    let information = text("/proc/cpuinfo");
    let named = information.as_deref().and_then(|information| {
        let lines = information.lines();
        let mut fields = lines.filter_map(|line| line.split_once(':'));
        fields.find_map(|(name, value)| (name.trim() == "model name").then_some(value.trim()))
    });
    let processors = thread::available_parallelism().map_or(0, NonZero::get);
    Machine {
        processor: named.unwrap_or(env::consts::ARCH).to_owned(),
        processors: u32::try_from(processors).unwrap_or(u32::MAX),
        kernel: text("/proc/sys/kernel/osrelease").unwrap_or_default(),
        network: network_variables(),
        load_before: load(),
        load_after: None,
    }
}

/// The load average of the last minute.
pub fn load() -> Option<f64> {
    text("/proc/loadavg")?.split(' ').next()?.parse().ok()
}

/// What the kernel has set for the network of the calling thread, as far as it shows it there.
pub fn network_variables() -> BTreeMap<String, String> {
    let value = |name: &&str| {
        let value = text(&format!("/proc/sys/net/{name}"))?;
        Some(((*name).to_owned(), value.replace('\t', " ")))
    };
    VARIABLES.iter().filter_map(value).collect()
}

/// A time in UTC as RFC 3339 writes it, to the second.
pub fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (mut days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let mut year = 1970;
    while days >= year_days(year) {
        days -= year_days(year);
        year += 1;
    }
    let february = year_days(year) - 337;
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= months[month] {
        days -= months[month];
        month += 1;
    }
    let (month, day) = (month + 1, days + 1);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

fn year_days(year: u64) -> u64 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    365 + u64::from(leap)
}

fn text(path: &str) -> Option<String> {
    fs::read_to_string(path)
        .ok()
        .map(|text| text.trim().to_owned())
}

fn git(directory: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    let output = command.arg("-C").arg(directory).args(arguments).output();
    let output = output.ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned())
}

/// The version of a crate in `Cargo.lock`; the latest where there are several.
fn locked(name: &str) -> Option<&'static str> {
    let named = format!("\nname = \"{name}\"\nversion = \"");
    let (_, rest) = LOCK.rsplit_once(&named)?;
    rest.split('"').next()
}

const LOCK: &str = include_str!("../../../Cargo.lock");

/// The crates whose work is measured.
const CRATES: [&str; 10] = [
    "aws-lc-rs",
    "aws-lc-sys",
    "h2",
    "h3",
    "h3-quinn",
    "quinn",
    "quinn-proto",
    "quinn-udp",
    "rustls",
    "tokio-rustls",
];

/// What changes how TCP and UDP behave.
const VARIABLES: [&str; 23] = [
    "core/default_qdisc",
    "core/rmem_default",
    "core/rmem_max",
    "core/wmem_default",
    "core/wmem_max",
    "ipv4/tcp_congestion_control",
    "ipv4/tcp_early_retrans",
    "ipv4/tcp_ecn",
    "ipv4/tcp_fastopen",
    "ipv4/tcp_moderate_rcvbuf",
    "ipv4/tcp_mtu_probing",
    "ipv4/tcp_no_metrics_save",
    "ipv4/tcp_recovery",
    "ipv4/tcp_rmem",
    "ipv4/tcp_rto_min_us",
    "ipv4/tcp_sack",
    "ipv4/tcp_slow_start_after_idle",
    "ipv4/tcp_syn_linear_timeouts",
    "ipv4/tcp_syncookies",
    "ipv4/tcp_thin_linear_timeouts",
    "ipv4/tcp_timestamps",
    "ipv4/tcp_window_scaling",
    "ipv4/tcp_wmem",
];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_measured_crate_has_its_locked_version() {
        for name in CRATES {
            let version = locked(name).unwrap_or_default();
            assert!(
                version.starts_with(|first: char| first.is_ascii_digit()),
                "{name}: {version}"
            );
        }
        assert_eq!(locked("no-such-crate"), None);
    }

    #[test]
    fn the_compiler_is_known() {
        assert!(software().rustc.starts_with("rustc "));
    }

    #[test]
    fn times_are_written_as_rfc_3339_has_them() {
        let at = |seconds| rfc3339(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(1_735_689_599), "2024-12-31T23:59:59Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00Z");
    }
}

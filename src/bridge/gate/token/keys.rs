use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until};
use zeroize::Zeroizing;

use super::TokenError;
use super::fetch::{self, Fetched};
use super::key_set::KeySet;
use crate::bridge::gate::kept::KeysOf;
use crate::bridge::tls;
use crate::request::clock;
use crate::sys::file_mark::FileMark;
use crate::telemetry::{GateMetrics, KeyOutcome, TokenLabel};

/// The keys of tokens as they were last read or fetched.
///
/// When they cannot be read or fetched again, or are of no use, the last good ones stay in use: those of a
/// file for ever, those of a URL for `jwks_stale_max`.
#[derive(Debug)]
pub(in crate::bridge::gate) struct Keys {
    of: KeysOf,
    current: ArcSwapOption<Current>,
    /// Told of a token that names a key which there is not.
    wanted: Notify,
    schedule: Mutex<Schedule>,
    /// Held by the one task that follows them, while the bridges before and after a reload overlap.
    following: tokio::sync::Mutex<()>,
    metrics: GateMetrics,
}

#[derive(Debug)]
struct Current {
    set: Arc<KeySet>,
    since: Instant,
}

/// When keys are fetched.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    next: Instant,
    /// Before this they are not, whatever tokens name.
    earliest: Instant,
    failures: u32,
}

impl Keys {
    /// Reads the keys if they are in a file, and otherwise has none until they are fetched.
    pub(super) fn new(of: &KeysOf, metrics: &GateMetrics) -> Result<Self, TokenError> {
        let now = clock::now();
        let keys = Self {
            of: of.clone(),
            current: ArcSwapOption::empty(),
            wanted: Notify::new(),
            schedule: Mutex::new(Schedule {
                next: now,
                earliest: now,
                failures: 0,
            }),
            following: tokio::sync::Mutex::new(()),
            metrics: metrics.clone(),
        };
        match path(of) {
            Some(path) => keys.replace(read(of, path)?),
            None => {
                if let Some(ca) = &of.from.ca {
                    tls::authorities(Some(ca))?;
                }
            }
        }
        Ok(keys)
    }

    /// The keys in use, if there are any.
    pub(super) fn load(&self) -> Option<Arc<KeySet>> {
        let current = self.current.load();
        let current = current.as_ref()?;
        let stale = self.of.from.url.is_some()
            && clock::now().saturating_duration_since(current.since) > self.of.from.stale_max;
        (!stale).then(|| Arc::clone(&current.set))
    }

    /// Tells that a key is missing, so that they are fetched as soon as that may be.
    pub(super) fn want(&self) {
        if self.of.from.url.is_some() {
            self.wanted.notify_one();
        }
    }

    /// Whether a task keeps them up to date.
    #[cfg(test)]
    pub(super) fn is_followed(&self) -> bool {
        self.following.try_lock().is_err()
    }

    fn replace(&self, set: KeySet) {
        let label = TokenLabel {
            jwt: self.of.name.clone(),
        };
        let count = i64::try_from(set.len()).unwrap_or(i64::MAX);
        self.metrics.keys.get_or_create(&label).set(count);
        self.current.store(Some(Arc::new(Current {
            set: Arc::new(set),
            since: clock::now(),
        })));
        self.count("good");
    }

    fn failed(&self, outcome: &'static str, error: &dyn std::error::Error) {
        self.count(outcome);
        tracing::warn!(jwt = %self.of.name, %error, "keys of tokens stay as they were");
    }

    fn count(&self, outcome: &'static str) {
        let label = KeyOutcome {
            jwt: self.of.name.clone(),
            outcome,
        };
        self.metrics.key_reads.get_or_create(&label).inc();
    }

    fn schedule(&self) -> Schedule {
        *self.lock()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches them once, and says when next.
    async fn fetch(&self, url: &str) {
        let from = &self.of.from;
        let fetched =
            tokio::time::timeout(from.timeout, fetch::fetch(url, from.ca.as_deref())).await;
        let outcome = match fetched {
            Err(_elapsed) => Err(fetch::FetchError::Late),
            Ok(outcome) => outcome,
        };
        let good = outcome
            .map_err(|error| self.failed("not_fetched", &error))
            .and_then(|fetched| {
                let Fetched { body, max_age } = fetched;
                KeySet::from_json(&body, &self.of.algorithms)
                    .map(|set| (set, max_age))
                    .map_err(|error| self.failed("bad", &error))
            });
        let now = clock::now();
        let wait = if let Ok((set, max_age)) = good {
            self.replace(set);
            self.lock().failures = 0;
            max_age
                .unwrap_or(from.refresh_max)
                .clamp(from.refresh_min, from.refresh_max)
        } else {
            let mut schedule = self.lock();
            schedule.failures = schedule.failures.saturating_add(1);
            let wait = FIRST_RETRY * (1 << (schedule.failures - 1).min(16));
            wait.min(from.refresh_min)
        };
        let mut schedule = self.lock();
        schedule.next = now + wait;
        schedule.earliest = now + wait.min(from.refresh_min);
    }
}

/// Keeps keys up to date until the task is aborted.
pub(super) async fn follow(keys: Arc<Keys>) {
    let _alone = keys.following.lock().await;
    match (path(&keys.of), &keys.of.from.url) {
        (Some(path), _) => watch(&keys, path).await,
        (None, Some(url)) => refresh(&keys, url).await,
        (None, None) => {}
    }
}

async fn refresh(keys: &Keys, url: &str) {
    loop {
        let Schedule { next, earliest, .. } = keys.schedule();
        tokio::select! {
            () = sleep_until(next) => {}
            () = keys.wanted.notified() => sleep_until(earliest).await,
        }
        keys.fetch(url).await;
    }
}

/// Looks once a second rather than by inotify, which sees neither a symbolic link turned to another
/// directory nor a change on a network file system.
#[expect(clippy::infinite_loop, reason = "the set that owns the task ends it")]
async fn watch(keys: &Keys, path: &Path) {
    let mut used = mark(path).await;
    let mut seen = used;
    // What changed since it was read at the start.
    if used.is_some_and(is_recent) {
        used = None;
    }
    loop {
        sleep(LOOK).await;
        let now = mark(path).await;
        let settled = now == seen;
        seen = now;
        if !settled || now == used {
            continue;
        }
        used = now;
        let (of, path) = (keys.of.clone(), path.to_owned());
        match spawn_blocking(move || read(&of, &path)).await {
            Ok(Ok(set)) => keys.replace(set),
            Ok(Err(error @ TokenError::Keys(..))) => keys.failed("bad", &error),
            Ok(Err(error)) => keys.failed("not_read", &error),
            Err(error) => keys.failed("not_read", &error),
        }
    }
}

/// Whether the file may have been written since it was read.
fn is_recent(mark: FileMark) -> bool {
    let age = mark
        .modified()
        .map(|at| clock::time_of_day().duration_since(at));
    age.is_none_or(|age| age.is_err() || age.is_ok_and(|age| age < Duration::from_secs(5)))
}

async fn mark(path: &Path) -> Option<FileMark> {
    tokio::fs::metadata(path).await.ok().map(FileMark::from)
}

fn path(of: &KeysOf) -> Option<&Path> {
    let from = &of.from;
    from.file.as_deref().or(from.secret_file.as_deref())
}

fn read(of: &KeysOf, path: &Path) -> Result<KeySet, TokenError> {
    let name = path.display().to_string();
    let failed = |error| TokenError::Read(name.clone(), error);
    let file = OpenOptions::new()
        .read(true)
        // Without it, opening a pipe would wait for somebody to write to it.
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    if !about.is_file() || about.len() > fetch::MAX_BYTES {
        return Err(TokenError::Size(name, fetch::MAX_BYTES));
    }
    let mode = about.permissions().mode() & 0o7777;
    let is_secret = of.from.secret_file.is_some();
    if is_secret && mode & 0o077 != 0 {
        return Err(TokenError::Mode(name, mode));
    }
    let bytes = bytes(file).map_err(failed)?;
    let set = if is_secret {
        KeySet::from_secret(&bytes, &of.algorithms)
    } else {
        KeySet::from_json(&bytes, &of.algorithms)
    };
    set.map_err(|error| TokenError::Keys(name, error))
}

fn bytes(file: File) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(fetch::MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// After a fetch that failed; twice as long after each further one.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_secs(1);

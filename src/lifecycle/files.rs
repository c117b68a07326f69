use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::config::Config;

/// The certificate and key files of a configuration, as they were when last looked at.
///
/// They are looked at once a second rather than watched by inotify, which sees neither a symbolic
/// link turned to another directory, as orchestrators renew certificates, nor a change on a network
/// file system.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    paths: Vec<PathBuf>,
    used: Vec<Option<Mark>>,
    seen: Vec<Option<Mark>>,
}

/// What tells a file from a later one in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    device: u64,
    inode: u64,
    length: u64,
    modified: Option<SystemTime>,
}

impl Watched {
    /// How often to look.
    pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

    /// Notes the files as they are now; call it before they are read, so that a change meanwhile is
    /// seen.
    pub(crate) fn new(config: &Config) -> Self {
        let files = config
            .listen
            .iter()
            .flat_map(|listen| [&listen.cert, &listen.key]);
        let mut paths: Vec<_> = files.flatten().cloned().collect();
        paths.sort_unstable();
        paths.dedup();
        let used: Vec<_> = paths.iter().map(|path| mark(path)).collect();
        Self {
            paths,
            seen: used.clone(),
            used,
        }
    }

    /// Whether the files have changed since they were used, and have not since the last look: a
    /// certificate and its key are seldom replaced in one step. Each change is told once.
    pub(crate) fn look(&mut self) -> bool {
        let now: Vec<_> = self.paths.iter().map(|path| mark(path)).collect();
        let settled = now == self.seen;
        self.seen = now;
        let changed = settled && self.seen != self.used;
        if changed {
            self.used.clone_from(&self.seen);
        }
        changed
    }
}

fn mark(path: &Path) -> Option<Mark> {
    let file = fs::metadata(path).ok()?;
    Some(Mark {
        device: file.dev(),
        inode: file.ino(),
        length: file.len(),
        modified: file.modified().ok(),
    })
}

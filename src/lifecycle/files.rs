use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::{Config, Listen};
use crate::sys::file_mark::FileMark;

/// The files of a configuration that TLS is made of, certificates and keys above all, as they were when last looked at.
///
/// They are looked at once a second rather than watched by inotify, which sees neither a symbolic
/// link turned to another directory, as orchestrators renew certificates, nor a change on a network
/// file system.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    paths: Vec<PathBuf>,
    used: Vec<Option<FileMark>>,
    seen: Vec<Option<FileMark>>,
}

impl Watched {
    /// How often to look.
    pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

    /// Notes the files as they are now; call it before they are read, so that a change meanwhile is
    /// seen.
    pub(crate) fn new(config: &Config) -> Self {
        let listeners = config.listen.iter().flat_map(named);
        let pools = config.pool.iter().flat_map(|pool| pool.tls.files());
        let mut paths: Vec<_> = listeners.chain(pools).cloned().collect();
        paths.sort_unstable();
        paths.dedup();
        let used: Vec<_> = paths.iter().map(|path| mark(path)).collect();
        Self {
            paths,
            seen: used.clone(),
            used,
        }
    }

    /// Whether there is a file to look at.
    pub(crate) fn any(&self) -> bool {
        !self.paths.is_empty()
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

/// Every file that a listener's TLS is made of.
fn named(listen: &Listen) -> impl Iterator<Item = &PathBuf> {
    let single = [
        &listen.cert,
        &listen.key,
        &listen.client_ca,
        &listen.client_crl,
    ];
    let pairs = listen.certificate.iter();
    let pairs = pairs.flat_map(|certificate| [&certificate.cert, &certificate.key]);
    single.into_iter().flatten().chain(pairs)
}

fn mark(path: &Path) -> Option<FileMark> {
    fs::metadata(path).ok().map(FileMark::from)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::config::Pool;

    /// A directory of its own for each test, removed at the end.
    struct Directory(TempDir);

    impl Directory {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn config(&self) -> Config {
            let mut config = Config::default();
            config.listen[0].cert = Some(self.0.path().join("live/tls.pem"));
            config.listen[0].key = Some(self.0.path().join("live/tls.key"));
            config
        }

        /// Makes a directory with a certificate and a key of this content.
        fn make(&self, name: &str, content: &str) {
            fs::create_dir(self.0.path().join(name)).unwrap();
            for file in ["tls.pem", "tls.key"] {
                fs::write(self.0.path().join(name).join(file), content).unwrap();
            }
        }

        fn link(&self, name: &str) {
            let link = self.0.path().join("live");
            drop(fs::remove_file(&link));
            std::os::unix::fs::symlink(self.0.path().join(name), link).unwrap();
        }
    }

    #[test]
    fn a_change_is_told_once_and_not_before_it_is_complete() {
        let directory = Directory::new();
        directory.make("live", "old");
        let mut watched = Watched::new(&directory.config());
        assert!(!watched.look());
        fs::write(directory.0.path().join("live/tls.pem"), "newer").unwrap();
        assert!(!watched.look(), "the key may still follow");
        fs::write(directory.0.path().join("live/tls.key"), "newer").unwrap();
        assert!(!watched.look());
        assert!(watched.look());
        assert!(!watched.look());
    }

    #[test]
    fn the_files_of_pools_are_looked_at_too() {
        let directory = Directory::new();
        directory.make("live", "old");
        let mut pool = Pool::new("app", []);
        pool.tls.ca = Some(directory.0.path().join("live/tls.pem"));
        let config = Config {
            pool: vec![pool],
            ..Config::default()
        };
        let mut watched = Watched::new(&config);
        assert!(watched.any() && !watched.look());
        fs::write(directory.0.path().join("live/tls.pem"), "newer").unwrap();
        assert!(!watched.look());
        assert!(watched.look());
    }

    #[test]
    fn a_configuration_without_certificates_leaves_nothing_to_look_at() {
        let directory = Directory::new();
        assert!(Watched::new(&directory.config()).any());
        assert!(!Watched::new(&Config::default()).any());
    }

    #[test]
    fn a_link_turned_to_another_directory_is_a_change() {
        let directory = Directory::new();
        directory.make("first", "same");
        directory.make("second", "same");
        directory.link("first");
        let mut watched = Watched::new(&directory.config());
        directory.link("second");
        assert!(!watched.look());
        assert!(watched.look());
    }

    #[test]
    fn files_that_are_gone_and_come_back_are_changes() {
        let directory = Directory::new();
        directory.make("live", "old");
        let mut watched = Watched::new(&directory.config());
        fs::remove_file(directory.0.path().join("live/tls.key")).unwrap();
        assert!(!watched.look());
        assert!(watched.look());
        fs::write(directory.0.path().join("live/tls.key"), "again").unwrap();
        assert!(!watched.look());
        assert!(watched.look());
    }
}

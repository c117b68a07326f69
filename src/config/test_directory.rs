//! A directory for the files of one test.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// A new directory, removed with all that is in it when it is dropped.
#[derive(Debug)]
pub(super) struct TestDirectory(PathBuf);

impl TestDirectory {
    /// Makes the directory with files of these names.
    pub(super) fn with_files(names: &[&str]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("wayhold-config-{}-{number}", std::process::id());
        let directory = Self(std::env::temp_dir().join(name));
        std::fs::create_dir(&directory.0).unwrap();
        for name in names {
            directory.write(name, "");
        }
        directory
    }

    /// Writes a file and returns its path.
    pub(super) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The path of a file as text.
    pub(super) fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for TestDirectory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

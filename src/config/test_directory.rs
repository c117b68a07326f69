//! A directory for the files of one test.

use std::path::PathBuf;

use tempfile::TempDir;

/// A new directory, removed with all that is in it when it is dropped.
#[derive(Debug)]
pub(super) struct TestDirectory(TempDir);

impl TestDirectory {
    /// Makes the directory with files of these names.
    pub(super) fn with_files(names: &[&str]) -> Self {
        let directory = Self(tempfile::tempdir().unwrap());
        for name in names {
            directory.write(name, "");
        }
        directory
    }

    /// Writes a file, with the directories that it is in, and returns its path.
    pub(super) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The path of a file as text.
    pub(super) fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }
}

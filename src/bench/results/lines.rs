//! Files of JSON, a value on each line or one in all.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::WriteError;

/// A file that grows by whole lines, so that what is cut off has at most one broken line, the last.
#[derive(Debug)]
pub(super) struct Lines {
    path: PathBuf,
    file: File,
}

impl Lines {
    /// Begins a file anew.
    pub(super) fn create(path: PathBuf) -> Result<Self, WriteError> {
        match File::create(&path) {
            Ok(file) => Ok(Self { path, file }),
            Err(error) => Err(WriteError::Io { path, error }),
        }
    }

    pub(super) fn push(&mut self, value: &impl Serialize) -> Result<(), WriteError> {
        let mut line = serde_json::to_vec(value).expect("records have text keys only");
        line.push(b'\n');
        let written = self.file.write_all(&line);
        written.map_err(|error| self.error(error))
    }

    /// Waits until the file would outlive the machine.
    pub(super) fn sync(&self) -> Result<(), WriteError> {
        self.file.sync_data().map_err(|error| self.error(error))
    }

    fn error(&self, error: io::Error) -> WriteError {
        WriteError::Io {
            path: self.path.clone(),
            error,
        }
    }
}

/// Replaces a file by a text, or leaves it as it was.
pub(super) fn replace(path: &Path, text: &str) -> Result<(), WriteError> {
    let next = path.with_extension("part");
    let refused = |error| WriteError::Io {
        path: path.to_owned(),
        error,
    };
    let write = || {
        let mut file = File::create(&next)?;
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
        fs::rename(&next, path)
    };
    write().map_err(|error| {
        // The error that is told is the first; this file may not even be there.
        drop(fs::remove_file(&next));
        refused(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_with_the_file_that_did_not_fit() {
        let mut lines = Lines::create("/dev/full".into()).unwrap();
        let error = lines.push(&1).unwrap_err().to_string();
        assert!(
            error.starts_with("cannot write /dev/full: No space"),
            "{error}"
        );
    }

    #[test]
    fn what_cannot_be_replaced_stays_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run.json");
        replace(&path, "first").unwrap();
        fs::create_dir(path.with_extension("part")).unwrap();
        assert!(replace(&path, "second").is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "first");
    }
}

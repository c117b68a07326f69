//! What is wrong with a configuration, and where it was written.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Origin {
    /// In a file.
    File {
        /// The file, as it was named.
        path: Arc<Path>,
        /// The line, from 1.
        line: usize,
    },
    /// In the environment variable of this name.
    Environment(String),
    /// On the command line, by `--set` or by the flag of this name.
    CommandLine(String),
}

impl Origin {
    /// Where a relative path that was written here begins: the file's directory, or else the
    /// current one.
    pub(super) fn directory(&self) -> PathBuf {
        match self {
            Self::File { path, .. } => path.parent().map(Path::to_path_buf).unwrap_or_default(),
            Self::Environment(_) | Self::CommandLine(_) => PathBuf::new(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) | Self::CommandLine(name) => f.write_str(name),
        }
    }
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadError {
    /// Where it was written; absent for what is missing altogether.
    pub origin: Option<Origin>,
    /// The path of the key; empty where no single key is wrong.
    pub key: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// Everything that is wrong with a configuration, one line each; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadErrors(Vec<LoadError>);

impl LoadErrors {
    /// Orders errors, of which there is at least one, as they stand in the files, then by
    /// environment variable and flag.
    pub(super) fn new(mut errors: Vec<LoadError>) -> Self {
        errors.sort_by_cached_key(|error| (error.origin.is_none(), error.origin.clone()));
        Self(errors)
    }

    /// The errors, in the order of the files.
    pub fn iter(&self) -> impl Iterator<Item = &LoadError> {
        self.0.iter()
    }
}

impl fmt::Display for LoadErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for LoadErrors {}

/// A text that is not a backend's URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a backend's URL: {0}")]
pub struct UpstreamError(pub(super) &'static str);

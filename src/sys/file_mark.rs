//! What tells a file from a later one in its place.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::SystemTime;

/// A file as it was when it was looked at. Another file of the same name, or the same one after it was written,
/// has another mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMark {
    device: u64,
    inode: u64,
    length: u64,
    modified: Option<SystemTime>,
}

impl FileMark {
    /// When it was written last, if the file system says so.
    pub fn modified(&self) -> Option<SystemTime> {
        self.modified
    }
}

impl From<Metadata> for FileMark {
    fn from(file: Metadata) -> Self {
        Self {
            device: file.dev(),
            inode: file.ino(),
            length: file.len(),
            modified: file.modified().ok(),
        }
    }
}

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::fleet::{Keyring, KeyringError};

/// Reads the fleet's key file.
///
/// The file, or the one that a symbolic link leads to, must be a regular file of at most 16 KiB
/// that neither group nor others can read or write.
pub fn read_key_file(path: &Path) -> Result<Keyring, KeyFileError> {
    let io_error = |source| KeyFileError::Read {
        path: path.into(),
        source,
    };
    let file = OpenOptions::new()
        .read(true)
        // Without it, opening a pipe would wait for somebody to write to it.
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(io_error)?;
    check(&file, path)?;
    let mut text = Zeroizing::new(String::with_capacity(usize::from(MAX_LEN) + 1));
    file.take(u64::from(MAX_LEN) + 1)
        .read_to_string(&mut text)
        .map_err(io_error)?;
    if text.len() > usize::from(MAX_LEN) {
        return Err(KeyFileError::TooLarge(path.into()));
    }
    Keyring::from_text(&text).map_err(|source| KeyFileError::Parse {
        path: path.into(),
        source,
    })
}

/// Writes a new key file with mode 0600; refuses to replace anything that exists.
pub fn write_key_file(path: &Path, keyring: &Keyring) -> Result<(), KeyFileError> {
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(keyring.to_text().as_bytes())?;
        file.sync_all()
    };
    write().map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => KeyFileError::Exists(path.into()),
        _ => KeyFileError::Write {
            path: path.into(),
            source,
        },
    })
}

/// Why a key file cannot be used or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The file cannot be opened or read.
    #[error("cannot read the key file {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Others than the owner can get at the file.
    #[error(
        "the key file {path} has mode {mode:04o}, so others can read or change it; \
         run `chmod 600 {path}`",
        path = path.display()
    )]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The path leads to a directory, a pipe or a device.
    #[error("the key file {} is not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// The file is far larger than a key file can be.
    #[error("the key file {} has more than {MAX_LEN} bytes", .0.display())]
    TooLarge(PathBuf),
    /// The content is no keyring.
    #[error("the key file {path}: {source}", path = path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: KeyringError,
    },
    /// The file that was to be made exists.
    #[error("{} exists and is left as it is; move it away to make a new key file", .0.display())]
    Exists(PathBuf),
    /// The file cannot be made or written.
    #[error("cannot write the key file {path}: {source}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// Looks at the open file, which nobody can exchange any more.
fn check(file: &File, path: &Path) -> Result<(), KeyFileError> {
    let metadata = file.metadata().map_err(|source| KeyFileError::Read {
        path: path.into(),
        source,
    })?;
    let mode = metadata.permissions().mode() & 0o7777;
    if !metadata.is_file() {
        return Err(KeyFileError::NotAFile(path.into()));
    }
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Mode {
            path: path.into(),
            mode,
        });
    }
    Ok(())
}

const MAX_LEN: u16 = 16 << 10;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::fleet::{KeyRecord, Keyring, KeyringError};

/// Reads the fleet's key file.
///
/// # Errors
/// Those of [`read_key_record`].
pub fn read_key_file(path: &Path) -> Result<Keyring, KeyFileError> {
    read_key_record(path).map(|record| record.keyring)
}

/// Reads the fleet's key file with the times in it.
///
/// The file, or the one that a symbolic link leads to, must be a regular file of at most 16 KiB
/// that neither group nor others can read or write.
///
/// # Errors
/// [`KeyFileError`].
pub fn read_key_record(path: &Path) -> Result<KeyRecord, KeyFileError> {
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
    KeyRecord::from_text(&text).map_err(|source| KeyFileError::Parse {
        path: path.into(),
        source,
    })
}

/// Writes a new key file with mode 0600; refuses to replace anything that exists.
///
/// # Errors
/// [`KeyFileError`].
pub fn write_key_file(path: &Path, keyring: &Keyring) -> Result<(), KeyFileError> {
    create(path, &keyring.to_text()).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => KeyFileError::Exists(path.into()),
        _ => KeyFileError::Write {
            path: path.into(),
            source,
        },
    })
}

/// Replaces a key file, or the one that a symbolic link leads to: a reader finds the old content or
/// the new, whatever happens meanwhile. The new file has mode 0600.
///
/// # Errors
/// [`KeyFileError`]; the file is as it was then.
pub fn replace_key_file(path: &Path, record: &KeyRecord) -> Result<(), KeyFileError> {
    let replace = || {
        let path = path.canonicalize()?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let new = path.with_file_name(name);
        create(&new, &record.to_text())?;
        let replaced = fs::rename(&new, &path);
        if replaced.is_err() {
            // It has the secrets in it, and the next attempt needs its name.
            fs::remove_file(&new)?;
        }
        replaced?;
        let directory = path.parent().unwrap_or_else(|| Path::new("/"));
        File::open(directory)?.sync_all()
    };
    replace().map_err(|source| KeyFileError::Write {
        path: path.into(),
        source,
    })
}

fn create(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
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

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::control::write_key_file;
use crate::fleet::{Epoch, FleetKey, Keyring};

/// A directory for what nodes write, and the key file of their fleet; it is removed with this.
#[derive(Debug)]
pub(super) struct Files(PathBuf);

impl Files {
    pub(super) fn make() -> io::Result<Self> {
        let unique = u64::from_ne_bytes(random()?);
        let path = std::env::temp_dir().join(format!("wayhold-bench-{unique:016x}"));
        DirBuilder::new().mode(0o700).create(&path)?;
        let made = Self(path);
        let key = FleetKey::new(Epoch::default(), random()?);
        write_key_file(&made.key_file(), &Keyring::new(key)).map_err(io::Error::other)?;
        Ok(made)
    }

    /// The state directory of a node.
    pub(super) fn state(&self, number: usize) -> PathBuf {
        self.0.join(format!("node{number}"))
    }

    /// The key file of every fleet.
    pub(super) fn key_file(&self) -> PathBuf {
        self.0.join("fleet.key")
    }
}

impl AsRef<Path> for Files {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // Left behind, it is some small files in the system's directory for such.
        drop(fs::remove_dir_all(&self.0));
    }
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_unspecified| io::Error::other("no random bytes"))?;
    Ok(bytes)
}

//! Which processes of this node live: each listens on a socket in the node's runtime directory.
//!
//! The directory has mode 0700, so that no other user can register or send. A process lives as long
//! as its socket takes connections; the kernel ends that when the process dies, however it dies.

mod entry;
mod error;
mod recent;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use entry::{Birth, Entry, Lineage, NotABirth};
pub use error::InstancesError;

use crate::fleet::{InstanceId, NodeId};
use crate::sys::packets::PacketSocket;
use crate::sys::process::effective_user;

/// This process among the live ones of its node. Dropping it takes it out.
#[derive(Debug)]
pub struct Registration {
    directory: PathBuf,
    own: Entry,
    listener: Arc<PacketSocket>,
}

/// The other processes of the node at one moment.
#[derive(Debug, Default)]
pub struct Scan {
    /// All that live.
    pub live: Vec<Entry>,
    /// Those that were not known before, with a connection to each.
    pub joined: Vec<(Entry, PacketSocket)>,
}

impl Registration {
    /// Registers this process of a node. Its instance is `fixed`, or else one that no live process
    /// has and, if there is one, that none of the last processes had; `random` chooses among them.
    ///
    /// # Errors
    /// [`InstancesError`]; nothing is registered then.
    pub fn new(
        runtime_dir: &Path,
        node: NodeId,
        birth: Birth,
        fixed: Option<InstanceId>,
        random: u8,
    ) -> Result<Self, InstancesError> {
        let directory = runtime_dir.join(format!("node-{node}"));
        make(&directory)?;
        let failed = |source| InstancesError::Io {
            path: directory.clone(),
            source,
        };
        let _lock = lock(&directory).map_err(failed)?;
        let (scan, refused) = look(&directory, |_| false).map_err(failed)?;
        remove_dead(&refused);
        let live: Vec<_> = scan.live.iter().map(|entry| entry.instance).collect();
        let recent = recent::read(&directory);
        let instance = match fixed {
            Some(fixed) if live.contains(&fixed) => return Err(InstancesError::Taken(fixed)),
            Some(fixed) => fixed,
            None => draw(&live, &recent, random).ok_or(InstancesError::Full)?,
        };
        let own = Entry { instance, birth };
        let listener = PacketSocket::listen(&directory.join(own.file_name())).map_err(failed)?;
        let registration = Self {
            directory: directory.clone(),
            own,
            listener: Arc::new(listener),
        };
        recent::write(&directory, recent, instance).map_err(failed)?;
        Ok(registration)
    }

    /// This process.
    pub fn own(&self) -> Entry {
        self.own
    }

    /// Where the siblings connect.
    pub fn listener(&self) -> Arc<PacketSocket> {
        Arc::clone(&self.listener)
    }

    /// Takes this process out, so that no other finds it any more.
    pub fn withdraw(&self) {
        remove(&self.directory.join(self.own.file_name()));
    }

    /// Whether the process with this birth is among the live ones.
    pub fn finds(&self, birth: Birth) -> bool {
        let scan = self.scan(|_unknown| false);
        scan.is_ok_and(|scan| scan.live.iter().any(|entry| entry.birth == birth))
    }

    /// Looks for the other processes of the node, of which `known` ones have a connection already.
    pub fn scan(&self, known: impl Fn(&Entry) -> bool) -> io::Result<Scan> {
        let known = |entry: &Entry| *entry == self.own || known(entry);
        let (mut scan, refused) = look(&self.directory, known)?;
        // One that registers at this moment is bound and does not listen yet. While nobody does, what
        // refuses is dead; while somebody does, its file is of no harm until a later scan.
        if !refused.is_empty()
            && let Some(_lock) = try_lock(&self.directory)?
        {
            remove_dead(&refused);
        }
        scan.live.retain(|entry| *entry != self.own);
        Ok(scan)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.withdraw();
    }
}

fn make(directory: &Path) -> Result<(), InstancesError> {
    let failed = |source| InstancesError::Io {
        path: directory.to_owned(),
        source,
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(failed)?;
    let found = fs::metadata(directory).map_err(failed)?;
    judge(directory, (found.uid(), found.mode()), effective_user())
}

/// Refuses a directory in which anybody but this user could put a file.
fn judge(directory: &Path, (owner, mode): (u32, u32), user: u32) -> Result<(), InstancesError> {
    let path = directory.to_owned();
    if owner != user {
        Err(InstancesError::Owner { path, owner })
    } else if mode & OTHERS != 0 {
        let mode = mode & 0o7777;
        Err(InstancesError::Mode { path, mode })
    } else {
        Ok(())
    }
}

/// Waits for the processes that register or scan at this moment, which takes them microseconds.
fn lock(directory: &Path) -> io::Result<File> {
    let file = lock_file(directory)?;
    file.lock()?;
    Ok(file)
}

fn try_lock(directory: &Path) -> io::Result<Option<File>> {
    let file = lock_file(directory)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

fn lock_file(directory: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    options.open(directory.join("lock"))
}

/// Looks who lives, and gives also the sockets that refuse connections.
fn look(directory: &Path, known: impl Fn(&Entry) -> bool) -> io::Result<(Scan, Vec<PathBuf>)> {
    let (mut scan, mut refused) = (Scan::default(), Vec::new());
    for file in fs::read_dir(directory)?.take(MOST_FILES) {
        let file = file?;
        let Some(entry) = file.file_name().to_str().and_then(Entry::from_file_name) else {
            continue;
        };
        if known(&entry) {
            scan.live.push(entry);
            continue;
        }
        match PacketSocket::connect(&file.path()) {
            Ok(socket) => {
                scan.live.push(entry);
                scan.joined.push((entry, socket));
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                refused.push(file.path());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // It has not accepted its last connections yet.
            Err(_) => scan.live.push(entry),
        }
    }
    scan.live.sort_unstable();
    Ok((scan, refused))
}

/// Removes those that still refuse; to be called under the lock.
fn remove_dead(refused: &[PathBuf]) {
    for path in refused {
        let refuses = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
        if PacketSocket::connect(path).is_err_and(refuses) {
            remove(path);
        }
    }
}

/// What cannot be removed is tried again by the next scan.
fn remove(path: &Path) {
    drop(fs::remove_file(path));
}

fn draw(live: &[InstanceId], recent: &[InstanceId], random: u8) -> Option<InstanceId> {
    let candidates = (0..=u8::MAX).map(|step| InstanceId(random.wrapping_add(step)));
    let free = || {
        candidates
            .clone()
            .filter(|instance| !live.contains(instance))
    };
    free()
        .find(|instance| !recent.contains(instance))
        .or_else(|| free().next())
}

/// Permission bits of everybody but the owner.
const OTHERS: u32 = 0o077;
/// There are 256 instances; the rest are files that this module did not make.
const MOST_FILES: usize = 1024;

#[cfg(test)]
mod tests;

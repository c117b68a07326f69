use std::io;
use std::path::PathBuf;

use crate::fleet::InstanceId;

/// Why a process cannot be registered among those of its node.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstancesError {
    /// The directory cannot be made, read or written.
    #[error("the runtime directory {path}: {source}", path = path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It belongs to another user, who could put files of its own there.
    #[error("the runtime directory {path} belongs to the user {owner}", path = path.display())]
    Owner {
        /// The directory.
        path: PathBuf,
        /// The ID of that user.
        owner: u32,
    },
    /// Others than the owner can get at the directory, and so at clients' packets.
    #[error(
        "the runtime directory {path} has mode {mode:04o}, so others can use it; \
         run `chmod 700 {path}`",
        path = path.display()
    )]
    Mode {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A live process of this node has the instance that the configuration asks for; leave
    /// `node.instance` out.
    #[error("another process of this node has the instance {0}; leave node.instance out")]
    Taken(InstanceId),
    /// All 256 instances live.
    #[error("256 processes of this node live")]
    Full,
}

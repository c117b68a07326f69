use bytes::Bytes;
use tokio::sync::mpsc;

use crate::wire::{Ecn, Path};

/// A datagram that a peer received for one of this node's connections.
#[derive(Clone, Debug)]
pub(crate) struct Injected {
    /// The datagram.
    pub(crate) datagram: Bytes,
    /// Between which addresses it travelled.
    pub(crate) path: Path,
    /// Its ECN mark.
    pub(crate) ecn: Ecn,
}

/// The way to put datagrams into a [`SteeredSocket`](super::SteeredSocket); bounded.
pub(crate) type Injector = mpsc::Sender<Injected>;

impl Injected {
    /// Copies a datagram.
    pub(crate) fn new(datagram: &[u8], path: Path, ecn: Ecn) -> Self {
        Self {
            datagram: Bytes::copy_from_slice(datagram),
            path,
            ecn,
        }
    }
}

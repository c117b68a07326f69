use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::fleet::{CidKeys, Epoch};

/// The connection IDs in force, which every endpoint of the process shares.
///
/// A replacement reaches all of them at once, and open connections too: their next ID is of the new
/// epoch, and those of every epoch in force are theirs.
#[derive(Clone, Debug)]
pub(crate) struct SharedCidKeys(Arc<ArcSwap<CidsInForce>>);

/// The connection IDs of one moment.
#[derive(Clone, Debug)]
pub(crate) struct CidsInForce {
    pub(crate) keys: Arc<CidKeys>,
    /// The epoch of new ones.
    pub(crate) minting: Epoch,
}

impl SharedCidKeys {
    /// Starts with these.
    pub(crate) fn new(keys: CidKeys, minting: Epoch) -> Self {
        let keys = Arc::new(keys);
        Self(Arc::new(ArcSwap::from_pointee(CidsInForce {
            keys,
            minting,
        })))
    }

    /// Uses other keys, and this epoch for new connection IDs.
    pub(crate) fn replace(&self, keys: CidKeys, minting: Epoch) {
        let keys = Arc::new(keys);
        self.0.store(Arc::new(CidsInForce { keys, minting }));
    }

    /// Issues connection IDs of this epoch from now on; says whether that is another than before.
    pub(crate) fn mint(&self, minting: Epoch) -> bool {
        let before = self.0.load();
        if before.minting == minting {
            return false;
        }
        let keys = Arc::clone(&before.keys);
        self.0.store(Arc::new(CidsInForce { keys, minting }));
        true
    }

    /// What is in force at this moment.
    pub(crate) fn load(&self) -> Arc<CidsInForce> {
        self.0.load_full()
    }
}

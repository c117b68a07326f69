use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::fleet::Keyring;
use crate::session::SessionKeys;

/// The session keys in force, which every listener's tickets and tokens share.
///
/// A replacement reaches all of them at once, and new connections only: what is open needs none of
/// these keys.
#[derive(Clone, Debug)]
pub(crate) struct SharedSessionKeys(Arc<ArcSwap<SessionKeys>>);

impl SharedSessionKeys {
    /// Starts with the keys of this keyring.
    pub(crate) fn new(keyring: &Keyring) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(SessionKeys::new(keyring))))
    }

    /// Seals and opens with the keys of this keyring from now on.
    pub(crate) fn replace(&self, keyring: &Keyring) {
        self.0.store(Arc::new(SessionKeys::new(keyring)));
    }

    /// The keys of this moment.
    pub(crate) fn load(&self) -> Arc<SessionKeys> {
        self.0.load_full()
    }
}

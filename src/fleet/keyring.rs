use std::fmt;

use aws_lc_rs::hkdf;
use zeroize::Zeroizing;

use super::{NodeId, ResetKey};
use crate::cid::{ConfigId, Key, ServerId};

/// The number of a fleet key; it grows by one with each rotation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u32);

impl Epoch {
    /// The byte that names it in the tunnel.
    pub fn low_byte(self) -> u8 {
        self.0.to_be_bytes()[3]
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Neighbouring epochs, from the lowest to the highest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epochs {
    /// The lowest.
    pub lowest: Epoch,
    /// The highest.
    pub highest: Epoch,
}

impl Epochs {
    /// One epoch alone.
    pub fn only(epoch: Epoch) -> Self {
        Self {
            lowest: epoch,
            highest: epoch,
        }
    }

    /// Whether an epoch is among them.
    pub fn contains(self, epoch: Epoch) -> bool {
        (self.lowest..=self.highest).contains(&epoch)
    }
}

/// The secret that all nodes of a fleet share in one epoch, and the keys that come from it.
///
/// Each kind of key has its own label under HKDF-SHA256 (RFC 5869), so none tells anything about
/// another. The secret never shows itself and is erased when dropped.
#[derive(Clone)]
pub struct FleetKey {
    epoch: Epoch,
    secret: Zeroizing<[u8; Self::LEN]>,
}

impl FleetKey {
    /// The number of secret bytes.
    pub const LEN: usize = 32;

    /// Takes the secret, which must come from a random source, and its epoch.
    pub fn new(epoch: Epoch, secret: [u8; Self::LEN]) -> Self {
        Self {
            epoch,
            secret: Zeroizing::new(secret),
        }
    }

    /// The epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The key that encrypts the connection IDs of one configuration.
    pub fn cid_key(&self, config: ConfigId) -> Key {
        Key::from_bytes(*self.derive(b"cid", &[&[config.get()]]))
    }

    /// The key that makes the stateless reset tokens of one server ID under one configuration.
    ///
    /// One key for all server IDs would let anyone who sends a victim's connection ID to another
    /// node learn the victim's token (draft-ietf-quic-load-balancers-21, section 9.5).
    pub fn reset_key(&self, config: ConfigId, server_id: &ServerId) -> ResetKey {
        self.reset_key_of(config.get(), server_id)
    }

    /// The key that makes the tokens of connection IDs which decode under no configuration.
    pub(super) fn undecodable_reset_key(&self, server_id: &ServerId) -> ResetKey {
        self.reset_key_of(UNDECODABLE, server_id)
    }

    /// The key that seals address-validation tokens.
    pub fn token_key(&self) -> DerivedKey {
        DerivedKey(self.derive(b"token", &[]))
    }

    /// The key that seals session tickets.
    pub fn ticket_key(&self) -> DerivedKey {
        DerivedKey(self.derive(b"ticket", &[]))
    }

    /// The key of the tunnel between two nodes, the same in whichever order they are given.
    pub fn pair_key(&self, one: NodeId, other: NodeId) -> DerivedKey {
        let (low, high) = (one.min(other), one.max(other));
        DerivedKey(self.derive(b"pair", &[&low.to_bytes(), &high.to_bytes()]))
    }

    /// Tells two secrets apart without telling anything about them.
    pub fn fingerprint(&self) -> [u8; 8] {
        *self.derive(b"fingerprint", &[])
    }

    pub(super) fn secret(&self) -> &[u8; Self::LEN] {
        &self.secret
    }

    fn reset_key_of(&self, config: u8, server_id: &ServerId) -> ResetKey {
        let key = self.derive::<32>(b"reset", &[&[config], server_id]);
        ResetKey::new(&key)
    }

    /// Derives `N` bytes. Of the context only the last part may vary in length under one label, and
    /// no label is the beginning of another, so no two uses have the same input.
    fn derive<const N: usize>(&self, label: &[u8], context: &[&[u8]]) -> Zeroizing<[u8; N]> {
        let epoch = self.epoch.0.to_be_bytes();
        let mut info = vec![label, &epoch];
        info.extend_from_slice(context);
        let mut bytes = Zeroizing::new([0; N]);
        hkdf::Salt::new(hkdf::HKDF_SHA256, SALT)
            .extract(&*self.secret)
            .expand(&info, Length(N))
            .and_then(|okm| okm.fill(&mut *bytes))
            .expect("HKDF-SHA256 yields up to 8160 bytes");
        bytes
    }
}

impl fmt::Debug for FleetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FleetKey")
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

/// The fleet keys in force: the current one and, around a rotation, those of the epoch before and
/// the epoch after.
///
/// New tokens, tickets and connection IDs use the current key; what an older or newer one made is
/// still accepted.
#[derive(Clone, Debug)]
pub struct Keyring {
    pub(super) previous: Option<FleetKey>,
    pub(super) current: FleetKey,
    pub(super) next: Option<FleetKey>,
}

impl Keyring {
    /// Starts with one key.
    pub fn new(current: FleetKey) -> Self {
        Self {
            previous: None,
            current,
            next: None,
        }
    }

    /// A keyring in mid-rotation, of which every node at this epoch has the same.
    #[cfg(test)]
    pub(crate) fn testing(epoch: u8) -> Self {
        let key = |epoch: u8| FleetKey::new(Epoch(epoch.into()), [epoch; FleetKey::LEN]);
        Self {
            previous: epoch.checked_sub(1).map(key),
            current: key(epoch),
            next: epoch.checked_add(1).map(key),
        }
    }

    /// The key that makes new things.
    pub fn current(&self) -> &FleetKey {
        &self.current
    }

    /// The key of the epoch before, while what it made is still accepted.
    pub fn previous(&self) -> Option<&FleetKey> {
        self.previous.as_ref()
    }

    /// The key of the epoch after, once it is known.
    pub fn next(&self) -> Option<&FleetKey> {
        self.next.as_ref()
    }

    /// The key of an epoch, if it is in force.
    pub fn get(&self, epoch: Epoch) -> Option<&FleetKey> {
        self.iter().find(|key| key.epoch == epoch)
    }

    /// The epochs in force.
    pub fn epochs(&self) -> Epochs {
        let epoch = |key: &Option<FleetKey>| key.as_ref().unwrap_or(&self.current).epoch;
        Epochs {
            lowest: epoch(&self.previous),
            highest: epoch(&self.next),
        }
    }

    /// All keys, the current one first.
    pub fn iter(&self) -> impl Iterator<Item = &FleetKey> {
        let others = self.previous.iter().chain(&self.next);
        std::iter::once(&self.current).chain(others)
    }
}

/// 32 secret bytes for one purpose, erased when dropped.
#[derive(Clone)]
pub struct DerivedKey(Zeroizing<[u8; 32]>);

impl DerivedKey {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for DerivedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DerivedKey(..)")
    }
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// Sets these derivations apart from those of any other program with the same secret, and from a
/// later version of them.
const SALT: &[u8] = b"wayhold fleet key v1";
/// Stands where a config ID would; it is the value that no configuration can have.
const UNDECODABLE: u8 = ConfigId::MAX + 1;

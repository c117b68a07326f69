use std::fmt;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{hkdf, hmac};
use zeroize::Zeroizing;

use super::{Epoch, Epochs, FleetKey, Keyring, NodeId, Refusal};
use crate::wire::{AUTHENTICATED_PAYLOAD, BootId, MAX_OVERHEAD, Sealed, TAG_LEN};

/// The key that two nodes share in one epoch; the parent of their traffic keys.
#[derive(Clone)]
pub struct PairKey {
    heartbeat: hmac::Key,
    traffic: hkdf::Prk,
    /// Tells it apart from another key of the same epoch.
    name: [u8; 8],
}

/// The keys that two nodes share, of all epochs in force.
#[derive(Clone, Debug)]
pub struct PairKeys {
    current: (Epoch, PairKey),
    others: Vec<(Epoch, PairKey)>,
}

/// Authenticates datagrams of one boot to one other.
pub(super) struct TrafficKey(LessSafeKey);

impl PairKey {
    /// Takes the pair's secret.
    pub fn new(secret: &[u8; 32]) -> Self {
        let traffic = hkdf::Salt::new(hkdf::HKDF_SHA256, b"wayhold tunnel").extract(secret);
        let heartbeat = expand::<32>(&traffic, &[b"heartbeat"]);
        Self {
            heartbeat: hmac::Key::new(hmac::HMAC_SHA256, &*heartbeat),
            name: *expand(&traffic, &[b"name"]),
            traffic,
        }
    }

    pub(super) fn name(&self) -> [u8; 8] {
        self.name
    }

    /// The digest of a configuration as it stands in reports, so that a reader of heartbeats cannot
    /// guess the configuration.
    pub(super) fn config_digest(&self, config: &[u8; 32]) -> [u8; 8] {
        let tag = hmac::sign(&self.heartbeat, &[CONFIG_LABEL, config].concat());
        let mut digest = [0; 8];
        digest.copy_from_slice(&tag.as_ref()[..8]);
        digest
    }

    pub(super) fn heartbeat_tag(&self, header: &[u8]) -> [u8; TAG_LEN] {
        let mut tag = [0; TAG_LEN];
        tag.copy_from_slice(&hmac::sign(&self.heartbeat, header).as_ref()[..TAG_LEN]);
        tag
    }
}

impl PairKeys {
    /// Derives the keys of two nodes from a keyring.
    pub fn new(keyring: &Keyring, one: NodeId, other: NodeId) -> Self {
        let pair = |key: &FleetKey| {
            let secret = key.pair_key(one, other);
            (key.epoch(), PairKey::new(secret.as_bytes()))
        };
        Self {
            current: pair(keyring.current()),
            others: keyring.iter().skip(1).map(pair).collect(),
        }
    }

    pub(super) fn get(&self, epoch: Epoch) -> Option<&PairKey> {
        let found = self.iter().find(|(known, _)| *known == epoch);
        found.map(|(_, key)| key)
    }

    /// The key whose epoch ends in this byte: at most one of three neighbours does.
    pub(super) fn of_low_byte(&self, low: u8) -> Option<(Epoch, &PairKey)> {
        let found = self.iter().find(|(epoch, _)| epoch.low_byte() == low);
        found.map(|(epoch, key)| (*epoch, key))
    }

    /// The newest epoch among those that the peer has.
    pub(super) fn shared(&self, with: Epochs) -> Option<Epoch> {
        let shared = self.iter().map(|(epoch, _)| *epoch);
        shared.filter(|epoch| with.contains(*epoch)).max()
    }

    /// The epoch under which a peer that has these is sent to: the current one where none is shared.
    pub(super) fn sealing(&self, peer: Epochs) -> Epoch {
        self.shared(peer).unwrap_or(self.current.0)
    }

    /// One epoch after the other, the current one first.
    pub(super) fn attempt(&self, number: usize) -> Epoch {
        let count = 1 + self.others.len();
        match (number % count).checked_sub(1) {
            None => self.current.0,
            Some(other) => self.others[other].0,
        }
    }

    fn iter(&self) -> impl Iterator<Item = &(Epoch, PairKey)> {
        std::iter::once(&self.current).chain(&self.others)
    }
}

impl TrafficKey {
    /// The key of what `from` sends to `to`.
    pub(super) fn derive(pair: &PairKey, from: BootId, to: BootId) -> Self {
        let (low, high) = (from.min(to), from.max(to));
        let secret = expand::<16>(&pair.traffic, &[b"traffic", &low.0, &high.0, &from.0]);
        let key = UnboundKey::new(&AES_128_GCM, &*secret).expect("AES-128 takes 16 bytes");
        Self(LessSafeKey::new(key))
    }

    /// The authenticator is AES-128-GCM over no plaintext (GMAC, NIST SP 800-38D).
    pub(super) fn tag(&self, counter: u64, covered: &[u8]) -> [u8; TAG_LEN] {
        let sealed = self
            .0
            .seal_in_place_separate_tag(nonce(counter), Aad::from(covered), &mut [])
            .expect("sealing nothing under a valid key cannot fail");
        let mut tag = [0; TAG_LEN];
        tag.copy_from_slice(sealed.as_ref());
        tag
    }

    pub(super) fn verify(&self, sealed: &Sealed<'_>) -> Result<(), Refusal> {
        let mut covered = [0; MAX_OVERHEAD - TAG_LEN + AUTHENTICATED_PAYLOAD];
        let (header, payload) = (sealed.header, sealed.authenticated_payload());
        let len = header.len() + payload.len();
        covered[..header.len()].copy_from_slice(header);
        covered[header.len()..len].copy_from_slice(payload);
        let mut tag = sealed.tag;
        self.0
            .open_in_place(
                nonce(sealed.envelope.counter),
                Aad::from(&covered[..len]),
                &mut tag,
            )
            .map(|_nothing| ())
            .map_err(|_unspecified| Refusal::Tag)
    }
}

impl fmt::Debug for PairKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PairKey").finish_non_exhaustive()
    }
}

impl fmt::Debug for TrafficKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrafficKey").finish_non_exhaustive()
    }
}

fn nonce(counter: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

fn expand<const N: usize>(prk: &hkdf::Prk, info: &[&[u8]]) -> Zeroizing<[u8; N]> {
    struct Len(usize);
    impl hkdf::KeyType for Len {
        fn len(&self) -> usize {
            self.0
        }
    }
    let mut out = Zeroizing::new([0; N]);
    prk.expand(info, Len(N))
        .and_then(|okm| okm.fill(&mut *out))
        .expect("HKDF-SHA256 gives up to 8160 bytes");
    out
}

/// No heartbeat begins like this: the first octet would be of version 6.
const CONFIG_LABEL: &[u8] = b"config";

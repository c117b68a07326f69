//! Everything that follows from a keyring.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use quinn_proto::crypto::{AeadKey, CryptoError, HandshakeTokenKey, HmacKey};
use wayhold::cid::{CidConfig, ConfigId, FirstOctet, ServerId};
use wayhold::fleet::{CidKeys, Epoch, FleetKey, Keyring, ResetKey};
use wayhold::session::SessionKeys;

use crate::tls::SharedKeys;

/// The key of an epoch of the simulated fleet.
pub(crate) fn fleet_key(epoch: u32) -> FleetKey {
    FleetKey::new(Epoch(epoch), [epoch as u8 ^ 0x5a; FleetKey::LEN])
}

/// A keyring as it stands in a key file, in one of the steps of a rotation from an epoch to the next.
pub(crate) fn keyring(epoch: u32, step: Step) -> Keyring {
    let secret = |epoch: u32| format!("{:02x}", epoch as u8 ^ 0x5a).repeat(FleetKey::LEN);
    let lines = match step {
        Step::Distributed => {
            let (now, then) = (secret(epoch), secret(epoch + 1));
            format!("epoch = {epoch}\nsecret = {now}\nnext = {then}")
        }
        Step::Used => {
            let (before, now) = (secret(epoch), secret(epoch + 1));
            format!("epoch = {}\nsecret = {now}\nprevious = {before}", epoch + 1)
        }
        Step::Alone => format!("epoch = {}\nsecret = {}", epoch + 1, secret(epoch + 1)),
    };
    Keyring::from_text(&format!("wayhold-fleet-key v1\n{lines}\n")).unwrap()
}

/// How far a rotation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The next key is known.
    Distributed,
    /// It makes new things.
    Used,
    /// The one before is forgotten.
    Alone,
}

/// The configuration of the connection IDs of an epoch.
pub(crate) fn config_of(key: &FleetKey) -> CidConfig {
    let id = ConfigId::default().rotated(key.epoch().0);
    CidConfig::new(id, 4, 12, FirstOctet::Random, Some(&key.cid_key(id))).unwrap()
}

/// The connection IDs of all epochs in force, for a process with this server ID.
pub(crate) fn cid_keys(keyring: &Keyring, own: ServerId) -> CidKeys {
    let form = |key: &FleetKey| Ok::<_, Infallible>(config_of(key));
    CidKeys::new(keyring, own, form).unwrap()
}

/// The reset tokens of a process as its endpoints ask for them.
#[derive(Clone, Debug)]
pub(crate) struct ResetSigner {
    pub(crate) keys: Arc<Mutex<CidKeys>>,
    /// A key that all processes share by mistake.
    pub(crate) shared: Option<ResetKey>,
}

impl ResetSigner {
    pub(crate) fn token(&self, cid: &[u8]) -> [u8; 16] {
        match &self.shared {
            Some(key) => key.token(cid),
            None => self.keys.lock().unwrap().resets().token(cid),
        }
    }
}

impl HmacKey for ResetSigner {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        signature_out.copy_from_slice(&self.token(data));
    }

    fn signature_len(&self) -> usize {
        16
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        (self.token(data) == signature)
            .then_some(())
            .ok_or(CryptoError)
    }
}

/// Address-validation tokens with the fleet's keys of the moment.
#[derive(Clone, Debug)]
pub(crate) struct AddressTokens {
    pub(crate) keys: SharedKeys,
    /// The process that tokens name, if they do.
    pub(crate) owner: Option<ServerId>,
}

struct OneToken {
    keys: Arc<SessionKeys>,
    owner: Option<ServerId>,
    random: Vec<u8>,
}

impl HandshakeTokenKey for AddressTokens {
    fn aead_from_hkdf(&self, random_bytes: &[u8]) -> Box<dyn AeadKey> {
        Box::new(OneToken {
            keys: Arc::clone(&self.keys.lock().unwrap()),
            owner: self.owner,
            random: random_bytes.to_vec(),
        })
    }
}

impl AeadKey for OneToken {
    fn seal(&self, data: &mut Vec<u8>, _additional: &[u8]) -> Result<(), CryptoError> {
        *data = self
            .keys
            .tokens
            .seal(data, self.owner.as_ref(), &self.random);
        Ok(())
    }

    fn open<'a>(
        &self,
        data: &'a mut [u8],
        _additional: &[u8],
    ) -> Result<&'a mut [u8], CryptoError> {
        let opened = self.keys.tokens.open(data, &self.random);
        opened
            .map(|opened| opened.content)
            .map_err(|_refused| CryptoError)
    }
}

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use quinn::crypto::{AeadKey, CryptoError, HandshakeTokenKey};
use quinn::{TokenLog, TokenReuseError};

use crate::cid::ServerId;
use crate::edge::session_keys::SharedSessionKeys;
use crate::request::clock::time_of_day;
use crate::session::{SessionKeys, TokenKeys, Use, UsedTokens};
use crate::telemetry::Metrics;

/// The address-validation tokens of every endpoint, those of Retry packets and those of `NEW_TOKEN`
/// frames: sealed and opened with the fleet's keys of the moment (RFC 9000, section 8.1), and the
/// latter taken once by this process.
#[derive(Clone, Debug)]
pub(crate) struct AddressTokens {
    keys: SharedSessionKeys,
    used: Arc<Mutex<UsedTokens>>,
    metrics: Metrics,
    owner: Option<ServerId>,
}

impl AddressTokens {
    /// Uses these keys and their replacements.
    pub(crate) fn new(keys: SharedSessionKeys, metrics: Metrics) -> Self {
        Self {
            keys,
            used: Arc::default(),
            metrics,
            owner: None,
        }
    }

    /// Leads clients that show such a token to this process.
    #[must_use]
    pub(crate) fn naming(self, owner: ServerId) -> Self {
        let owner = Some(owner);
        Self { owner, ..self }
    }
}

impl HandshakeTokenKey for AddressTokens {
    fn aead_from_hkdf(&self, random_bytes: &[u8]) -> Box<dyn AeadKey> {
        Box::new(OneToken {
            keys: self.keys.load(),
            owner: self.owner,
            random: random_bytes.to_vec(),
        })
    }
}

impl TokenLog for AddressTokens {
    fn check_and_insert(
        &self,
        nonce: u128,
        _issued: SystemTime,
        _lifetime: Duration,
    ) -> Result<(), TokenReuseError> {
        let now = time_of_day().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |now| now.as_secs());
        let mut used = self.used.lock().expect("no holder panics");
        match used.note(now, nonce) {
            Use::Repeated => return Err(TokenReuseError),
            Use::FirstAndFull => {
                self.metrics.address_tokens_forgotten.inc();
            }
            Use::First => {}
        }
        Ok(())
    }
}

/// The key of the one token that these random bytes belong to.
struct OneToken {
    keys: Arc<SessionKeys>,
    owner: Option<ServerId>,
    random: Vec<u8>,
}

impl OneToken {
    fn keys(&self) -> &TokenKeys {
        &self.keys.tokens
    }
}

impl AeadKey for OneToken {
    fn seal(&self, data: &mut Vec<u8>, _additional_data: &[u8]) -> Result<(), CryptoError> {
        *data = self.keys().seal(data, self.owner.as_ref(), &self.random);
        Ok(())
    }

    fn open<'a>(
        &self,
        data: &'a mut [u8],
        _additional_data: &[u8],
    ) -> Result<&'a mut [u8], CryptoError> {
        match self.keys().open(data, &self.random) {
            Ok(opened) => Ok(opened.content),
            Err(reason) => {
                tracing::trace!(%reason, "address token refused");
                Err(CryptoError)
            }
        }
    }
}

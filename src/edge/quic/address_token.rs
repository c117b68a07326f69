use std::sync::Arc;

use quinn::crypto::{AeadKey, CryptoError, HandshakeTokenKey};

use crate::edge::session_keys::SharedSessionKeys;
use crate::session::{SessionKeys, TokenKeys};

/// Seals and opens address-validation tokens, those of Retry packets and those of `NEW_TOKEN` frames,
/// with the fleet's keys of the moment (RFC 9000, section 8.1).
#[derive(Clone, Debug)]
pub(crate) struct AddressTokens {
    keys: SharedSessionKeys,
}

impl AddressTokens {
    /// Uses these keys and their replacements.
    pub(crate) fn new(keys: SharedSessionKeys) -> Self {
        Self { keys }
    }
}

impl HandshakeTokenKey for AddressTokens {
    fn aead_from_hkdf(&self, random_bytes: &[u8]) -> Box<dyn AeadKey> {
        Box::new(OneToken {
            keys: self.keys.load(),
            random: random_bytes.to_vec(),
        })
    }
}

/// The key of the one token that these random bytes belong to.
struct OneToken {
    keys: Arc<SessionKeys>,
    random: Vec<u8>,
}

impl OneToken {
    fn keys(&self) -> &TokenKeys {
        &self.keys.tokens
    }
}

impl AeadKey for OneToken {
    fn seal(&self, data: &mut Vec<u8>, _additional_data: &[u8]) -> Result<(), CryptoError> {
        *data = self.keys().seal(data, None, &self.random);
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

use std::sync::Arc;

use aws_lc_rs::hmac;

use super::FleetKey;
use crate::cid::{CidConfig, ConfigId, ConfigSet, ServerId};

/// Makes the stateless reset tokens of one server ID (RFC 9000, section 10.3.2).
#[derive(Clone, Debug)]
pub struct ResetKey(hmac::Key);

impl ResetKey {
    /// The number of bytes of a token.
    pub const TOKEN_LEN: usize = 16;

    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The token of a connection ID.
    pub fn token(&self, cid: &[u8]) -> [u8; Self::TOKEN_LEN] {
        let tag = hmac::sign(&self.0, cid);
        let mut token = [0; Self::TOKEN_LEN];
        token.copy_from_slice(&tag.as_ref()[..Self::TOKEN_LEN]);
        token
    }
}

/// Makes the stateless reset token of any connection ID of the fleet, with the key of the server ID
/// that is in it.
///
/// The keys of this process are made once, those of others for each token, which costs a few
/// microseconds; whoever sends resets for others limits their rate anyway.
#[derive(Clone, Debug)]
pub struct ResetKeys {
    own: ServerId,
    configs: ConfigSet,
    by_config: Vec<(ConfigId, Arc<FleetKey>, ResetKey)>,
    undecodable: ResetKey,
}

impl ResetKeys {
    /// Prepares for the connection IDs of these configurations, which belong to the epoch of this key;
    /// most of them carry the server ID `own`.
    pub fn new(key: FleetKey, configs: ConfigSet, own: ServerId) -> Self {
        let undecodable = key.undecodable_reset_key(&own);
        let key = Arc::new(key);
        let keys = |config: &CidConfig| {
            let id = config.id();
            (id, Arc::clone(&key), key.reset_key(id, &own))
        };
        Self {
            own,
            by_config: configs.iter().map(keys).collect(),
            configs,
            undecodable,
        }
    }

    /// Adds the configuration of another epoch; it replaces one with the same ID.
    #[must_use]
    pub fn with(mut self, key: FleetKey, config: CidConfig) -> Self {
        let id = config.id();
        let own = key.reset_key(id, &self.own);
        self.by_config.retain(|(known, ..)| *known != id);
        self.by_config.push((id, Arc::new(key), own));
        self.configs.insert(config);
        self
    }

    /// The token of a connection ID.
    ///
    /// One that decodes under no configuration gets a token that only this server ID makes.
    pub fn token(&self, cid: &[u8]) -> [u8; ResetKey::TOKEN_LEN] {
        let decoded = self.configs.decode(cid).ok();
        let keys = decoded.and_then(|decoded| {
            let mut all = self.by_config.iter();
            let keys = all.find(|(id, ..)| *id == decoded.config_id)?;
            Some((decoded, keys))
        });
        match keys {
            None => self.undecodable.token(cid),
            Some((decoded, (_, _, own))) if decoded.server_id == self.own => own.token(cid),
            Some((decoded, (id, key, _))) => key.reset_key(*id, &decoded.server_id).token(cid),
        }
    }
}

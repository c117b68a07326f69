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
    key: FleetKey,
    configs: ConfigSet,
    own: ServerId,
    own_keys: Vec<(ConfigId, ResetKey)>,
    undecodable: ResetKey,
}

impl ResetKeys {
    /// Prepares for the connection IDs of these configurations, most of which carry the server ID
    /// `own`.
    pub fn new(key: FleetKey, configs: ConfigSet, own: ServerId) -> Self {
        let own_key = |config: &CidConfig| (config.id(), key.reset_key(config.id(), &own));
        Self {
            own_keys: configs.iter().map(own_key).collect(),
            undecodable: key.undecodable_reset_key(&own),
            key,
            configs,
            own,
        }
    }

    /// The token of a connection ID.
    ///
    /// One that decodes under no configuration gets a token that only this server ID makes.
    pub fn token(&self, cid: &[u8]) -> [u8; ResetKey::TOKEN_LEN] {
        let Ok(decoded) = self.configs.decode(cid) else {
            return self.undecodable.token(cid);
        };
        let (config, server_id) = (decoded.config_id, decoded.server_id);
        let own_key = self.own_keys.iter().find(|(id, _)| *id == config);
        match own_key.filter(|_| server_id == self.own) {
            Some((_, key)) => key.token(cid),
            None => self.key.reset_key(config, &server_id).token(cid),
        }
    }
}

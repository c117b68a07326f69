use super::{Cid, Profile};
use crate::cid::{CidConfig, ConfigError, ServerId};
use crate::fleet::{CidKeys, FleetKey, Keyring, SERVER_ID_LEN};

impl Cid {
    /// The form of the connection IDs that a gateway with this section issues. `key` is asked for the
    /// fleet key only by a profile that encrypts.
    ///
    /// Under such a profile each epoch of the key has a config ID of its own, the sum of
    /// `cid.config_id` and the epoch modulo 7, so that IDs of neighbouring epochs are told apart.
    ///
    /// # Errors
    /// Those of `key`, and [`ConfigError`] for lengths that the checks of a loaded configuration
    /// refuse.
    pub fn form<E: From<ConfigError>>(
        &self,
        key: impl FnOnce() -> Result<FleetKey, E>,
    ) -> Result<CidConfig, E> {
        let (server_id_len, id, key) = match self.profile {
            Profile::Wayhold => {
                let key = key()?;
                let id = self.config_id.rotated(key.epoch().0);
                (SERVER_ID_LEN, id, Some(key.cid_key(id)))
            }
            Profile::AwsNlb => (AWS_SERVER_ID_LEN, self.config_id, None),
        };
        Ok(CidConfig::new(
            id,
            server_id_len,
            self.nonce_len.into(),
            self.first_octet,
            key.as_ref(),
        )?)
    }

    /// The connection IDs of every epoch of a keyring, of which the process `own` issues some.
    ///
    /// # Errors
    /// As [`Cid::form`].
    pub fn keys(&self, keyring: &Keyring, own: ServerId) -> Result<CidKeys, ConfigError> {
        CidKeys::new(keyring, own, |key| self.form(|| Ok(key.clone())))
    }
}

const AWS_SERVER_ID_LEN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cid::ConfigId;
    use crate::config::Config;
    use crate::fleet::Epoch;

    #[test]
    fn only_a_profile_that_encrypts_asks_for_the_key() {
        let mut cid = Config::default().cid;
        let key = || Ok::<_, ConfigError>(FleetKey::new(Epoch(1), [1; 32]));
        let form = cid.form(key).unwrap();
        assert_eq!((form.is_encrypted(), form.server_id_len()), (true, 4));
        assert_eq!(form.id(), ConfigId::new(1).unwrap());
        (cid.profile, cid.nonce_len) = (Profile::AwsNlb, 7);
        let form = cid
            .form::<ConfigError>(|| unreachable!("this profile has no key"))
            .unwrap();
        assert_eq!((form.is_encrypted(), form.server_id_len()), (false, 8));
    }
}

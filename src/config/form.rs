use super::{Cid, Profile};
use crate::cid::{CidConfig, ConfigError};
use crate::fleet::{FleetKey, SERVER_ID_LEN};

impl Cid {
    /// The form of the connection IDs that a gateway with this section issues. `key` is asked for the
    /// fleet key only by a profile that encrypts.
    ///
    /// # Errors
    /// Those of `key`, and [`ConfigError`] for lengths that the checks of a loaded configuration
    /// refuse.
    pub fn form<E: From<ConfigError>>(
        &self,
        key: impl FnOnce() -> Result<FleetKey, E>,
    ) -> Result<CidConfig, E> {
        let (server_id_len, key) = match self.profile {
            Profile::Wayhold => (SERVER_ID_LEN, Some(key()?.cid_key(self.config_id))),
            Profile::AwsNlb => (AWS_SERVER_ID_LEN, None),
        };
        Ok(CidConfig::new(
            self.config_id,
            server_id_len,
            self.nonce_len.into(),
            self.first_octet,
            key.as_ref(),
        )?)
    }
}

const AWS_SERVER_ID_LEN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::fleet::Epoch;

    #[test]
    fn only_a_profile_that_encrypts_asks_for_the_key() {
        let mut cid = Config::default().cid;
        let key = || Ok::<_, ConfigError>(FleetKey::new(Epoch(1), [1; 32]));
        let form = cid.form(key).unwrap();
        assert_eq!((form.is_encrypted(), form.server_id_len()), (true, 4));
        (cid.profile, cid.nonce_len) = (Profile::AwsNlb, 7);
        let form = cid
            .form::<ConfigError>(|| unreachable!("this profile has no key"))
            .unwrap();
        assert_eq!((form.is_encrypted(), form.server_id_len()), (false, 8));
    }
}

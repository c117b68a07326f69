use super::{Epoch, FleetKey, Keyring, ResetKeys};
use crate::cid::{CidConfig, ConfigSet, ServerId};

/// The connection IDs of every epoch of a keyring, and the reset tokens that go with them.
///
/// Each epoch has a configuration with an ID of its own, so that a connection ID leads to its key.
/// Configurations without a key are the same in every epoch; their reset tokens follow the current one.
#[derive(Clone, Debug)]
pub struct CidKeys {
    epochs: Vec<CidEpoch>,
    configs: ConfigSet,
    resets: ResetKeys,
}

/// The connection IDs of one epoch.
#[derive(Clone, Debug)]
pub struct CidEpoch {
    /// The epoch.
    pub epoch: Epoch,
    /// Tells its key from another of the same epoch; see [`FleetKey::fingerprint`].
    pub key: [u8; 8],
    /// How its connection IDs are written.
    pub config: CidConfig,
}

impl CidKeys {
    /// Derives everything from a keyring; `form` gives the configuration of a key's epoch, and `own` is
    /// the server ID of this process.
    ///
    /// # Errors
    /// Those of `form`.
    pub fn new<E>(
        keyring: &Keyring,
        own: ServerId,
        form: impl Fn(&FleetKey) -> Result<CidConfig, E>,
    ) -> Result<Self, E> {
        let current = keyring.current();
        let mut epochs = Vec::new();
        let config = form(current)?;
        let encrypted = config.is_encrypted();
        let configs = [config.clone()].into_iter().collect();
        let mut resets = ResetKeys::new(current.clone(), configs, own);
        epochs.push(CidEpoch::new(current, config));
        for key in keyring.iter().skip(1).filter(|_| encrypted) {
            let config = form(key)?;
            resets = resets.with(key.clone(), config.clone());
            epochs.push(CidEpoch::new(key, config));
        }
        Ok(Self {
            configs: epochs.iter().map(|epoch| epoch.config.clone()).collect(),
            epochs,
            resets,
        })
    }

    /// The configurations by which connection IDs are read.
    pub fn configs(&self) -> &ConfigSet {
        &self.configs
    }

    /// The reset tokens of the fleet's connection IDs.
    pub fn resets(&self) -> &ResetKeys {
        &self.resets
    }

    /// Every epoch, the current one first.
    pub fn epochs(&self) -> &[CidEpoch] {
        &self.epochs
    }

    /// The place in [`CidKeys::epochs`] of the epoch in which connection IDs are issued; that of the
    /// current one where this epoch is not in force.
    pub fn place_of(&self, minting: Epoch) -> usize {
        let found = self.epochs.iter().position(|epoch| epoch.epoch == minting);
        found.unwrap_or(0)
    }
}

impl CidEpoch {
    fn new(key: &FleetKey, config: CidConfig) -> Self {
        Self {
            epoch: key.epoch(),
            key: key.fingerprint(),
            config,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cid::{Cid, ConfigError, ConfigId, FirstOctet, Nonce};
    use crate::fleet::{InstanceId, NodeId, server_id};

    fn keys(keyring: &Keyring, own: ServerId) -> CidKeys {
        let form = |key: &FleetKey| -> Result<_, ConfigError> {
            let id = ConfigId::default().rotated(key.epoch().0);
            CidConfig::new(id, 4, 12, FirstOctet::Random, Some(&key.cid_key(id)))
        };
        CidKeys::new(keyring, own, form).unwrap()
    }

    fn process(node: u32) -> ServerId {
        server_id(NodeId::new(node).unwrap(), InstanceId(1))
    }

    fn cid(keys: &CidKeys, epoch: u32, server_id: &ServerId) -> Cid {
        let config = &keys.epochs()[keys.place_of(Epoch(epoch))].config;
        let nonce = Nonce::new(&[7; 12]).unwrap();
        config.encode(server_id, &nonce, 0).unwrap()
    }

    #[test]
    fn ids_of_neighbouring_epochs_are_read_with_one_set() {
        let keys = keys(&Keyring::testing(6), process(1));
        for epoch in 5..=7 {
            let cid = cid(&keys, epoch, &process(2));
            let decoded = keys.configs().decode(&cid).unwrap();
            assert_eq!(u32::from(decoded.config_id.get()), epoch % 7);
            assert_eq!(decoded.server_id, process(2));
        }
        assert_eq!(keys.place_of(Epoch(9)), 0);
    }

    #[test]
    fn a_token_stays_the_same_while_its_epoch_is_in_force() {
        let (before, after) = (Keyring::testing(6), Keyring::testing(7));
        let own = keys(&before, process(1));
        let peer = keys(&after, process(2));
        for epoch in 6..=7 {
            let cid = cid(&own, epoch, &process(1));
            assert_eq!(own.resets().token(&cid), peer.resets().token(&cid));
        }
        let old = cid(&own, 5, &process(1));
        assert_ne!(own.resets().token(&old), peer.resets().token(&old));
    }

    #[test]
    fn without_a_key_there_is_one_configuration() {
        let form =
            |_key: &FleetKey| CidConfig::new(ConfigId::default(), 8, 7, FirstOctet::Random, None);
        let own = ServerId::new(&[1; 8]).unwrap();
        let keys = CidKeys::new(&Keyring::testing(3), own, form).unwrap();
        assert_eq!((keys.epochs().len(), keys.place_of(Epoch(2))), (1, 0));
    }
}

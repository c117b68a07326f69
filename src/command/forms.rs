//! The forms of connection IDs that a gateway's configuration and key file give together.

use anyhow::Context;
use wayhold::cid::{Cid, CidConfig, DecodeError, Decoded};
use wayhold::config::Config;
use wayhold::control::read_key_file;
use wayhold::fleet::{Epoch, FleetKey};

/// One form for each epoch of the key file, the current one first.
#[derive(Debug)]
pub(crate) struct Forms(Vec<Form>);

/// How connection IDs are written, and under which epoch of the fleet's key if under any.
#[derive(Debug)]
struct Form {
    epoch: Option<Epoch>,
    config: CidConfig,
}

impl Forms {
    /// This form and no other, without a fleet's key.
    pub(crate) fn only(config: CidConfig) -> Self {
        let epoch = None;
        Self(vec![Form { epoch, config }])
    }

    /// Those of a gateway.
    ///
    /// # Errors
    /// The key file is missing, named by nothing, or cannot be used.
    pub(crate) fn of(config: &Config) -> anyhow::Result<Self> {
        let mut keyring = None;
        let current = config.cid.form(|| {
            let fleet = config.fleet.as_ref().context(NO_FLEET)?;
            let keyring = keyring.insert(read_key_file(&fleet.key_file)?);
            Ok::<_, anyhow::Error>(keyring.current().clone())
        })?;
        let Some(keyring) = keyring else {
            return Ok(Self::only(current));
        };
        let form = |key: &FleetKey| {
            let config = config.cid.form(|| Ok::<_, anyhow::Error>(key.clone()))?;
            let epoch = Some(key.epoch());
            Ok(Form { epoch, config })
        };
        keyring
            .iter()
            .map(form)
            .collect::<anyhow::Result<_>>()
            .map(Self)
    }

    /// The form of what is issued now.
    pub(crate) fn current(&self) -> &CidConfig {
        &self.0[0].config
    }

    /// Reads a connection ID under the form that it names, and tells the epoch of that.
    ///
    /// # Errors
    /// Those of the current form where it names none of them.
    pub(crate) fn decode(&self, cid: &Cid) -> Result<(Decoded, Option<Epoch>), DecodeError> {
        let current = &self.0[0];
        let form = match current.config.decode(cid) {
            Err(DecodeError::UnknownConfig(id)) => {
                let mut others = self.0.iter();
                others
                    .find(|form| form.config.id() == id)
                    .unwrap_or(current)
            }
            _ => current,
        };
        Ok((form.config.decode(cid)?, form.epoch))
    }
}

const NO_FLEET: &str = "the configuration has no [fleet], and without its key file a gateway draws \
    a key at each start that nobody else knows";

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use super::GatewayError;
use crate::config::Config;
use crate::edge::{FleetTicketer, Identity, ServerTls, SharedSessionKeys, Tickets, TlsError};

/// The certificates of all listeners.
#[derive(Debug)]
pub(super) struct Identities {
    listeners: Vec<ServerTls>,
    development: Option<DevelopmentCertificate>,
}

/// The certificate of listeners that have none configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevelopmentCertificate {
    /// The PEM file; a client can be given it as its authority.
    pub path: PathBuf,
    /// When it ends; a start of the gateway within a day of that makes a new one.
    pub expires: SystemTime,
}

impl Identities {
    /// Reads every certificate and key; listeners that name none share `given`, or else the
    /// development certificate. Tickets open on every node that has the same keys.
    pub(super) fn load(
        config: &Config,
        keys: &SharedSessionKeys,
        given: Option<&Identity>,
    ) -> Result<Self, GatewayError> {
        let tickets: Tickets = Arc::new(FleetTicketer::new(keys.clone()));
        let now = now();
        let mut identities = Self {
            listeners: Vec::new(),
            development: None,
        };
        for listen in &config.listen {
            let identity = match (&listen.cert, &listen.key, given) {
                (Some(cert), Some(key), _) => Identity::load(cert, key)?,
                (_, _, Some(given)) => given.clone(),
                _ => identities.development(config, now)?,
            };
            for warning in identity.warnings(now) {
                tracing::warn!(listen = %listen.addr, "{warning}");
            }
            identities
                .listeners
                .push(ServerTls::new(&identity, &tickets)?);
        }
        Ok(identities)
    }

    fn development(&mut self, config: &Config, now: SystemTime) -> Result<Identity, TlsError> {
        let development = Identity::development(&config.state_dir, now)?;
        let (path, expires) = (development.path, development.expires);
        self.development = Some(DevelopmentCertificate { path, expires });
        Ok(development.identity)
    }

    /// The TLS configurations of the configuration's listener of this index.
    pub(super) fn of(&self, index: usize) -> &ServerTls {
        &self.listeners[index]
    }

    /// The development certificate, if a listener uses it.
    pub(super) fn into_development(self) -> Option<DevelopmentCertificate> {
        self.development
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "certificates are judged once, at start"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

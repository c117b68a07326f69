use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use super::GatewayError;
use crate::config::{Config, EarlyData};
use crate::edge::{
    EarlySessions, FleetTicketer, Identity, ServerTls, SharedApplication, SharedSessionKeys,
    Tickets, TlsConfig, TlsError,
};
use crate::request::SharedHandler;
use crate::telemetry::Metrics;

/// The certificates of all listeners.
#[derive(Debug)]
pub(super) struct Identities {
    listeners: Vec<ServerTls>,
    /// For QUIC at every listener, in place of theirs.
    application: Option<Arc<TlsConfig>>,
    development: Option<DevelopmentCertificate>,
}

/// What an embedder gave in place of what a configuration names.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) handler: Option<SharedHandler>,
    pub(super) identity: Option<Identity>,
    pub(super) application: Option<SharedApplication>,
}

/// How clients resume their sessions, the same for as long as the process lives.
#[derive(Debug)]
pub(super) struct Resumption {
    tickets: Tickets,
    /// Kept where either transport takes early data.
    early: Option<Arc<EarlySessions>>,
    quic: EarlyData,
    tcp: EarlyData,
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
    /// Reads every certificate and key; listeners that name none share the given one, or else the
    /// development certificate. An application brings what it needs.
    pub(super) fn load(
        config: &Config,
        resumption: &Resumption,
        given: &Given,
    ) -> Result<Self, GatewayError> {
        let now = now();
        let mut identities = Self {
            listeners: Vec::new(),
            application: None,
            development: None,
        };
        if let Some(application) = &given.application {
            identities.application = Some(application.tls(&resumption.tickets));
            return Ok(identities);
        }
        for listen in &config.listen {
            let identity = match (&listen.cert, &listen.key, &given.identity) {
                (Some(cert), Some(key), _) => Identity::load(cert, key)?,
                (_, _, Some(given)) => given.clone(),
                _ => identities.development(config, now)?,
            };
            for warning in identity.warnings(now) {
                tracing::warn!(listen = %listen.addr, "{warning}");
            }
            identities.listeners.push(resumption.tls(&identity)?);
        }
        Ok(identities)
    }

    fn development(&mut self, config: &Config, now: SystemTime) -> Result<Identity, TlsError> {
        let development = Identity::development(&config.state_dir, now)?;
        let (path, expires) = (development.path, development.expires);
        self.development = Some(DevelopmentCertificate { path, expires });
        Ok(development.identity)
    }

    /// The TLS configurations of the configuration's listener of this index; there are none where an
    /// application has the connections.
    pub(super) fn of(&self, index: usize) -> Option<&ServerTls> {
        self.listeners.get(index)
    }

    /// The TLS configuration for QUIC of the configuration's listener of this index.
    pub(super) fn quic(&self, index: usize) -> &Arc<TlsConfig> {
        match &self.application {
            Some(application) => application,
            None => &self.listeners[index].quic,
        }
    }

    /// The development certificate, if a listener uses it.
    pub(super) fn into_development(self) -> Option<DevelopmentCertificate> {
        self.development
    }
}

impl Resumption {
    /// Lets clients resume with the tickets that these keys and their replacements open, and keeps
    /// sessions where the configuration allows early data.
    pub(super) fn new(config: &Config, keys: SharedSessionKeys, metrics: &Metrics) -> Self {
        let capacity = usize::try_from(config.limits.early_sessions).unwrap_or(usize::MAX);
        let (quic, tcp) = (config.quic.early_data, config.tcp.early_data);
        let kept = [quic, tcp].contains(&EarlyData::Owner);
        Self {
            tickets: Arc::new(FleetTicketer::new(keys)),
            early: kept.then(|| Arc::new(EarlySessions::new(capacity, metrics.clone()))),
            quic,
            tcp,
        }
    }

    /// Lets clients begin anew under limits that have changed.
    pub(super) fn forget_early_sessions(&self) {
        if let Some(sessions) = &self.early {
            sessions.clear();
        }
    }

    /// The TLS configurations of a listener that shows this identity.
    fn tls(&self, identity: &Identity) -> Result<ServerTls, TlsError> {
        let mut tls = ServerTls::new(identity, &self.tickets)?;
        if let Some(sessions) = &self.early {
            if self.quic == EarlyData::Owner {
                tls = tls.with_early_data(sessions);
            }
            if self.tcp == EarlyData::Owner {
                tls = tls.with_tcp_early_data(sessions);
            }
        }
        Ok(tls)
    }
}

/// Reads the certificates that listeners name, and gives what is to be mended about them.
pub(super) fn check(config: &Config) -> Result<Vec<String>, GatewayError> {
    let mut warnings = Vec::new();
    for listen in &config.listen {
        if let (Some(cert), Some(key)) = (&listen.cert, &listen.key) {
            let identity = Identity::load(cert, key)?;
            let found = identity.warnings(now());
            warnings.extend(found.iter().map(ToString::to_string));
        }
    }
    Ok(warnings)
}

#[expect(
    clippy::disallowed_methods,
    reason = "certificates are judged when they are read"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use super::GatewayError;
use crate::config::{AuthorityRule, Config, EarlyData, Listen};
use crate::edge::{
    CertificateFacts, Certificates, ClientPolicy, EarlySessions, FleetTicketer, Hosts, Identity,
    ServerTls, SharedApplication, SharedSessionKeys, TlsConfig, TlsError, time_of_day,
};
use crate::request::SharedHandler;
use crate::telemetry::{CertificateLabel, Metrics};

/// The certificates of all listeners.
#[derive(Debug)]
pub(super) struct Identities {
    listeners: Vec<Listener>,
    /// One for each of them.
    tls: Vec<ServerTls>,
    /// For QUIC at every listener, in place of theirs.
    application: Option<Arc<TlsConfig>>,
    development: Option<DevelopmentCertificate>,
}

/// What one listener shows and asks for.
#[derive(Debug)]
struct Listener {
    shown: Arc<Certificates>,
    asked: Option<ClientPolicy>,
    hosts: Arc<Hosts>,
    authority: Option<AuthorityRule>,
    address: SocketAddr,
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
    tickets: FleetTicketer,
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
        let now = time_of_day();
        let mut identities = Self::none();
        if let Some(application) = &given.application {
            identities.application =
                Some(application.tls(&resumption.tickets.bound_to(APPLICATION)));
            return Ok(identities);
        }
        identities.listen(config, resumption, given.identity.as_ref())?;
        for warning in warnings(&identities.listeners, now) {
            tracing::warn!("{warning}");
        }
        Ok(identities)
    }

    fn listen(
        &mut self,
        config: &Config,
        resumption: &Resumption,
        given: Option<&Identity>,
    ) -> Result<(), GatewayError> {
        let now = time_of_day();
        for listen in &config.listen {
            let pair = default_pair(listen);
            let default = match (pair, given) {
                (Some((cert, key)), _) => Identity::load(cert, key)?,
                (None, Some(given)) => given.clone(),
                (None, None) => self.development(config, now)?,
            };
            let listener = Listener::new(default, listen)?;
            self.tls.push(resumption.tls(&listener)?);
            self.listeners.push(listener);
        }
        Ok(())
    }
    /// The hosts that requests at the listener of this index may be for; none where they may be for any.
    ///
    /// Where listeners ask for different client certificates, a client of one must not get past the other by
    /// naming a host of that one.
    pub(super) fn hosts(&self, index: usize) -> Option<Arc<Hosts>> {
        let listener = self.listeners.get(index)?;
        let mut others = self.listeners.iter();
        let differ = others.any(|other| other.policy() != listener.policy());
        let only = match listener.authority {
            Some(rule) => rule == AuthorityRule::Certificate,
            None => differ,
        };
        only.then(|| Arc::clone(&listener.hosts))
    }

    /// Every certificate with its place, for operators.
    pub(super) fn facts(&self) -> Vec<(CertificateLabel, CertificateFacts)> {
        let place = |index: usize| u32::try_from(index).unwrap_or(u32::MAX);
        let of = |(index, listener): (usize, &Listener)| {
            let facts = listener.shown.facts().into_iter().enumerate();
            facts
                .map(|(certificate, facts)| {
                    let label = CertificateLabel {
                        listen: place(index),
                        certificate: place(certificate),
                    };
                    (label, facts)
                })
                .collect::<Vec<_>>()
        };
        self.listeners.iter().enumerate().flat_map(of).collect()
    }

    fn development(&mut self, config: &Config, now: SystemTime) -> Result<Identity, TlsError> {
        let development = Identity::development(&config.state_dir, now)?;
        let (path, expires) = (development.path, development.expires);
        self.development = Some(DevelopmentCertificate { path, expires });
        Ok(development.identity)
    }

    fn none() -> Self {
        Self {
            listeners: Vec::new(),
            tls: Vec::new(),
            application: None,
            development: None,
        }
    }

    /// The TLS configurations of the configuration's listener of this index; there are none where an
    /// application has the connections.
    pub(super) fn of(&self, index: usize) -> Option<&ServerTls> {
        self.tls.get(index)
    }

    /// The TLS configuration for QUIC of the configuration's listener of this index.
    pub(super) fn quic(&self, index: usize) -> &Arc<TlsConfig> {
        match &self.application {
            Some(application) => application,
            None => &self.tls[index].quic,
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
            tickets: FleetTicketer::new(keys).counting(metrics.tickets_too_large.clone()),
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

    /// The TLS configurations of a listener. Where clients are asked for certificates there is no early data:
    /// it would be answered before a client that was let in once has proved that it still is who it was.
    fn tls(&self, listener: &Listener) -> Result<ServerTls, TlsError> {
        let asked = listener.asked.as_ref();
        let mut tls = ServerTls::new(&listener.shown, asked, &self.tickets)?;
        if let (Some(sessions), None) = (&self.early, asked) {
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

impl Listener {
    fn new(default: Identity, listen: &Listen) -> Result<Self, TlsError> {
        let shown = shown(default, listen)?;
        Ok(Self {
            hosts: Arc::new(shown.hosts()),
            shown: Arc::new(shown),
            asked: asked(listen)?,
            authority: listen.authority,
            address: listen.addr,
        })
    }

    /// Differs where whose certificates clients must have differs.
    fn policy(&self) -> Option<[u8; 32]> {
        self.asked.as_ref().map(ClientPolicy::digest)
    }
}

/// Reads the certificates that listeners name, and gives what is to be mended about them.
pub(super) fn check(config: &Config) -> Result<Vec<String>, GatewayError> {
    let mut listeners = Vec::new();
    for listen in &config.listen {
        match default_pair(listen) {
            Some((cert, key)) => {
                listeners.push(Listener::new(Identity::load(cert, key)?, listen)?);
            }
            None => drop(asked(listen)?),
        }
    }
    Ok(warnings(&listeners, time_of_day()))
}

/// The files of the certificate for clients that ask for no name.
fn default_pair(listen: &Listen) -> Option<(&PathBuf, &PathBuf)> {
    let first = listen.certificate.first();
    let first = first.map(|certificate| (&certificate.cert, &certificate.key));
    listen.cert.as_ref().zip(listen.key.as_ref()).or(first)
}

fn shown(default: Identity, listen: &Listen) -> Result<Certificates, TlsError> {
    // Without one of its own, the first is the default too.
    let skipped = usize::from(listen.cert.is_none());
    let others = listen.certificate.iter().skip(skipped);
    let others = others
        .map(|certificate| Identity::load(&certificate.cert, &certificate.key))
        .collect::<Result<_, _>>()?;
    Ok(Certificates::new(default, others, listen.unknown_name))
}

fn asked(listen: &Listen) -> Result<Option<ClientPolicy>, TlsError> {
    ClientPolicy::load(
        listen.client_auth,
        listen.client_ca.as_deref(),
        listen.client_crl.as_deref(),
    )
}

/// What is to be mended about the certificates of listeners.
fn warnings(listeners: &[Listener], now: SystemTime) -> Vec<String> {
    let mut warnings = Vec::new();
    for (index, listener) in listeners.iter().enumerate() {
        let of_clients = listener
            .asked
            .as_ref()
            .and_then(|asked| asked.warnings(now));
        let found = listener.shown.warnings(now).into_iter().chain(of_clients);
        warnings.extend(found.map(|warning| warning.to_string()));
        let others = listeners.iter().skip(index + 1);
        let others = others.filter(|other| other.policy() != listener.policy());
        for other in others {
            if let Some(name) = listener.hosts.shared(&other.hosts).min() {
                warnings.push(format!(
                    "{name} is served at {} and at {}, which ask for different client certificates: \
                     whoever is refused at one is let in at the other",
                    listener.address, other.address
                ));
            }
        }
    }
    warnings
}

/// To what tickets are bound with which connections of an application resume: whom it lets in has nothing to
/// do with whom a listener does.
const APPLICATION: &[u8] = b"application";

use std::sync::{Arc, Mutex};

use super::fleet_handle::{FleetHandle, FleetReloadError};
use super::handle::{Applied, GatewayEnded};
use super::identities::{Given, Identities, Resumption};
use super::listener::ListenerControl;
use super::plan::Plan;
use super::{GatewayError, ground};
use crate::bridge::{Bridge, Origin, Takeover};
use crate::config::{self, Config, LoadErrors, Sources};
use crate::control::Snapshot;
use crate::edge::{CertificateFacts, Policy, Qlog, QuicChange, TcpParts};
use crate::fleet::NodeId;
use crate::lifecycle::{Watched, changed, fixed, remedy};
use crate::request::SharedHandler;
use crate::telemetry::{CertificateLabel, Metrics};

/// Why a reload was refused. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// The sources cannot be loaded.
    #[error("{0}")]
    Configuration(#[from] LoadErrors),
    /// These keys differ from what the process was started with, and it cannot change them: restart
    /// it, or for some of them upgrade it.
    #[error("{}", remedy(.0))]
    Fixed(Vec<String>),
    /// A file that the configuration names cannot be used, or its routes cannot be built.
    #[error("{0}")]
    Build(#[from] GatewayError),
    /// The members or keys of the fleet cannot be followed.
    #[error("{0}")]
    Fleet(#[from] FleetReloadError),
    /// The gateway ends or has ended.
    #[error(transparent)]
    Ended(#[from] GatewayEnded),
}

/// Builds what a new configuration asks for beside what runs.
#[derive(Debug)]
pub(super) struct Reloader {
    pub(super) listeners: Vec<ListenerControl>,
    pub(super) sources: Option<Sources>,
    pub(super) given: Given,
    /// The handler in use, which keeps its connections to backends while no route changes.
    pub(super) handler: Arc<Mutex<SharedHandler>>,
    /// The same, where it is a bridge.
    pub(super) bridge: Mutex<Option<Arc<Bridge>>>,
    pub(super) resumption: Resumption,
    /// What traces QUIC connections, for as long as its keys stay.
    pub(super) qlog: Mutex<Option<Arc<Qlog>>>,
    pub(super) metrics: Metrics,
    pub(super) node: NodeId,
    /// What every tunnel of the fleet carries; fixed, like the links.
    pub(super) max_udp_payload: u16,
    pub(super) fleet: Option<FleetHandle>,
}

/// A reload that cannot fail any more and has no effect before [`Change::apply`].
#[derive(Debug)]
pub(super) struct Change {
    reloader: Arc<Reloader>,
    config: Config,
    watched: Watched,
    handler: SharedHandler,
    bridge: Option<Arc<Bridge>>,
    takeover: Takeover,
    fleet: Option<Snapshot>,
    listeners: Vec<ListenerChange>,
    qlog: Option<Arc<Qlog>>,
    certificates: Shown,
    /// Whether clients may remember other limits.
    relimited: bool,
    applied: Applied,
}

/// The certificates that clients are shown.
pub(super) type Shown = Vec<(CertificateLabel, CertificateFacts)>;

#[derive(Debug)]
struct ListenerChange {
    policy: Policy,
    quic: Vec<QuicChange>,
    tcp: Option<TcpParts>,
}

impl Reloader {
    /// Reads and builds everything; it blocks on files.
    pub(super) fn prepare(
        self: Arc<Self>,
        old: &Config,
        new: Option<Box<Config>>,
    ) -> Result<Change, ReloadError> {
        let config = match (new, &self.sources) {
            (Some(config), _) => *config,
            (None, Some(sources)) => config::load(sources)?,
            (None, None) => old.clone(),
        };
        let fixed = fixed(old, &config);
        if !fixed.is_empty() {
            return Err(ReloadError::Fixed(fixed));
        }
        let watched = Watched::new(&config);
        let (handler, bridge, takeover) = self.handler(old, &config)?;
        let identities = Identities::load(&config, &self.resumption, &self.given)?;
        let qlog = self.qlog(old, &config)?;
        let plan = Plan {
            config: &config,
            handler: &handler,
            application: self.given.application.as_ref(),
            identities: &identities,
            metrics: &self.metrics,
            node: self.node,
            max_udp_payload: self.max_udp_payload,
            qlog: qlog.as_ref(),
        };
        let listeners = self.listeners.iter().enumerate();
        let listeners = listeners
            .map(|(index, listener)| change(&plan, index, listener))
            .collect::<Result<_, _>>()?;
        let sections = changed(old, &config);
        let fleet = self.fleet(&config)?;
        Ok(Change {
            fleet,
            reloader: self,
            watched,
            handler,
            bridge,
            takeover,
            listeners,
            qlog,
            certificates: identities.facts(),
            relimited: (&old.quic, &old.limits, old.datagram_bytes())
                != (&config.quic, &config.limits, config.datagram_bytes()),
            applied: Applied { sections },
            config,
        })
    }

    /// The members and keys that the configuration's files hold now; none where they come from elsewhere.
    fn fleet(&self, config: &Config) -> Result<Option<Snapshot>, FleetReloadError> {
        match (&self.fleet, &config.fleet) {
            (Some(handle), Some(fleet)) if handle.has_files() => handle.prepare(fleet).map(Some),
            _ => Ok(None),
        }
    }

    fn qlog(&self, old: &Config, new: &Config) -> Result<Option<Arc<Qlog>>, GatewayError> {
        let traced = |config: &Config| {
            let log = &config.log;
            (log.qlog_dir.clone(), log.qlog_one_in, log.qlog_bytes)
        };
        if traced(old) == traced(new) {
            return Ok(self.qlog.lock().expect("no holder panics").clone());
        }
        ground::qlog(new, &self.metrics)
    }

    /// What answers requests from here on, and what that changes in pools that it takes over.
    fn handler(&self, old: &Config, new: &Config) -> Result<Next, GatewayError> {
        let bridge = self.bridge.lock().expect("no holder panics").clone();
        // Files that pools name may have others of the same name in their place.
        let files = new.pool.iter().any(config::Pool::has_files);
        let same = bridged(old) == bridged(new) && !files;
        if same || self.given.handler.is_some() {
            let handler = self.handler.lock().expect("no holder panics").clone();
            return Ok((handler, bridge, Takeover::default()));
        }
        if new.route.is_empty() {
            let gone = bridge.map_or_else(Takeover::default, |bridge| bridge.given_up());
            return Ok((SharedHandler::new(Origin), None, gone));
        }
        let made = match bridge {
            Some(bridge) => bridge.renewed(new, &self.metrics),
            None => Bridge::first(new, &self.metrics),
        };
        let (bridge, takeover) = made.map_err(|error| GatewayError::Routes(error.to_string()))?;
        let bridge = Arc::new(bridge);
        let handler = SharedHandler::new(Arc::clone(&bridge));
        Ok((handler, Some(bridge), takeover))
    }
}

type Next = (SharedHandler, Option<Arc<Bridge>>, Takeover);

/// All that a handler made from a configuration follows from.
fn bridged(config: &Config) -> impl PartialEq + '_ {
    (
        (&config.route, &config.pool, &config.dns, &config.jwt),
        &config.connect_udp,
        (&config.limits, &config.timeouts, &config.node.zone),
    )
}

fn change(
    plan: &Plan<'_>,
    index: usize,
    listener: &ListenerControl,
) -> Result<ListenerChange, GatewayError> {
    let tls = plan.identities.quic(index);
    let terms = plan.quic_terms(index, &listener.service);
    let config = plan.config;
    let of = (&config.quic, &config.limits, config.datagram_bytes());
    let workers = listener.quic.iter();
    let quic = workers
        .map(|worker| {
            worker.prepare(
                Arc::clone(tls),
                terms.clone(),
                of,
                (plan.max_udp_payload, plan.qlog),
            )
        })
        .collect::<Result<_, _>>();
    Ok(ListenerChange {
        policy: plan.policy(index, listener.address),
        quic: quic.map_err(|source| GatewayError::Bind {
            address: listener.address.to_string(),
            source,
        })?,
        tcp: plan.tcp_parts(index, &listener.service),
    })
}

impl Change {
    /// Puts everything into effect, without a step that could fail or wait.
    pub(super) fn apply(self) -> (Config, Watched, Applied, Shown) {
        // Routes that lead to new pools find them at work.
        self.takeover.apply();
        let listeners = self.reloader.listeners.iter().zip(self.listeners);
        for (listener, change) in listeners {
            listener.service.replace(change.policy);
            change.quic.into_iter().for_each(QuicChange::apply);
            if let (Some(tcp), Some(parts)) = (&listener.tcp, change.tcp) {
                tcp.replace(parts);
            }
        }
        if self.relimited {
            self.reloader.resumption.forget_early_sessions();
        }
        if let (Some(handle), Some(snapshot)) = (&self.reloader.fleet, self.fleet) {
            handle.commit(snapshot);
        }
        *self.reloader.qlog.lock().expect("no holder panics") = self.qlog;
        *self.reloader.handler.lock().expect("no holder panics") = self.handler;
        *self.reloader.bridge.lock().expect("no holder panics") = self.bridge;
        (self.config, self.watched, self.applied, self.certificates)
    }
}

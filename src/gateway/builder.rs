use std::future::Future;
use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;

use prometheus_client::registry::Registry;
use tokio::sync::watch;

use super::conductor::Conductor;
use super::console::Operated;
use super::fleet::{BoundTunnel, Membership, max_udp_payload, random};
use super::identities::{Identities, Resumption};
use super::listener::{Bound, Listener};
use super::plan::Plan;
use super::reload::Reloader;
use super::shared::{self, Shared};
use super::{Gateway, GatewayError};
use crate::admin::{Admin, AdminState};
use crate::bridge::{Bridge, Origin};
use crate::config::{AdminAddress, Config, EarlyData, Sources};
use crate::edge::{
    AddressTokens, Fault, Identity, Injector, SharedSessionKeys, Steering, TlsError,
    declare_reasons,
};
use crate::lifecycle::{Lifecycle, Watched};
use crate::request::{Handler, SharedHandler};
use crate::steer::{Steer, Tables};
use crate::telemetry::Metrics;

/// Collects what a [`Gateway`] is made of; everything has a default.
#[derive(Debug, Default)]
pub struct GatewayBuilder {
    config: Option<Config>,
    handler: Option<SharedHandler>,
    registry: Option<Registry>,
    identity: Option<Result<Identity, TlsError>>,
    sockets: Vec<Sockets>,
    relay: Option<UdpSocket>,
    fault: Option<Fault>,
    sources: Option<Sources>,
}

/// Bound sockets for one listener, in place of those that its address would be bound to.
#[derive(Debug)]
pub struct Sockets {
    /// Takes QUIC.
    pub udp: UdpSocket,
    /// Takes TLS over TCP; none serves QUIC alone.
    pub tcp: Option<TcpListener>,
}

impl GatewayBuilder {
    /// Uses this configuration.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = Some(config);
        self
    }

    /// Answers every request with this handler in place of the bridge.
    #[must_use]
    pub fn handler(mut self, handler: impl Handler) -> Self {
        self.handler = Some(SharedHandler::new(handler));
        self
    }

    /// Registers the metrics here, under the prefix `wayhold`.
    #[must_use]
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = Some(registry);
        self
    }

    /// Shows clients this certificate on listeners for which the configuration names none, in place
    /// of the development certificate: a chain in PEM, the end-entity certificate first, and its
    /// unencrypted private key in PEM. They may stand in one text.
    ///
    /// The key is parsed here and its text is not kept. What is wrong with either is an error of
    /// [`GatewayBuilder::bind`].
    #[must_use]
    pub fn identity(mut self, chain_pem: &[u8], key_pem: &[u8]) -> Self {
        self.identity = Some(Identity::from_pem(chain_pem, key_pem));
        self
    }

    /// Uses these sockets for the configuration's next listener; call it once for each listener, in
    /// their order. Listeners beyond them are bound as configured.
    #[must_use]
    pub fn sockets(mut self, sockets: Sockets) -> Self {
        self.sockets.push(sockets);
        self
    }

    /// Uses this socket for the tunnel, in place of one bound to the member's relay address.
    #[must_use]
    pub fn relay_socket(mut self, socket: UdpSocket) -> Self {
        self.relay = Some(socket);
        self
    }

    /// Loads these sources anew at each reload that names no configuration: at
    /// [`GatewayHandle::reload_sources`](super::GatewayHandle::reload_sources) and the command `reload` of the admin listener.
    #[must_use]
    pub fn sources(mut self, sources: Sources) -> Self {
        self.sources = Some(sources);
        self
    }

    /// Plants a defect, to show that something notices.
    #[doc(hidden)]
    #[must_use]
    pub fn fault(mut self, fault: Fault) -> Self {
        self.fault = Some(fault);
        self
    }

    /// Reads certificates and keys and binds every socket.
    ///
    /// # Errors
    /// [`GatewayError`]; nothing stays bound then.
    ///
    /// # Panics
    /// Outside a tokio runtime with IO and time enabled.
    pub fn bind(self) -> Result<Gateway, GatewayError> {
        let config = self.config.unwrap_or_default();
        let mut registry = self.registry.unwrap_or_default();
        let metrics = Metrics::register(&mut registry);
        let membership = Membership::new(&config)?;
        let session_keys = SharedSessionKeys::new(&membership.keyring);
        let (steer, tokens) = steer(&config, &membership, &session_keys, &metrics);
        let steering = Arc::new(Steering::new(
            steer,
            Tables::new(u64::from_be_bytes(random()?)),
            membership.reset_keys(),
            metrics.clone(),
            self.fault,
        ));
        let given_handler = self.handler.clone();
        let handler = given_handler.map_or_else(|| default_handler(&config), Ok)?;
        let resumption = Resumption::new(&config, session_keys, &metrics);
        let given = self.identity.transpose()?;
        let watched = Watched::new(&config);
        let identities = Identities::load(&config, &resumption, given.as_ref())?;
        let bound = Bound {
            plan: Plan {
                config: &config,
                handler: &handler,
                identities: &identities,
                metrics: &metrics,
                node: membership.node,
                max_udp_payload: max_udp_payload(&config)?,
            },
            membership: &membership,
            steering: &steering,
            tokens: &tokens,
            start: u128::from_be_bytes(random()?),
        };
        let (listeners, injectors) = bind_listeners(&bound, self.sockets)?;
        let tunnel = bind_tunnel(&bound, self.relay, injectors)?;
        let admin = bind_admin(&config.admin.listen)?;
        let reloader = Reloader {
            listeners: listeners.iter().map(Listener::control).collect(),
            sources: self.sources,
            given_handler: self.handler,
            given_identity: given,
            handler: handler.into(),
            resumption,
            metrics: metrics.clone(),
            node: membership.node,
        };
        let shared = Shared {
            lifecycle: Lifecycle::new(Arc::clone(&steering), membership.node, metrics.clone()),
            config: watch::Sender::new(Arc::new(config)),
            steering,
            metrics,
            addresses: listeners.iter().map(Listener::address).collect(),
            node: membership.node,
            instance: membership.instance,
            started: shared::now(),
        };
        let (conductor, handle) = Conductor::new(Arc::new(shared), reloader, watched);
        let console = Box::new(Operated(handle.clone()));
        Ok(Gateway {
            admin,
            listeners,
            tunnel,
            admin_state: Arc::new(AdminState { registry, console }),
            development: identities.into_development(),
            shared: conductor.shared(),
            conductor,
            handle,
        })
    }

    /// Binds and serves; see [`GatewayBuilder::bind`] and [`Gateway::serve`].
    ///
    /// # Errors
    /// Those of both.
    pub async fn serve(
        self,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), GatewayError> {
        self.bind()?.serve(shutdown).await
    }
}

pub(super) fn default_handler(config: &Config) -> Result<SharedHandler, GatewayError> {
    if config.route.is_empty() {
        return Ok(SharedHandler::new(Origin));
    }
    Bridge::new(&config.route, &config.limits, &config.timeouts)
        .map(SharedHandler::new)
        .map_err(|error| GatewayError::Routes(error.to_string()))
}

fn bind_admin(address: &AdminAddress) -> Result<Option<Admin>, GatewayError> {
    match address {
        AdminAddress::Off => Ok(None),
        address => Ok(Some(Admin::bind(address)?)),
    }
}

/// The steering rules, and the tokens that lead clients with early data back to their owner.
fn steer(
    config: &Config,
    membership: &Membership,
    keys: &SharedSessionKeys,
    metrics: &Metrics,
) -> (Steer, AddressTokens) {
    declare_reasons(metrics);
    let tokens = AddressTokens::new(keys.clone(), metrics.clone());
    let steer = membership.steer();
    match config.quic.early_data {
        EarlyData::Off => (steer, tokens),
        EarlyData::Owner => (
            steer.with_owners(keys.load().tokens.clone()),
            tokens.naming(membership.identity.server_id()),
        ),
    }
}

/// The tunnel to the peers, if there is a fleet.
fn bind_tunnel(
    bound: &Bound<'_>,
    socket: Option<UdpSocket>,
    injectors: Vec<Injector>,
) -> Result<Option<BoundTunnel>, GatewayError> {
    let Some(fleet) = &bound.plan.config.fleet else {
        return Ok(None);
    };
    let membership = bound.membership;
    let tunnel = membership.tunnel(fleet, socket, bound.plan.metrics)?;
    Ok(Some(membership.deliver(tunnel, injectors, bound.steering)))
}

fn bind_listeners(
    bound: &Bound<'_>,
    sockets: Vec<Sockets>,
) -> Result<(Vec<Listener>, Vec<Injector>), GatewayError> {
    let mut sockets = sockets.into_iter();
    (0..bound.plan.config.listen.len())
        .map(|index| bound.listener(index, sockets.next()))
        .collect()
}

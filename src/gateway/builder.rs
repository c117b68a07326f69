use std::future::Future;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;

use prometheus_client::registry::Registry;

use super::fleet::{Membership, TunnelParts, random};
use super::fleet_handle::FleetHandle;
use super::identities::{Identities, Resumption};
use super::listener::{Bound, Listener};
use super::{Gateway, GatewayError};
use crate::admin::{Admin, AdminState, Readiness};
use crate::bridge::{Bridge, Origin};
use crate::config::{AdminAddress, Config, EarlyData};
use crate::control::Source;
use crate::edge::{
    AddressTokens, Fault, Identity, SharedSessionKeys, Steering, TlsError, declare_reasons,
};
use crate::request::{Handler, SharedHandler};
use crate::steer::{Steer, Tables};
use crate::telemetry::{Metrics, Transport};

/// Collects what a [`Gateway`] is made of; everything has a default.
#[derive(Debug, Default)]
pub struct GatewayBuilder {
    config: Option<Config>,
    handler: Option<SharedHandler>,
    registry: Option<Registry>,
    identity: Option<Result<Identity, TlsError>>,
    sockets: Vec<Sockets>,
    relay: Option<UdpSocket>,
    source: Option<Arc<dyn Source>>,
    fault: Option<Fault>,
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

    /// Takes the fleet's members and keys from here, in place of the configured files.
    #[must_use]
    pub fn fleet_source(mut self, source: impl Source) -> Self {
        self.source = Some(Arc::new(source));
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
        declare_reasons(&metrics);

        let membership = Membership::new(&config, self.source)?;
        let session_keys = SharedSessionKeys::new(&membership.keyring);
        let (steer, tokens) = recognition(&config, &membership, &session_keys, &metrics);
        let steering = Arc::new(Steering::new(
            steer,
            Tables::new(u64::from_be_bytes(random()?)),
            membership.reset_keys(),
            metrics.clone(),
            self.fault,
        ));
        let handler = match self.handler {
            Some(handler) => handler,
            None => default_handler(&config)?,
        };
        let resumption = Resumption::new(&config, session_keys.clone(), &metrics);
        let max_udp_payload = membership.max_udp_payload(&config)?;
        let given = self.identity.transpose()?;
        let identities = Identities::load(&config, &resumption, given.as_ref())?;
        let bound = Bound {
            config: &config,
            membership: &membership,
            steering: &steering,
            handler: &handler,
            identities: &identities,
            tokens: &tokens,
            metrics: &metrics,
            max_udp_payload,
        };
        let mut sockets = self.sockets.into_iter();
        let listeners = (0..config.listen.len())
            .map(|index| bound.listener(index, sockets.next()))
            .collect::<Result<Vec<_>, _>>()?;
        let (listeners, injectors): (Vec<Listener>, Vec<_>) = listeners.into_iter().unzip();

        let parts = TunnelParts {
            socket: self.relay,
            injectors,
            steering,
            session_keys,
            max_udp_payload,
            metrics: &metrics,
        };
        let (tunnel, fleet) = membership.tunnel(parts)?.unzip();
        let addresses: Vec<_> = listeners.iter().map(Listener::address).collect();
        let readiness = Readiness::default();
        let admin_state = Arc::new(AdminState {
            registry,
            readiness: readiness.clone(),
            status: status(
                &membership,
                (addresses, fleet.clone()),
                metrics.clone(),
                readiness.clone(),
            ),
        });
        Ok(Gateway {
            admin: bind_admin(&config.admin.listen)?,
            listeners,
            tunnel: tunnel.map(Box::new),
            fleet,
            admin_state,
            readiness,
            development: identities.into_development(),
            metrics,
            grace: config.shutdown.grace,
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

/// By what datagrams and tokens are recognised as this process's.
fn recognition(
    config: &Config,
    membership: &Membership,
    session_keys: &SharedSessionKeys,
    metrics: &Metrics,
) -> (Steer, AddressTokens) {
    let steer = membership.steer();
    let tokens = AddressTokens::new(session_keys.clone(), metrics.clone());
    match config.quic.early_data {
        EarlyData::Off => (steer, tokens),
        EarlyData::Owner => (
            steer.with_owners(session_keys.load().tokens.clone()),
            tokens.naming(membership.identity.server_id()),
        ),
    }
}

fn default_handler(config: &Config) -> Result<SharedHandler, GatewayError> {
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

/// What `/status` shows.
fn status(
    membership: &Membership,
    (addresses, fleet): (Vec<SocketAddr>, Option<FleetHandle>),
    metrics: Metrics,
    readiness: Readiness,
) -> Box<dyn Fn() -> serde_json::Value + Send + Sync> {
    let (node, instance) = (membership.node.get(), membership.instance.0);
    Box::new(move || {
        let open = |transport| metrics.connections.get_or_create(&transport).get();
        serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "phase": readiness.phase().name(),
            "node": node,
            "instance": instance,
            "listen": addresses,
            "connections": { "quic": open(Transport::QUIC), "tcp": open(Transport::TCP) },
            "datagrams": {
                "received": metrics.datagrams_received.get(),
                "local": metrics.datagrams_local.get(),
                "forwarded": metrics.datagrams_forwarded.get(),
                "tunnelled": metrics.datagrams_tunnelled.get(),
            },
            "fleet": fleet.as_ref().map(FleetHandle::status),
        })
    })
}

use std::future::Future;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};

use prometheus_client::registry::Registry;
use tokio::sync::watch;

use super::fleet::{BoundTunnel, Membership, max_udp_payload, random};
use super::hand_over::Reins;
use super::identities::{Identities, Resumption};
use super::listener::{Bound, Listener};
use super::supply::{self, Supply};
use super::{Gateway, GatewayError};
use crate::admin::{Admin, AdminState, Readiness};
use crate::bridge::{Bridge, Origin};
use crate::config::{Config, EarlyData};
use crate::edge::{
    AddressTokens, Endpoints, Fault, Identity, SharedSessionKeys, SiblingReceiver, Siblings,
    Steering, TlsError, declare_reasons,
};
use crate::fleet::InstanceId;
use crate::lifecycle::{Inherited, Notifier, Program};
use crate::request::{Handler, SharedHandler};
use crate::steer::Tables;
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
    inherited: Inherited,
    program: Option<Program>,
    notifier: Notifier,
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

    /// Uses sockets that another process opened, in place of those that the configuration would bind:
    /// the process or gateway from which this one takes over, or systemd. Those given by
    /// [`GatewayBuilder::sockets`] and [`GatewayBuilder::relay_socket`] go first.
    #[must_use]
    pub fn inherited(mut self, inherited: Inherited) -> Self {
        self.inherited = inherited;
        self
    }

    /// Starts this program to take over when an operator asks for an upgrade; without it, only
    /// [`GatewayHandle::hand_over`](super::GatewayHandle::hand_over) lets another gateway take over.
    #[must_use]
    pub fn program(mut self, program: Program) -> Self {
        self.program = Some(program);
        self
    }

    /// Tells the service manager how the gateway is doing.
    #[must_use]
    pub fn notifier(mut self, notifier: Notifier) -> Self {
        self.notifier = notifier;
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

        let mut supply = Supply {
            given: self.sockets.into_iter(),
            relay: self.relay,
            inherited: self.inherited,
            held: Inherited::default(),
        };
        let birth = supply.inherited.birth();
        let registration = supply::register(&config, birth, random()?)?;
        let siblings = registration.map(|registration| Arc::new(Siblings::new(registration)));
        let instance = match (&siblings, config.node.instance) {
            (Some(siblings), _) => siblings.own().instance,
            (None, Some(fixed)) => InstanceId(fixed),
            (None, None) => InstanceId(random::<1>()?[0]),
        };
        let membership = Membership::new(&config, instance, supply.inherited.take_keyring())?;
        let session_keys = SharedSessionKeys::new(&membership.keyring);
        let tokens = AddressTokens::new(session_keys.clone(), metrics.clone());
        let (steer, tokens) = match config.quic.early_data {
            EarlyData::Off => (membership.steer(), tokens),
            EarlyData::Owner => (
                membership
                    .steer()
                    .with_owners(session_keys.load().tokens.clone()),
                tokens.naming(membership.identity.server_id()),
            ),
        };
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
        let resumption = Resumption::new(&config, session_keys, &metrics);
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
            max_udp_payload: max_udp_payload(&config)?,
            start: u128::from_be_bytes(random()?),
        };
        let listeners = config.listen.iter().enumerate();
        let listeners = listeners
            .map(|(index, listen)| bound.listener(index, supply.listener(index, listen)?))
            .collect::<Result<Vec<_>, _>>()?;
        let (listeners, injectors): (Vec<Listener>, Vec<_>) = listeners.into_iter().unzip();

        let endpoints =
            Endpoints::new(membership.slots.hash(), membership.cid.cid_len(), injectors);
        let tunnel = match &config.fleet {
            None => None,
            Some(fleet) => {
                let tunnel = membership.tunnel(fleet, &mut supply, &metrics)?;
                steering.connect(tunnel.forwarder());
                Some(BoundTunnel {
                    tunnel,
                    endpoints: endpoints.clone(),
                    steering: Arc::clone(&steering),
                })
            }
        };
        let addresses: Vec<_> = listeners.iter().map(Listener::address).collect();
        let readiness = Readiness::default();
        let admin_state = Arc::new(AdminState {
            registry,
            readiness: readiness.clone(),
            status: status(&membership, addresses, metrics.clone(), readiness.clone()),
        });
        let admin = supply.admin(&config.admin.listen)?;
        let admin = admin.map(|admin| admin.reading_with(steering.reading().clone()));
        supply.inherited.finish()?;
        let mut held = supply.held;
        if config.fleet.is_none() {
            held.keep_keyring(membership.keyring.clone());
        }
        if let Some(siblings) = &siblings {
            steering.join(Arc::clone(siblings));
            siblings.refresh(&steering);
        }
        let envelopes = tunnel.as_ref().map(|bound| bound.tunnel.envelopes());
        let sibling_receiver = SiblingReceiver::new(endpoints, Arc::clone(&steering), envelopes);
        let reins = Arc::new(Reins {
            steering,
            siblings,
            sockets: Mutex::new(held),
            admin: admin.as_ref().map(Admin::owner),
            notifier: self.notifier,
            stage: watch::Sender::default(),
            fixed_instance: config.node.instance.is_some(),
        });
        Ok(Gateway {
            admin,
            reins,
            sibling_receiver,
            program: self.program,
            upgrade: config.upgrade.clone(),
            listeners,
            tunnel,
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

fn default_handler(config: &Config) -> Result<SharedHandler, GatewayError> {
    if config.route.is_empty() {
        return Ok(SharedHandler::new(Origin));
    }
    Bridge::new(&config.route, &config.limits, &config.timeouts)
        .map(SharedHandler::new)
        .map_err(|error| GatewayError::Routes(error.to_string()))
}

/// What `/status` shows.
fn status(
    membership: &Membership,
    addresses: Vec<SocketAddr>,
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
        })
    })
}

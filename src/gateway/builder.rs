use std::future::Future;
use std::net::{TcpListener, UdpSocket};
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex};

use prometheus_client::registry::Registry;
use tokio::sync::watch;

use super::conductor::Conductor;
use super::console;
use super::fleet::{BoundTunnel, Membership, TunnelParts, random};
use super::fleet_handle::FleetHandle;
use super::ground::Ground;
use super::hand_over::Reins;
use super::identities::Given;
use super::listener::{Bound, Listener, Protocols};
use super::reload::Reloader;
use super::shared::{self, Shared};
use super::supply::{self, Supply};
use super::{Gateway, GatewayError};
use crate::admin::Admin;
use crate::config::{ClientAuth, Config, EarlyData, Sources};
use crate::control::Source;
use crate::edge::{
    Application, Endpoints, Fault, Identity, SharedApplication, SharedSessionKeys, SiblingReceiver,
    Siblings, TlsConfig, TlsError,
};
use crate::fleet::InstanceId;
use crate::lifecycle::{Inherited, Lifecycle, Notifier, Program, Watched};
use crate::request::{Handler, SharedHandler};
use crate::telemetry::Metrics;

/// Collects what a [`Gateway`] is made of; everything has a default.
#[derive(Debug, Default)]
pub struct GatewayBuilder {
    config: Option<Config>,
    handler: Option<SharedHandler>,
    application: Option<SharedApplication>,
    registry: Option<Registry>,
    identity: Option<Result<Identity, TlsError>>,
    sockets: Vec<Sockets>,
    relay: Option<UdpSocket>,
    inherited: Inherited,
    program: Option<Program>,
    notifier: Notifier,
    source: Option<Arc<dyn Source>>,
    fault: Option<Fault>,
    sources: Option<Sources>,
}

/// Bound sockets for one listener, in place of those that its address would be bound to.
#[derive(Debug)]
pub struct Sockets {
    /// Take QUIC, one for each worker: all bound to one address with `SO_REUSEPORT`, in the order in
    /// which they joined the kernel's group. Every listener needs as many.
    pub udp: Vec<UdpSocket>,
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

    /// Serves every QUIC connection with a protocol of the embedder's in place of HTTP/3, so that no
    /// handler and no route has a use.
    ///
    /// The TLS configuration names the protocol (ALPN) and proves who is who. Of it, the gateway replaces
    /// what makes sessions resumable: tickets are the fleet's and open at every node, under whatever
    /// client authentication that one has, and there is no early data. Of quinn, it sets connection IDs,
    /// reset keys, address tokens, versions, migration and the limits before a connection is accepted;
    /// how connections are carried is for [`Application::transport`].
    ///
    /// HTTP alone has TCP and early data: [`GatewayBuilder::bind`] refuses listeners with
    /// [`Listen::tcp`](crate::config::Listen::tcp), which is the default, and `quic.early_data`.
    #[must_use]
    pub fn application(mut self, tls: TlsConfig, application: impl Application) -> Self {
        self.application = Some(SharedApplication::new(tls, application));
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
    pub fn bind(mut self) -> Result<Gateway, GatewayError> {
        let config = self.config.take().unwrap_or_default();
        let given = self.given(&config)?;
        let mut registry = self.registry.unwrap_or_default();
        let metrics = Metrics::register(&mut registry);
        let mut supply = Supply::new(self.sockets, self.relay, self.inherited);
        let (siblings, instance) = supply::register(&config, &supply)?;
        let process = (instance, supply.workers(&config)?);
        let keyring = supply.inherited.take_keyring();
        let membership = Membership::new(&config, process, self.source, keyring)?;
        let watched = Watched::new(&config);
        let ground = Ground::new((&config, given), membership, &metrics, self.fault)?;
        let bound = ground.bound(&config, &metrics)?;
        let opened = open(
            &bound,
            (supply, ground.session_keys.clone()),
            siblings,
            self.notifier,
        )?;
        let max_udp_payload = bound.plan.max_udp_payload;
        let (node, instance) = (ground.membership.node, ground.membership.instance);
        let handler = Arc::new(Mutex::new(ground.handler));
        let reloader = Reloader {
            max_udp_payload,
            listeners: opened.listeners.iter().map(Listener::control).collect(),
            sources: self.sources,
            given: ground.given,
            handler: Arc::clone(&handler),
            bridge: Mutex::new(ground.bridge),
            resumption: ground.resumption,
            qlog: Mutex::new(ground.qlog),
            metrics: metrics.clone(),
            node,
            fleet: opened.fleet.clone(),
        };
        let shared = Shared {
            lifecycle: opened.lifecycle,
            config: watch::Sender::new(Arc::new(config)),
            steering: ground.steering,
            metrics,
            addresses: opened.listeners.iter().map(Listener::address).collect(),
            node,
            instance,
            started: shared::now(),
            reins: Arc::new(opened.reins),
            program: self.program,
            fleet: opened.fleet.clone(),
            handler,
            certificates: Mutex::new(Vec::new()),
        };
        shared.show(ground.identities.facts());
        let (conductor, handle) = Conductor::new(Arc::new(shared), reloader, watched);
        Ok(Gateway {
            admin: opened.admin,
            listeners: opened.listeners,
            tunnel: opened.tunnel.map(Box::new),
            fleet: opened.fleet,
            admin_state: console::of(&handle, registry),
            development: ground.identities.into_development(),
            shared: conductor.shared(),
            conductor,
            handle,
            sibling_receiver: opened.sibling_receiver,
        })
    }

    /// Makes what the first listener would speak with, by the same code as [`GatewayBuilder::bind`], and
    /// binds nothing. Like that it reads certificates and keys, and makes the development certificate
    /// where none is named.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub fn protocols(mut self) -> Result<Protocols, GatewayError> {
        let config = self.config.take().unwrap_or_default();
        let given = self.given(&config)?;
        let metrics = Metrics::register(&mut self.registry.unwrap_or_default());
        let [drawn] = random()?;
        let instance = InstanceId(config.node.instance.unwrap_or(drawn));
        let workers = NonZeroU16::new(config.workers).unwrap_or(NonZeroU16::MIN);
        let membership = Membership::new(
            &config,
            (instance, workers),
            self.source,
            self.inherited.take_keyring(),
        )?;
        let ground = Ground::new((&config, given), membership, &metrics, self.fault)?;
        ground.bound(&config, &metrics)?.protocols(0)
    }

    /// Takes what was given, unless an application would leave something undone that is asked for.
    fn given(&mut self, config: &Config) -> Result<Given, GatewayError> {
        let application = self.application.take();
        let tcp = config.listen.iter().any(|listen| listen.tcp)
            || self.sockets.iter().any(|given| given.tcp.is_some());
        let asking = config
            .listen
            .iter()
            .any(|listen| listen.client_auth != ClientAuth::Off);
        if application.is_some() && asking {
            return Err(GatewayError::HttpOnly("listen.client_auth"));
        }
        match (&application, tcp, config.quic.early_data) {
            (Some(_), true, _) => Err(GatewayError::HttpOnly("listen.tcp")),
            (Some(_), _, EarlyData::Owner) => Err(GatewayError::HttpOnly("quic.early_data")),
            _ => Ok(Given {
                handler: self.handler.take(),
                identity: self.identity.take().transpose()?,
                application,
            }),
        }
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

/// Everything of a gateway that has a socket or follows those that have.
struct Opened {
    listeners: Vec<Listener>,
    tunnel: Option<BoundTunnel>,
    fleet: Option<FleetHandle>,
    admin: Option<Admin>,
    sibling_receiver: SiblingReceiver,
    reins: Reins,
    lifecycle: Lifecycle,
}

fn open(
    bound: &Bound<'_>,
    (mut supply, session_keys): (Supply, SharedSessionKeys),
    siblings: Option<Arc<Siblings>>,
    notifier: Notifier,
) -> Result<Opened, GatewayError> {
    let (config, membership, steering) = (bound.plan.config, bound.membership, bound.steering);
    let listeners = bind_listeners(bound, &mut supply)?;
    let parts = TunnelParts {
        supply: &mut supply,
        steering: Arc::clone(steering),
        session_keys,
        max_udp_payload: bound.plan.max_udp_payload,
        metrics: bound.plan.metrics,
    };
    let (tunnel, fleet) = membership.tunnel(parts)?.unzip();
    let envelopes = tunnel.as_ref().map(|bound| bound.tunnel.envelopes());
    let admin = supply.admin(&config.admin.listen, steering.reading())?;
    let held = (siblings, supply.finish(config, &membership.keyring)?);
    let driver = fleet.as_ref().map(FleetHandle::driver);
    let metrics = bound.plan.metrics.clone();
    Ok(Opened {
        listeners,
        tunnel,
        fleet,
        sibling_receiver: SiblingReceiver::new(Arc::clone(steering), envelopes),
        reins: Reins::new(bound, held, admin.as_ref(), notifier),
        admin,
        lifecycle: Lifecycle::new(Arc::clone(steering), driver, membership.node, metrics),
    })
}

fn bind_listeners(bound: &Bound<'_>, supply: &mut Supply) -> Result<Vec<Listener>, GatewayError> {
    let workers = bound.membership.slots.workers();
    let (mut listeners, mut endpoints) = (Vec::new(), Vec::new());
    for (index, listen) in bound.plan.config.listen.iter().enumerate() {
        let sockets = supply.listener(index, listen, workers)?;
        let (listener, of_listener) = bound.listener(index, sockets)?;
        listeners.push(listener);
        endpoints.extend(of_listener);
    }
    let endpoints = Endpoints::new(bound.membership.slots, endpoints);
    bound.steering.serve(endpoints);
    Ok(listeners)
}

//! QUIC (RFC 9000): one quinn endpoint for each listener, its connection IDs and keys, admission,
//! and the addresses of its clients.

mod accepting;
mod address_token;
mod application;
mod control;
mod identity;
mod minters;
mod padding;
mod paths;
mod qlog;
mod runtime;
mod settings;
pub(super) mod transport;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use quinn::{Endpoint, Incoming};
use tokio::task::{JoinError, JoinSet};
use tokio::time::MissedTickBehavior;

pub(crate) use accepting::QuicTerms;
pub(crate) use address_token::AddressTokens;
pub use application::{Accepted, Application};
pub(crate) use application::{Served, SharedApplication};
pub(crate) use control::{QuicChange, QuicControl};
pub(crate) use identity::Issuer;
pub(crate) use minters::{Make, Minters};
pub(crate) use qlog::Qlog;
pub(super) use settings::FIRST_SEND_WINDOW;
pub use settings::QuicConfigs;
pub(crate) use settings::{EndpointParts, Servers, configs, endpoint};

use self::accepting::{Accepting, failure, proven};
use self::paths::{Paths, SWEEP_INTERVAL, Watched};
use super::course::{Course, Phase};
use super::places::{Place, Places};
use super::socket::SteeredSocket;
use crate::config::{EarlyData, Limits};
use crate::fleet::NodeId;
use crate::request::{ClientCertificate, ClientFacts, Handshake, PathFacts, Protocol};
use crate::telemetry::{Metrics, Reason, Transport};

/// Serves the connections of one endpoint.
#[derive(Debug)]
pub(crate) struct QuicEdge {
    endpoint: Endpoint,
    socket: Arc<SteeredSocket>,
    issuer: Issuer,
    context: Arc<Context>,
}

/// What every connection of the endpoint shares.
#[derive(Debug)]
struct Context {
    places: QuicPlaces,
    accepting: ArcSwap<Accepting>,
    paths: Paths,
    metrics: Metrics,
    node: NodeId,
    local: SocketAddr,
}

/// What a [`QuicEdge`] is made of, beside its endpoint.
#[derive(Debug)]
pub(crate) struct QuicParts {
    pub(crate) terms: QuicTerms,
    pub(crate) issuer: Issuer,
    pub(crate) metrics: Metrics,
    pub(crate) node: NodeId,
    pub(crate) places: QuicPlaces,
}

/// How many connections there may be; shared by all endpoints of a process.
#[derive(Clone, Debug)]
pub(crate) struct QuicPlaces {
    connections: Places,
    handshakes: Places,
}

impl QuicPlaces {
    /// Starts with these limits.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            connections: Places::new(limits.connections),
            handshakes: Places::new(limits.handshakes),
        }
    }
}

impl QuicEdge {
    /// Prepares to serve an endpoint.
    pub(crate) fn new(
        (endpoint, servers): (Endpoint, Servers),
        socket: Arc<SteeredSocket>,
        parts: QuicParts,
    ) -> std::io::Result<Self> {
        let context = Context {
            places: parts.places,
            accepting: ArcSwap::from_pointee(Accepting {
                terms: parts.terms,
                servers,
            }),
            paths: Paths::new(parts.metrics.clone()),
            metrics: parts.metrics,
            node: parts.node,
            local: endpoint.local_addr()?,
        };
        Ok(Self {
            endpoint,
            socket,
            issuer: parts.issuer,
            context: Arc::new(context),
        })
    }

    /// What can be changed of it while it serves.
    pub(crate) fn control(&self) -> QuicControl {
        QuicControl {
            endpoint: self.endpoint.clone(),
            issuer: self.issuer.clone(),
            context: Arc::clone(&self.context),
        }
    }

    /// Accepts and serves connections. While the node drains it still takes what reaches it, because
    /// there is nobody else to take it. From [`Phase::Ending`] on it refuses new ones, and returns
    /// when the last one of all endpoints has ended, because each reads datagrams for the others, and no
    /// other process of the node needs this one to read for it; at [`Phase::Over`] it closes those that
    /// are left, and gives their number.
    pub(crate) async fn serve(self, course: Course) -> usize {
        let mut connections = JoinSet::new();
        let mut ending = pin!(course.reached(Phase::Ending));
        let mut over = pin!(course.reached(Phase::Over));
        let mut needed_by_none = pin!(self.socket.steering().needed_by_none());
        let (mut told, mut needed) = (false, true);
        let mut busy = Some(course.busy());
        let mut all_idle = pin!(course.all_idle());
        let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                incoming = self.endpoint.accept() => match incoming {
                    Some(incoming) => self.admit(incoming, &mut connections, &course),
                    None => break,
                },
                Some(ended) = connections.join_next() => self.context.count(ended),
                _ = sweep.tick() => {
                    let now = now();
                    self.context.paths.sweep(now);
                    self.socket.sweep(now);
                    self.socket.steering().count_refused();
                }
                () = &mut over => break,
                () = &mut all_idle, if busy.is_none() => break,
                () = &mut ending, if !told => told = true,
                () = &mut needed_by_none, if told && needed => needed = false,
            }
            if told && !needed && connections.is_empty() {
                busy = None;
            }
        }
        while let Some(ended) = connections.try_join_next() {
            self.context.count(ended);
        }
        let left = connections.len();
        let code = self.context.accepting.load().terms.served.no_error();
        self.endpoint.close(code, b"");
        connections.shutdown().await;
        // Gives the last CONNECTION_CLOSE packets their chance; lost ones cost the client a timeout.
        drop(tokio::time::timeout(CLOSE_TIME, self.endpoint.wait_idle()).await);
        left
    }

    fn admit(&self, incoming: Incoming, connections: &mut JoinSet<()>, course: &Course) {
        if course.phase() >= Phase::Ending {
            return self.refuse(incoming, "ending");
        }
        let accepting = self.context.accepting.load_full();
        let terms = &accepting.terms;
        let unproven = !incoming.remote_address_validated() && incoming.may_retry();
        // Handshakes of forged addresses last until their timeout, and would otherwise take every
        // place (RFC 9000, section 8.1.2).
        if unproven && (terms.retry || self.context.places.handshakes.crowded()) {
            self.context.metrics.retries.inc();
            // Fails only where a Retry may not be sent, which was just asked.
            drop(incoming.retry());
            return;
        }
        let Some(place) = self.context.places.connections.take() else {
            return self.refuse(incoming, "connection_limit");
        };
        let Some(handshake) = self.context.places.handshakes.take() else {
            return self.refuse(incoming, "handshake_limit");
        };
        // An address that is not proven shows in no log and no field, so its requests wait.
        let early = terms.early_data == EarlyData::Owner && incoming.remote_address_validated();
        let context = Arc::clone(&self.context);
        let course = course.clone();
        connections.spawn(async move {
            if early {
                context
                    .serve_early(incoming, &accepting, handshake, course)
                    .await;
                return drop(place);
            }
            let established = context.establish(incoming, &accepting, handshake);
            if let Some((connection, client)) = established.await {
                let handshake = Handshake::default();
                context
                    .serve(
                        (connection, client),
                        &accepting.terms.served,
                        handshake,
                        course,
                    )
                    .await;
            }
            drop(place);
        });
    }

    fn refuse(&self, incoming: Incoming, reason: &'static str) {
        self.context
            .metrics
            .connections_refused
            .get_or_create(&Reason { reason })
            .inc();
        incoming.refuse();
    }
}

impl Context {
    async fn establish(
        &self,
        incoming: Incoming,
        accepting: &Accepting,
        handshake: Place,
    ) -> Option<(quinn::Connection, Option<Arc<ClientCertificate>>)> {
        let limit = accepting.terms.handshake;
        let server = accepting.servers.of(&incoming);
        let reason = match incoming.accept_with(server) {
            Err(error) => failure(&error),
            Ok(connecting) => match tokio::time::timeout(limit, connecting).await {
                Ok(Ok(connection)) => match proven(&connection) {
                    Ok(client) => return Some((connection, client)),
                    Err(reason) => reason,
                },
                Ok(Err(error)) => failure(&error),
                Err(_) => "handshake_timeout",
            },
        };
        drop(handshake);
        self.count_refused(reason);
        None
    }

    /// Serves a connection from its first flight on. Its requests know the handshake, and wait for its
    /// end unless they are harmless.
    async fn serve_early(
        &self,
        incoming: Incoming,
        accepting: &Accepting,
        place: Place,
        course: Course,
    ) {
        let terms = &accepting.terms;
        let server = accepting.servers.of(&incoming);
        let accepted = incoming.accept_with(server);
        let Ok((connection, ended)) = accepted.map(|connecting| {
            connecting
                .into_0rtt()
                .expect("a server can always send before the end of the handshake")
        }) else {
            return self.count_refused("handshake_failed");
        };
        let (end, handshake) = Handshake::under_way();
        let watched = connection.clone();
        let confirm = async move {
            let ended = tokio::time::timeout(terms.handshake, ended).await;
            drop(place);
            match (ended, watched.close_reason()) {
                (Ok(_), None) => end.complete(),
                (Ok(_), Some(_)) => self.count_refused("handshake_failed"),
                (Err(_), _) => {
                    self.count_refused("handshake_timeout");
                    watched.close(terms.served.no_error(), b"");
                }
            }
        };
        tokio::join!(
            confirm,
            self.serve((connection, None), &terms.served, handshake, course)
        );
    }

    fn count_refused(&self, reason: &'static str) {
        self.metrics
            .connections_refused
            .get_or_create(&Reason { reason })
            .inc();
    }

    async fn serve(
        &self,
        (connection, client): (quinn::Connection, Option<Arc<ClientCertificate>>),
        served: &Served,
        handshake: Handshake,
        course: Course,
    ) {
        let gauge = self
            .metrics
            .connections
            .get_or_create(&Transport::QUIC)
            .clone();
        gauge.inc();
        let _open = OnDrop(|| {
            gauge.dec();
        });
        let facts = Arc::new(PathFacts::default());
        let watched = self.paths.watch(connection.clone(), facts, now());
        let http3 = match served {
            Served::Http3(http3) => http3,
            Served::Application(application) => {
                return application
                    .serve(Accepted::new(connection, watched, course))
                    .await;
            }
        };
        let ip = connection.local_ip().unwrap_or_else(|| self.local.ip());
        let local = SocketAddr::new(ip, self.local.port());
        http3
            .serve(
                connection,
                || {
                    let facts = self.facts(&watched, local).proven_by(client.clone());
                    facts.after(handshake.clone())
                },
                course,
            )
            .await;
    }

    fn facts(&self, watched: &Watched, local: SocketAddr) -> ClientFacts {
        ClientFacts::new(Arc::clone(watched.facts()), watched.address(), local)
            .over(Protocol::Http3)
            .owned_by(self.node)
    }

    fn count(&self, ended: Result<(), JoinError>) {
        if ended.is_err_and(|error| error.is_panic()) {
            self.metrics.panics.inc();
            tracing::error!("a connection task panicked");
        }
    }
}

struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where this module reads a clock"
)]
fn now() -> Instant {
    Instant::now()
}

const CLOSE_TIME: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;

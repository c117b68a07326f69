//! QUIC (RFC 9000): one quinn endpoint for each listener, its connection IDs and keys, admission,
//! and the addresses of its clients.

mod address_token;
mod identity;
mod minters;
mod paths;
mod settings;
pub(super) mod transport;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::{Endpoint, Incoming, VarInt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

pub(crate) use address_token::AddressTokens;
pub(crate) use identity::Issuer;
pub(crate) use minters::{Make, Minters};
pub(crate) use settings::{EndpointParts, endpoint};

use self::paths::{Paths, SWEEP_INTERVAL, Watched};
use super::http3::Http3;
use super::socket::SteeredSocket;
use crate::config::{EarlyData, Limits, Timeouts};
use crate::fleet::NodeId;
use crate::request::{ClientFacts, Handshake, PathFacts, Protocol};
use crate::telemetry::{Metrics, Reason, Transport};

/// Serves the connections of one endpoint.
#[derive(Debug)]
pub(crate) struct QuicEdge {
    endpoint: Endpoint,
    socket: Arc<SteeredSocket>,
    admission: Admission,
    context: Arc<Context>,
}

/// Who may connect.
#[derive(Debug)]
struct Admission {
    connections: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    /// The places of `handshakes`.
    limit: usize,
    /// From so many handshakes under way on, clients are to prove their address first.
    retry_from: usize,
    handshake: Duration,
    early_data: EarlyData,
}

/// What every connection of the endpoint shares.
#[derive(Debug)]
struct Context {
    http3: Http3,
    paths: Paths,
    metrics: Metrics,
    node: NodeId,
    local: SocketAddr,
}

/// What a [`QuicEdge`] is made of, beside its endpoint.
#[derive(Debug)]
pub(crate) struct QuicParts<'a> {
    pub(crate) http3: Http3,
    pub(crate) metrics: Metrics,
    pub(crate) node: NodeId,
    pub(crate) limits: &'a Limits,
    pub(crate) timeouts: &'a Timeouts,
    pub(crate) retry: bool,
    pub(crate) early_data: EarlyData,
}

impl QuicEdge {
    /// Prepares to serve an endpoint.
    pub(crate) fn new(
        endpoint: Endpoint,
        socket: Arc<SteeredSocket>,
        parts: QuicParts<'_>,
    ) -> std::io::Result<Self> {
        let limit = |limit: u32| usize::try_from(limit).unwrap_or(Semaphore::MAX_PERMITS);
        let handshakes = limit(parts.limits.handshakes);
        let context = Context {
            http3: parts.http3,
            paths: Paths::new(parts.metrics.clone()),
            metrics: parts.metrics,
            node: parts.node,
            local: endpoint.local_addr()?,
        };
        let admission = Admission {
            connections: Arc::new(Semaphore::new(limit(parts.limits.connections))),
            handshakes: Arc::new(Semaphore::new(handshakes)),
            retry_from: if parts.retry { 0 } else { handshakes / 2 + 1 },
            limit: handshakes,
            handshake: parts.timeouts.handshake,
            early_data: parts.early_data,
        };
        Ok(Self {
            endpoint,
            socket,
            admission,
            context: Arc::new(context),
        })
    }

    /// Accepts and serves connections. Once `drain` is cancelled, new ones are refused and open ones
    /// told to finish; returns when the last one did. At `deadline` it closes the connections that
    /// are left, and gives their number.
    pub(crate) async fn serve(
        self,
        drain: CancellationToken,
        deadline: CancellationToken,
    ) -> usize {
        let mut connections = JoinSet::new();
        let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                incoming = self.endpoint.accept() => match incoming {
                    Some(incoming) => self.admit(incoming, &mut connections, &drain),
                    None => break,
                },
                Some(ended) = connections.join_next() => self.context.count(ended),
                _ = sweep.tick() => {
                    self.context.paths.sweep(now());
                    self.socket.count_drops();
                }
                () = deadline.cancelled() => break,
                () = drain.cancelled(), if connections.is_empty() => break,
            }
        }
        while let Some(ended) = connections.try_join_next() {
            self.context.count(ended);
        }
        let left = connections.len();
        self.endpoint.close(VarInt::from_u32(H3_NO_ERROR), b"");
        connections.shutdown().await;
        // Gives the last CONNECTION_CLOSE packets their chance; lost ones cost the client a timeout.
        drop(tokio::time::timeout(CLOSE_TIME, self.endpoint.wait_idle()).await);
        left
    }

    fn admit(&self, incoming: Incoming, connections: &mut JoinSet<()>, drain: &CancellationToken) {
        if drain.is_cancelled() {
            return self.refuse(incoming, "draining");
        }
        let unproven = !incoming.remote_address_validated() && incoming.may_retry();
        if unproven && self.admission.wants_proof() {
            self.context.metrics.retries.inc();
            // Fails only where a Retry may not be sent, which was just asked.
            drop(incoming.retry());
            return;
        }
        let Ok(connection) = Arc::clone(&self.admission.connections).try_acquire_owned() else {
            return self.refuse(incoming, "connection_limit");
        };
        let Ok(handshake) = Arc::clone(&self.admission.handshakes).try_acquire_owned() else {
            return self.refuse(incoming, "handshake_limit");
        };
        // An address that is not proven shows in no log and no field, so its requests wait.
        let early =
            self.admission.early_data == EarlyData::Owner && incoming.remote_address_validated();
        let context = Arc::clone(&self.context);
        let limit = self.admission.handshake;
        let drain = drain.clone();
        connections.spawn(async move {
            if early {
                context.serve_early(incoming, limit, handshake, drain).await;
            } else if let Some(established) = context.establish(incoming, limit, handshake).await {
                context
                    .serve(established, Handshake::default(), drain)
                    .await;
            }
            drop(connection);
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

impl Admission {
    /// Whether an address must be proven by a Retry (RFC 9000, section 8.1.2) before it takes part
    /// in a handshake. Those of forged addresses last until their timeout, and would otherwise take
    /// every place.
    fn wants_proof(&self) -> bool {
        self.limit - self.handshakes.available_permits() >= self.retry_from
    }
}

impl Context {
    async fn establish(
        &self,
        incoming: Incoming,
        limit: Duration,
        handshake: OwnedSemaphorePermit,
    ) -> Option<quinn::Connection> {
        let reason = match incoming.accept() {
            Err(_) => "handshake_failed",
            Ok(connecting) => match tokio::time::timeout(limit, connecting).await {
                Ok(Ok(connection)) => return Some(connection),
                Ok(Err(_)) => "handshake_failed",
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
        limit: Duration,
        place: OwnedSemaphorePermit,
        drain: CancellationToken,
    ) {
        let Ok((connection, ended)) = incoming.accept().map(|connecting| {
            connecting
                .into_0rtt()
                .unwrap_or_else(|_| unreachable!("a server can always answer early"))
        }) else {
            return self.count_refused("handshake_failed");
        };
        let (end, handshake) = Handshake::under_way();
        let watched = connection.clone();
        let confirm = async move {
            let ended = tokio::time::timeout(limit, ended).await;
            drop(place);
            match (ended, watched.close_reason()) {
                (Ok(_), None) => end.complete(),
                (Ok(_), Some(_)) => self.count_refused("handshake_failed"),
                (Err(_), _) => {
                    self.count_refused("handshake_timeout");
                    watched.close(VarInt::from_u32(H3_NO_ERROR), b"");
                }
            }
        };
        tokio::join!(confirm, self.serve(connection, handshake, drain));
    }

    fn count_refused(&self, reason: &'static str) {
        self.metrics
            .connections_refused
            .get_or_create(&Reason { reason })
            .inc();
    }

    async fn serve(
        &self,
        connection: quinn::Connection,
        handshake: Handshake,
        drain: CancellationToken,
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
        let ip = connection.local_ip().unwrap_or_else(|| self.local.ip());
        let local = SocketAddr::new(ip, self.local.port());
        self.http3
            .serve(
                connection,
                || self.facts(&watched, local).after(handshake.clone()),
                drain,
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

const H3_NO_ERROR: u32 = 0x0100;
const CLOSE_TIME: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;

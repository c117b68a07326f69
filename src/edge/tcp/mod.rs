//! HTTP/2 and HTTP/1.1 over TLS and TCP, for clients whose network does not carry QUIC.
//!
//! hyper speaks the protocols; this module bounds what a connection may hold and for how long,
//! and hands each request to [`Service`]. A connection is one task and cannot harm another.

mod activity;
mod closing;
mod connection;
mod exchange;
mod http1;
mod http2;
mod opening;
mod sending;
mod tunnel;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderValue;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::connection::Connection;
use super::course::{Course, Phase};
use super::places::Places;
use super::reading::Reading;
use super::service::Service;
use super::tls::ServerTls;
use crate::config::{Limits, Timeouts};
use crate::fleet::NodeId;
use crate::telemetry::{Metrics, Reason};

/// What a [`TcpEdge`] is made of.
#[derive(Debug)]
pub(crate) struct TcpParts {
    /// The identity and tickets that clients are shown.
    pub(crate) tls: ServerTls,
    /// What answers requests.
    pub(crate) service: Arc<Service>,
    /// The node that handlers are told owns the connections.
    pub(crate) node: NodeId,
    /// `connections`, `handshakes`, `streams`, `header_bytes` and `header_fields` are heeded here.
    pub(crate) limits: Limits,
    /// `handshake`, `header`, `body_idle` and `idle` are heeded here.
    pub(crate) timeouts: Timeouts,
    /// Where connections and failures are counted.
    pub(crate) metrics: Metrics,
}

/// Serves TCP listeners, which share its limits.
#[derive(Clone, Debug)]
pub(crate) struct TcpEdge {
    parts: Arc<ArcSwap<TcpParts>>,
    connections: Places,
    handshakes: Places,
}

impl TcpEdge {
    /// Sets the limits that all its listeners share.
    pub(crate) fn new(parts: TcpParts) -> Self {
        Self {
            connections: Places::new(parts.limits.connections),
            handshakes: Places::new(parts.limits.handshakes),
            parts: Arc::new(ArcSwap::from_pointee(parts)),
        }
    }

    /// Uses other parts for connections that are accepted from here on; open ones keep theirs.
    pub(crate) fn replace(&self, parts: TcpParts) {
        self.connections.resize(parts.limits.connections);
        self.handshakes.resize(parts.limits.handshakes);
        self.parts.store(Arc::new(parts));
    }

    /// Serves a listener, while this process reads, until [`Phase::Ending`]. Then it closes it and finishes the requests under way.
    /// At [`Phase::Over`] it closes the connections that are left, and gives their number.
    ///
    /// Dropping the future closes everything at once.
    pub(crate) async fn serve(
        &self,
        listener: TcpListener,
        reading: Reading,
        course: Course,
    ) -> usize {
        let mut tasks = JoinSet::new();
        let mut ending = pin!(course.reached(Phase::Ending));
        loop {
            tokio::select! {
                () = &mut ending => break,
                Some(_) = tasks.join_next() => {}
                accepted = reading.next(|| listener.accept()) => match accepted {
                    Ok((stream, client)) => self.admit(stream, client, &course, &mut tasks),
                    Err(error) => self.accept_failed(&error).await,
                },
            }
        }
        drop(listener);
        tokio::select! {
            biased;
            () = async { while tasks.join_next().await.is_some() {} } => {}
            () = course.reached(Phase::Over) => {}
        }
        let left = tasks.len();
        tasks.shutdown().await;
        left
    }

    fn admit(
        &self,
        stream: TcpStream,
        client: SocketAddr,
        course: &Course,
        tasks: &mut JoinSet<()>,
    ) {
        let Some(place) = self.connections.take() else {
            return self.refuse("connection_limit");
        };
        let Some(handshake) = self.handshakes.take() else {
            return self.refuse("handshake_limit");
        };
        let connection = Connection::new(self.parts.load_full(), client, course.clone());
        tasks.spawn(async move {
            connection.run(stream, handshake).await;
            drop(place);
        });
    }

    fn refuse(&self, reason: &'static str) {
        let parts = self.parts.load();
        let refused = &parts.metrics.connections_refused;
        refused.get_or_create(&Reason { reason }).inc();
    }

    /// Errors of the one connection are over at once; others, such as a lack of file descriptors,
    /// would come back without a pause.
    async fn accept_failed(&self, error: &io::Error) {
        self.refuse("accept_failed");
        let of_connection = matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::Interrupted
        );
        if !of_connection {
            tracing::warn!(%error, "cannot accept TCP connections");
            sleep(ACCEPT_PAUSE).await;
        }
    }
}

/// The `Alt-Svc` field that sends clients to HTTP/3 on a port of the same host, remembered for a
/// day (RFC 7838, section 3).
pub(crate) fn alt_svc(port: u16) -> HeaderValue {
    HeaderValue::try_from(format!("h3=\":{port}\"; ma=86400")).expect("digits are visible ASCII")
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use quinn::{Connection, TransportConfig, VarInt};

use super::OnDrop;
use super::paths::Watched;
use crate::edge::course::{Course, Phase};
use crate::edge::http3::Http3;
use crate::edge::tls::{self, FleetTicketer, Tickets, TlsConfig};
use crate::request::PathFacts;

/// A protocol of the embedder's own over QUIC, in place of HTTP/3.
///
/// The gateway accepts connections, within `limits.connections` and `limits.handshakes`, and hands them
/// over when their handshake is complete, by which the client's address is proven. From then on they
/// are quinn's, as they would be without a gateway: what is steered is below them.
pub trait Application: Send + Sync + 'static {
    /// Serves one connection to its end.
    ///
    /// The connection counts as open until the future ends, and is closed then: with code 0, unless the
    /// application or the client has closed it. The future is dropped when the gateway's shutdown grace
    /// runs out, and a panic in it is counted and ends this connection only.
    fn serve(&self, accepted: Accepted) -> impl Future<Output = ()> + Send;

    /// Changes how quinn carries connections, for those that are accepted from then on. It is called at
    /// the start and at each reload, with what the configuration's `quic` and `limits` say and room for
    /// 8 unidirectional streams and no datagrams (RFC 9221).
    ///
    /// The idle timeout and everything about the size of packets are set again afterwards, because
    /// tunnels and the ways back to clients are made for the configured ones.
    fn transport(&self, _transport: &mut TransportConfig) {}
}

/// A connection for an [`Application`]; all clones are the same.
#[derive(Clone, Debug)]
pub struct Accepted {
    connection: Connection,
    watched: Arc<Watched>,
    course: Course,
}

impl Accepted {
    pub(super) fn new(connection: Connection, watched: Arc<Watched>, course: Course) -> Self {
        Self {
            connection,
            watched,
            course,
        }
    }

    /// The connection. Its own `remote_address` may be one that a packet merely claims; see
    /// [`Accepted::address`].
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The client's address, last validated (RFC 9000, section 8). It follows a client that moves after
    /// about a minute, when the validation of the new path can no longer be under way.
    pub fn address(&self) -> SocketAddr {
        self.watched.address()
    }

    /// What happened to the network path so far.
    pub fn path(&self) -> &PathFacts {
        self.watched.facts()
    }

    /// Resolves when the client should go elsewhere: the node drains, or the process ends. The
    /// application then tells the client by the means of its protocol, finishes what is under way and
    /// lets [`Application::serve`] end. Cancel safe.
    pub fn draining(&self) -> impl Future<Output = ()> + Send + use<> {
        self.course.reached(Phase::Draining)
    }
}

/// What is spoken on the connections of an endpoint.
#[derive(Clone, Debug)]
pub(crate) enum Served {
    /// HTTP/3.
    Http3(Box<Http3>),
    /// A protocol of the embedder's.
    Application(SharedApplication),
}

impl Served {
    /// The code with which a connection is closed on which nothing is wrong.
    pub(super) fn no_error(&self) -> VarInt {
        VarInt::from_u32(match self {
            Self::Http3(_) => H3_NO_ERROR,
            Self::Application(_) => 0,
        })
    }

    /// The embedder's protocol, if it is one.
    pub(super) fn application(&self) -> Option<&SharedApplication> {
        match self {
            Self::Http3(_) => None,
            Self::Application(application) => Some(application),
        }
    }
}

/// An [`Application`] of any type, with the TLS configuration of its connections.
#[derive(Clone)]
pub(crate) struct SharedApplication {
    application: Arc<dyn ErasedApplication>,
    tls: Arc<TlsConfig>,
}

impl SharedApplication {
    /// Wraps an application for sharing.
    pub(crate) fn new(tls: TlsConfig, application: impl Application) -> Self {
        Self {
            application: Arc::new(application),
            tls: Arc::new(tls),
        }
    }

    /// The TLS configuration of its connections, which resume with these tickets only.
    pub(crate) fn tls(&self, ticketer: &FleetTicketer) -> Arc<TlsConfig> {
        let tickets: Tickets = Arc::new(ticketer.clone());
        Arc::new(tls::resuming(TlsConfig::clone(&self.tls), &tickets))
    }

    pub(super) async fn serve(&self, accepted: Accepted) {
        let connection = accepted.connection.clone();
        // Whoever kept a clone would have a connection that no limit counts.
        let _ended = OnDrop(|| connection.close(VarInt::from_u32(0), b""));
        self.application.serve_erased(accepted).await;
    }

    pub(super) fn transport(&self, transport: &mut TransportConfig) {
        self.application.transport_erased(transport);
    }
}

impl fmt::Debug for SharedApplication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedApplication").finish_non_exhaustive()
    }
}

type Serving<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

trait ErasedApplication: Send + Sync {
    fn serve_erased(&self, accepted: Accepted) -> Serving<'_>;
    fn transport_erased(&self, transport: &mut TransportConfig);
}

impl<A: Application> ErasedApplication for A {
    fn serve_erased(&self, accepted: Accepted) -> Serving<'_> {
        Box::pin(self.serve(accepted))
    }

    fn transport_erased(&self, transport: &mut TransportConfig) {
        self.transport(transport);
    }
}

/// RFC 9114, section 8.1.
const H3_NO_ERROR: u32 = 0x0100;

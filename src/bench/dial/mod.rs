//! Clients that do what a [`Mode`] says once, up to the first byte of a response, and note when they
//! reached each step.
//!
//! What a mode needs beforehand, such as a session, a token or an open connection, is got in
//! [`Dialer::prepare`], which is not part of what is measured. Certificates are checked. An attempt that
//! ended in another way than the mode says, with a full handshake in place of a resumed one, is an
//! error and no sample.

mod error;
mod http;
mod key_exchange;
mod key_log;
mod observed;
mod quic;
mod response;
mod tcp;
mod tls;
mod tokens;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

pub use error::DialError;
pub use key_log::KeyLogFile;
pub use tls::Trust;
pub(super) use tls::{ClientTls, Resuming};

use self::quic::{QuicConnection, QuicDialer, ReadyQuic};
use self::tcp::{ReadyTcp, TcpConnection, TcpDialer};
use super::trace::Marks;
use super::{KeyExchange, Mode, Scenario};

/// Whom a client dials, and from where.
#[derive(Clone, Debug)]
pub struct Way {
    /// The node.
    pub node: SocketAddr,
    /// The name that the node's certificate must have.
    pub name: String,
    /// What the request names as its authority.
    pub authority: String,
    /// What the request asks for.
    pub path: String,
    /// The client's address.
    pub local: IpAddr,
    /// The address that a client moves to.
    pub other_local: IpAddr,
    /// How packets come to reach another node.
    pub flip: Flip,
    /// Whom the client trusts.
    pub trust: Trust,
    /// How long each of preparing and dialing may take.
    pub limit: Duration,
    /// How long nothing may have come or gone before a connection moves.
    pub quiet: Duration,
}

/// How packets to a node come to reach another one of its fleet.
#[derive(Clone)]
pub enum Flip {
    /// They never do.
    Never,
    /// The client's socket sends them to this node, in place of a route.
    Destination(SocketAddr),
    /// The network's route changes.
    Route(Arc<dyn Route>),
}

/// A route between two nodes of a fleet.
pub trait Route: Send + Sync {
    /// Leads all packets to the node that they do not reach now, from the next one on.
    ///
    /// # Errors
    /// The system's; nothing has changed then.
    fn flip(&self) -> io::Result<()>;
}

/// What of a scenario a client has to do with.
#[derive(Clone, Copy, Debug)]
struct Factors {
    mode: Mode,
    key_exchange: KeyExchange,
    mtu_discovery: bool,
    initial_mtu: u16,
    initial_rtt: Duration,
}

/// A client that does one scenario's mode any number of times.
#[derive(Debug)]
pub struct Dialer {
    mode: Mode,
    transport: Transport,
}

#[derive(Debug)]
enum Transport {
    Tcp(Box<TcpDialer>),
    Quic(Box<QuicDialer>),
}

/// A client that has everything it needs and has sent nothing of what is measured.
#[derive(Debug)]
pub struct Ready(ReadyKind);

#[derive(Debug)]
enum ReadyKind {
    Tcp(Box<ReadyTcp>),
    Quic(Box<ReadyQuic>),
}

/// A client whose response has begun.
#[derive(Debug)]
pub struct Dialed {
    marks: Marks,
    connections: Vec<Open>,
}

#[derive(Debug)]
enum Open {
    Tcp(Box<TcpConnection>),
    Quic(Box<QuicConnection>),
}

impl Dialer {
    /// Prepares to do what a scenario says.
    ///
    /// # Errors
    /// [`DialError::NoClient`] for a mode without a client, and what TLS has against the trust.
    pub fn new(scenario: &Scenario, way: &Arc<Way>) -> Result<Self, DialError> {
        let mode = scenario.mode;
        let factors = Factors {
            mode,
            key_exchange: scenario.key_exchange,
            mtu_discovery: scenario.mtu_discovery,
            initial_mtu: scenario.initial_mtu,
            initial_rtt: Duration::from_millis(scenario.initial_rtt_ms.into()),
        };
        let transport = if is_quic(mode) {
            Transport::Quic(Box::new(QuicDialer::new(way, &factors)?))
        } else {
            Transport::Tcp(Box::new(TcpDialer::new(way, mode, factors.key_exchange)?))
        };
        Ok(Self { mode, transport })
    }

    /// Gets what an attempt needs.
    ///
    /// # Errors
    /// [`DialError`].
    pub async fn prepare(&self) -> Result<Ready, DialError> {
        Ok(Ready(match &self.transport {
            Transport::Tcp(dialer) => {
                let reconnects = matches!(
                    self.mode,
                    Mode::TcpReconnect | Mode::TcpReconnectResumed | Mode::TcpReconnect0Rtt
                );
                ReadyKind::Tcp(Box::new(dialer.prepare(reconnects).await?))
            }
            Transport::Quic(dialer) => ReadyKind::Quic(Box::new(dialer.prepare().await?)),
        }))
    }

    /// Does what the mode says, up to the first byte of the response.
    ///
    /// # Errors
    /// [`DialError`], also where it ended in another way than the mode says.
    pub async fn dial(&self, ready: Ready) -> Result<Dialed, DialError> {
        match (&self.transport, ready.0) {
            (Transport::Tcp(dialer), ReadyKind::Tcp(ready)) => {
                let (marks, connection, before) = dialer.dial(*ready).await?;
                let connections = std::iter::once(connection).chain(before);
                Ok(Dialed {
                    marks,
                    connections: connections.map(|open| Open::Tcp(Box::new(open))).collect(),
                })
            }
            (Transport::Quic(dialer), ReadyKind::Quic(ready)) => {
                let (marks, connection) = dialer.dial(*ready).await?;
                Ok(Dialed {
                    marks,
                    connections: vec![Open::Quic(Box::new(connection))],
                })
            }
            _ => Err(DialError::NoClient(self.mode)),
        }
    }
}

impl Ready {
    /// The port that the client is going to use; none if the system does not tell it.
    pub fn port(&self) -> Option<u16> {
        match &self.0 {
            ReadyKind::Tcp(ready) => ready.port(),
            ReadyKind::Quic(ready) => ready.port(),
        }
    }
}

impl Dialed {
    /// When the client reached each step.
    pub fn marks(&self) -> Marks {
        self.marks
    }

    /// The client's port at the end; none if the system does not tell it.
    pub fn port(&self) -> Option<u16> {
        match self.connections.first()? {
            Open::Tcp(connection) => connection.port(),
            Open::Quic(connection) => connection.port(),
        }
    }

    /// Ends what is open, in order; waits for that at most a second each.
    pub async fn close(self) {
        for connection in self.connections {
            match connection {
                Open::Tcp(connection) => connection.close().await,
                Open::Quic(connection) => connection.close().await,
            }
        }
    }
}

impl fmt::Debug for Flip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("Never"),
            Self::Destination(node) => f.debug_tuple("Destination").field(node).finish(),
            Self::Route(_) => f.write_str("Route"),
        }
    }
}

/// Whether a mode runs over QUIC.
fn is_quic(mode: Mode) -> bool {
    matches!(
        mode,
        Mode::QuicFull
            | Mode::QuicRetry
            | Mode::QuicToken
            | Mode::QuicResumed
            | Mode::Quic0Rtt
            | Mode::QuicRebind
            | Mode::QuicAddress
            | Mode::QuicFlip
    )
}

async fn within<T>(
    limit: Duration,
    step: &'static str,
    doing: impl Future<Output = T>,
) -> Result<T, DialError> {
    tokio::time::timeout(limit, doing)
        .await
        .map_err(|_elapsed| DialError::TimedOut { step, limit })
}

const CLOSE_LIMIT: Duration = Duration::from_secs(1);

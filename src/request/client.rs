use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{ClientCertificate, Handshake, Informational};
use crate::fleet::NodeId;

/// What the gateway knows about the client of a request. Cheap to clone.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientFacts {
    /// The client's address, last validated (RFC 9000, section 8) when the request began.
    pub address: SocketAddr,
    /// The local address that the client reached.
    pub local: SocketAddr,
    /// The HTTP version and transport.
    pub protocol: Protocol,
    /// The path of the connection, which may go on changing while the request runs.
    pub path: Arc<PathFacts>,
    /// The node that owns the connection.
    pub owner: NodeId,
    /// Whether the request is answered before the handshake is complete, in which case it came in
    /// 0-RTT data, is safe and has no content (RFC 8470).
    pub early_data: bool,
    /// The handshake of the connection, complete unless [`ClientFacts::early_data`] says otherwise.
    pub handshake: Handshake,
    /// The certificate by which the client proved who it is, where the listener asks for one.
    pub certificate: Option<Arc<ClientCertificate>>,
    /// The way to the client for what is said ahead of the response.
    pub informational: Informational,
}

impl ClientFacts {
    /// Collects the facts of a connection for one request.
    pub fn new(path: Arc<PathFacts>, address: SocketAddr, local: SocketAddr) -> Self {
        Self {
            address,
            local,
            protocol: Protocol::Http3,
            path,
            owner: NodeId::default(),
            early_data: false,
            handshake: Handshake::default(),
            certificate: None,
            informational: Informational::default(),
        }
    }

    /// Names the certificate that the client proved to be its own.
    #[must_use]
    pub fn proven_by(self, certificate: Option<Arc<ClientCertificate>>) -> Self {
        Self {
            certificate,
            ..self
        }
    }

    /// Names the protocol; [`Protocol::Http3`] if never called.
    #[must_use]
    pub fn over(self, protocol: Protocol) -> Self {
        Self { protocol, ..self }
    }

    /// Names the handshake, if it may still be under way.
    #[must_use]
    pub(crate) fn after(self, handshake: Handshake) -> Self {
        Self { handshake, ..self }
    }

    /// Names the node that owns the connection.
    #[must_use]
    pub fn owned_by(self, owner: NodeId) -> Self {
        Self { owner, ..self }
    }
}

/// What happened to the network path of one connection so far.
///
/// Counters only grow; they are read without a lock while the connection runs.
#[derive(Debug, Default)]
pub struct PathFacts {
    changes: AtomicU64,
}

impl PathFacts {
    /// How many times the client's address changed on this connection.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// Counts a change of the client's address.
    pub fn count_change(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
    }
}

/// The HTTP version that a request used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1 over TLS (RFC 9112).
    Http1,
    /// HTTP/2 over TLS (RFC 9113).
    Http2,
    /// HTTP/3 over QUIC (RFC 9114).
    Http3,
}

impl Protocol {
    /// The name used in logs and metrics, which is the ALPN name (RFC 7301).
    pub fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http/1.1",
            Self::Http2 => "h2",
            Self::Http3 => "h3",
        }
    }

    /// The version number that a `Via` field carries (RFC 9110, section 7.6.3).
    pub fn via(self) -> &'static str {
        match self {
            Self::Http1 => "1.1",
            Self::Http2 => "2",
            Self::Http3 => "3",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderValue;

use super::{Account, ClientCertificate, Handshake, Informational, TraceId};
use crate::fleet::NodeId;

/// What the gateway knows about the client of a request. Cheap to clone.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientFacts {
    /// The address of whom the connection is with, last validated (RFC 9000, section 8) when the request
    /// began. [`ClientFacts::origin`] is for whom it asks.
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
    /// How keys came about, where that is known: over TCP.
    pub resumption: Option<HandshakeKind>,
    #[doc(hidden)]
    pub account: Noted,
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
            resumption: None,
            account: Noted::default(),
        }
    }

    /// The address of the client itself: what a trusted proxy says, or else [`ClientFacts::address`].
    /// Never an IPv4 address in the form of IPv6.
    pub fn origin(&self) -> IpAddr {
        let said = self.account().and_then(|account| account.origin);
        said.unwrap_or_else(|| self.address.ip().to_canonical())
    }

    /// What the request is called, if requests have names.
    pub fn request_id(&self) -> Option<&HeaderValue> {
        let account = self.account()?;
        account.request_id.as_ref().map(|(_, value)| value)
    }

    /// The trace that the request is part of, if it is.
    pub fn trace_id(&self) -> Option<TraceId> {
        self.account()?.trace_id()
    }

    /// Counts that a backend is asked.
    pub(crate) fn count_try(&self) {
        if let Some(account) = self.account() {
            account.count_try();
        }
    }

    /// How the connection began, as far as it is known: QUIC does not tell a resumed handshake from a full
    /// one here.
    pub fn handshake_kind(&self) -> Option<HandshakeKind> {
        if self.early_data {
            Some(HandshakeKind::Early)
        } else {
            self.resumption
        }
    }

    /// What is noted of the request, once the service has begun with it.
    pub(crate) fn account(&self) -> Option<&Account> {
        self.account.0.as_deref()
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

/// What is noted of a request on its way through the gateway, for its own use.
#[derive(Clone, Debug, Default)]
pub struct Noted(pub(super) Option<Arc<Account>>);

impl From<Account> for Noted {
    fn from(account: Account) -> Self {
        Self(Some(Arc::new(account)))
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

/// How the handshake of a connection went, for one of its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HandshakeKind {
    /// With certificates.
    Full,
    /// With a ticket of an earlier connection.
    Resumed,
    /// Not at its end yet: the request came in early data.
    Early,
}

impl HandshakeKind {
    /// The name used in logs and for clients.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Resumed => "resumed",
            Self::Early => "early",
        }
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

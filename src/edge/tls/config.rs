use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, ProducesTickets, StoresServerSessions};
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::sessions::{EarlySessions, NoTickets};
use super::{Identity, TlsError};
use crate::request::Protocol;

/// The TLS configurations of one listener, which share its identity and its tickets.
#[derive(Clone, Debug)]
pub(crate) struct ServerTls {
    /// For TCP: offers h2, then http/1.1 (RFC 7301).
    pub(crate) tcp: Arc<ServerConfig>,
    /// For QUIC: offers h3 only.
    pub(crate) quic: Arc<ServerConfig>,
}

impl ServerTls {
    /// Combines an identity with the tickets that let clients resume.
    pub(crate) fn new(identity: &Identity, tickets: &Tickets) -> Result<Self, TlsError> {
        Ok(Self {
            tcp: config(identity, tickets, &[Protocol::Http2, Protocol::Http1])?,
            quic: config(identity, tickets, &[Protocol::Http3])?,
        })
    }

    /// Takes early data over QUIC from clients that resume one of these sessions, in place of resuming
    /// by tickets there.
    #[must_use]
    pub(crate) fn with_early_data(mut self, sessions: &Arc<EarlySessions>) -> Self {
        let quic = Arc::make_mut(&mut self.quic);
        quic.ticketer = Arc::new(NoTickets);
        quic.session_storage = Arc::clone(sessions) as Arc<dyn StoresServerSessions>;
        // QUIC bounds early data by flow control, and knows no other value (RFC 9001, section 4.6.1).
        quic.max_early_data_size = u32::MAX;
        self
    }

    /// Does the handshake of a connection that a client opened, without a deadline of its own.
    ///
    /// A client that offers no protocol gets HTTP/1.1; one that offers only unknown ones gets the
    /// alert `no_application_protocol`.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<(TlsStream, Protocol)> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.tcp));
        let stream = acceptor.accept(stream).await?;
        let agreed = stream.get_ref().1.alpn_protocol();
        let protocol = if agreed == Some(Protocol::Http2.name().as_bytes()) {
            Protocol::Http2
        } else {
            Protocol::Http1
        };
        Ok((stream, protocol))
    }
}

/// What makes and opens session tickets, shared by every listener of a node.
pub(crate) type Tickets = Arc<dyn ProducesTickets>;

/// A client's connection after its handshake.
pub(crate) type TlsStream = tokio_rustls::server::TlsStream<TcpStream>;

/// The one cryptography provider of the gateway.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn config(
    identity: &Identity,
    tickets: &Tickets,
    protocols: &[Protocol],
) -> Result<Arc<ServerConfig>, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified())));
    config.alpn_protocols = protocols
        .iter()
        .map(|protocol| protocol.name().into())
        .collect();
    Ok(Arc::new(resuming(config, tickets)))
}

/// Lets clients resume by these tickets and in no other way, and takes no early data.
pub(crate) fn resuming(mut config: ServerConfig, tickets: &Tickets) -> ServerConfig {
    config.ticketer = Arc::clone(tickets);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    config
}

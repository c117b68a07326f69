use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use rustls::crypto::CryptoProvider;
use rustls::server::{
    NoServerSessionStorage, ProducesTickets, ResolvesServerCert, StoresServerSessions,
};
use rustls::version::TLS13;
use rustls::{CipherSuite, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream as WholeStream;

use super::early::{Completion, EarlyStream};
use super::sessions::{EarlySessions, NoTickets};
use super::{Certificates, ClientPolicy, FleetTicketer, TlsError, clients};
use crate::request::{ClientCertificate, HandshakeKind, Protocol};

/// The TLS configurations of one listener, which share its identity and its tickets.
#[derive(Clone, Debug)]
pub(crate) struct ServerTls {
    /// For TCP: offers h2, then http/1.1 (RFC 7301).
    pub(crate) tcp: Arc<ServerConfig>,
    /// For QUIC: offers h3 only.
    pub(crate) quic: Arc<ServerConfig>,
}

impl ServerTls {
    /// Combines certificates, whose certificates clients must have if they are asked for any, and the tickets
    /// that let clients resume, who were let in by the same rule.
    pub(crate) fn new(
        shown: &Arc<Certificates>,
        asked: Option<&ClientPolicy>,
        ticketer: &FleetTicketer,
    ) -> Result<Self, TlsError> {
        let tickets: Tickets = match asked {
            Some(policy) => Arc::new(ticketer.bound_to(&policy.digest())),
            None => Arc::new(ticketer.clone()),
        };
        let config = |protocols: &[_]| config((shown, asked), &tickets, protocols);
        Ok(Self {
            tcp: config(&[Protocol::Http2, Protocol::Http1])?,
            quic: config(&[Protocol::Http3])?,
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

    /// The same over TCP.
    #[must_use]
    pub(crate) fn with_tcp_early_data(mut self, sessions: &Arc<EarlySessions>) -> Self {
        let tcp = Arc::make_mut(&mut self.tcp);
        tcp.ticketer = Arc::new(NoTickets);
        tcp.session_storage = Arc::clone(sessions) as Arc<dyn StoresServerSessions>;
        tcp.max_early_data_size = TCP_EARLY_DATA;
        // Responses to early data are of no use if they wait for the client to finish.
        tcp.send_half_rtt_data = true;
        self
    }

    /// Does the handshake of a connection that a client opened, without a deadline of its own; of one
    /// that begins with early data, only the first flight.
    ///
    /// A client that offers no protocol gets HTTP/1.1; one that offers only unknown ones gets the
    /// alert `no_application_protocol`.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<Opened> {
        if self.tcp.max_early_data_size > 0 {
            let (stream, completion) = EarlyStream::accept(stream, Arc::clone(&self.tcp)).await?;
            // Nobody is asked for a certificate where early data is taken.
            return Ok(Opened {
                client: None,
                protocol: agreed(stream.protocol().as_deref()),
                kind: kind(stream.handshake_kind()),
                stream: TlsStream::Early(stream),
                completion,
            });
        }
        let acceptor = TlsAcceptor::from(Arc::clone(&self.tcp));
        let stream = acceptor.accept(stream).await?;
        let session = stream.get_ref().1;
        let client = clients::proven(session.peer_certificates(), now())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(Opened {
            client,
            protocol: agreed(session.alpn_protocol()),
            kind: kind(session.handshake_kind()),
            stream: TlsStream::Whole(Box::new(stream)),
            completion: None,
        })
    }
}

fn agreed(protocol: Option<&[u8]>) -> Protocol {
    if protocol == Some(Protocol::Http2.name().as_bytes()) {
        Protocol::Http2
    } else {
        Protocol::Http1
    }
}

fn kind(kind: Option<rustls::HandshakeKind>) -> Option<HandshakeKind> {
    kind.map(|kind| match kind {
        rustls::HandshakeKind::Resumed => HandshakeKind::Resumed,
        _ => HandshakeKind::Full,
    })
}

/// A client's connection over TCP that can be used.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) stream: TlsStream,
    pub(crate) protocol: Protocol,
    /// How keys came about.
    pub(crate) kind: Option<HandshakeKind>,
    /// What the client proved of itself.
    pub(crate) client: Option<Arc<ClientCertificate>>,
    /// The rest of the handshake, if the client sent early data.
    pub(crate) completion: Option<Completion>,
}

/// What makes and opens session tickets, shared by every listener of a node.
pub(crate) type Tickets = Arc<dyn ProducesTickets>;

/// What a client and the gateway say to each other over TLS and TCP.
#[derive(Debug)]
pub(crate) enum TlsStream {
    /// From the end of the handshake on.
    Whole(Box<WholeStream<TcpStream>>),
    /// From the first flight on, where early data is taken.
    Early(EarlyStream),
}

impl TlsStream {
    /// Makes the client see that the connection broke off, and did not end.
    pub(crate) fn reset_when_dropped(&self) {
        let set = match self {
            Self::Whole(stream) => stream.get_ref().0.set_zero_linger(),
            Self::Early(stream) => stream.reset_when_dropped(),
        };
        // Fails only where the connection is gone already.
        drop(set);
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Whole(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Early(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Whole(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Early(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Whole(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Early(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Whole(stream) => Pin::new(stream).poll_flush(cx),
            Self::Early(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Whole(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Early(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// The one cryptography provider of the gateway.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The provider with one cipher suite before the others.
fn preferring(suite: CipherSuite) -> CryptoProvider {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    let suites = &mut provider.cipher_suites;
    suites.sort_by_key(|other| other.suite() != suite);
    provider
}

fn config(
    (shown, asked): (&Arc<Certificates>, Option<&ClientPolicy>),
    tickets: &Tickets,
    protocols: &[Protocol],
) -> Result<Arc<ServerConfig>, TlsError> {
    let builder = ServerConfig::builder_with_provider(Arc::new(preferring(PREFERRED)))
        .with_protocol_versions(&[&TLS13])?;
    let builder = match asked {
        Some(policy) => builder.with_client_cert_verifier(policy.verifier()),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::clone(shown) as Arc<dyn ResolvesServerCert>);
    config.ignore_client_order = true;
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

#[expect(
    clippy::disallowed_methods,
    reason = "certificates are judged by the time of day"
)]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

/// The one that every client has (RFC 8446, section 9.1), and the cheapest: its key schedule is by SHA-256, for
/// which processors have instructions that they lack for the SHA-384 of `TLS_AES_256_GCM_SHA384`.
const PREFERRED: CipherSuite = CipherSuite::TLS13_AES_128_GCM_SHA256;
/// Bytes of early data on one connection, which are held until somebody reads them.
const TCP_EARLY_DATA: u32 = 16 << 10;

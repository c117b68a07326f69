use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{
    Endpoint, EndpointConfig, Incoming, MtuDiscoveryConfig, ServerConfig, TransportConfig,
    ValidationTokenConfig, VarInt,
};

use super::application::SharedApplication;
use super::identity::Issuer;
use super::padding::Unpadding;
use super::qlog::Qlog;
use super::runtime::Runtime;
use crate::config::{Keepalive, Limits, Quic};
use crate::edge::socket::SteeredSocket;
use crate::edge::tls::TlsConfig;
use crate::session::UsedTokens;
use crate::wire::SUPPORTED_VERSIONS;

/// What an endpoint is made of.
#[derive(Debug)]
pub(crate) struct EndpointParts<'a> {
    pub(crate) tls: Arc<TlsConfig>,
    pub(crate) issuer: Issuer,
    /// What may change how connections are carried.
    pub(crate) application: Option<&'a SharedApplication>,
    pub(crate) quic: &'a Quic,
    pub(crate) limits: &'a Limits,
    /// Bytes of HTTP datagrams that may wait each way on a connection; none if they are not offered.
    pub(crate) datagram_bytes: Option<usize>,
    /// The largest UDP payload that fits through every tunnel, or the configured one.
    pub(crate) max_udp_payload: u16,
    /// What traces some connections.
    pub(crate) qlog: Option<&'a Arc<Qlog>>,
}

/// What connections are accepted with.
#[derive(Debug)]
pub(crate) struct Servers {
    server: Arc<ServerConfig>,
    traced: Option<Traced>,
}

/// All that a configuration for one connection is made of, which has a trace of its own.
#[derive(Debug)]
struct Traced {
    qlog: Arc<Qlog>,
    tls: Arc<TlsConfig>,
    issuer: Issuer,
    application: Option<SharedApplication>,
    quic: Quic,
    limits: Limits,
    datagram_bytes: Option<usize>,
    max_udp_payload: u16,
}

impl Servers {
    /// Makes them.
    ///
    /// # Errors
    /// As for [`configs`].
    pub(crate) fn new(parts: &EndpointParts<'_>) -> io::Result<Self> {
        let traced = parts.qlog.map(|qlog| Traced {
            qlog: Arc::clone(qlog),
            tls: Arc::clone(&parts.tls),
            issuer: parts.issuer.clone(),
            application: parts.application.cloned(),
            quic: parts.quic.clone(),
            limits: parts.limits.clone(),
            datagram_bytes: parts.datagram_bytes,
            max_udp_payload: parts.max_udp_payload,
        });
        Ok(Self {
            server: Arc::new(server(parts)?),
            traced,
        })
    }

    /// What an endpoint falls back to.
    pub(super) fn plain(&self) -> ServerConfig {
        ServerConfig::clone(&self.server)
    }

    /// What this connection is accepted with.
    pub(super) fn of(&self, incoming: &Incoming) -> Arc<ServerConfig> {
        let traced = self.traced.as_ref();
        let traced = traced.and_then(|traced| traced.transport(incoming));
        let Some(transport) = traced else {
            return Arc::clone(&self.server);
        };
        let mut server = self.plain();
        server.transport_config(Arc::new(transport));
        Arc::new(server)
    }
}

impl Traced {
    fn transport(&self, incoming: &Incoming) -> Option<TransportConfig> {
        let stream = self.qlog.trace(&incoming.orig_dst_cid().to_string())?;
        let parts = EndpointParts {
            tls: Arc::clone(&self.tls),
            issuer: self.issuer.clone(),
            application: self.application.as_ref(),
            quic: &self.quic,
            limits: &self.limits,
            datagram_bytes: self.datagram_bytes,
            max_udp_payload: self.max_udp_payload,
            qlog: None,
        };
        let mut transport = transport(&parts).ok()?;
        transport.qlog_stream(Some(stream));
        Some(transport)
    }
}

/// What quinn is given for one endpoint of the gateway.
#[derive(Debug)]
pub struct QuicConfigs {
    /// Connection IDs, reset tokens, versions, and the largest datagram.
    pub endpoint: EndpointConfig,
    /// What connections are accepted with.
    pub server: ServerConfig,
}

/// Starts an endpoint, and gives also what it accepts connections with. Needs a tokio runtime.
///
/// # Errors
/// As for [`configs`], and those of the socket.
pub(crate) fn endpoint(
    socket: Arc<SteeredSocket>,
    parts: EndpointParts<'_>,
) -> io::Result<(Endpoint, Servers)> {
    let servers = Servers::new(&parts)?;
    let QuicConfigs { endpoint, server } = configs(parts)?;
    let runtime = Arc::new(Runtime);
    let endpoint = Endpoint::new_with_abstract_socket(endpoint, Some(server), socket, runtime)?;
    Ok((endpoint, servers))
}

/// Makes everything of an endpoint but its socket.
///
/// # Errors
/// When the TLS configuration has no cipher suite for QUIC, or a value is out of quinn's range.
pub(crate) fn configs(parts: EndpointParts<'_>) -> io::Result<QuicConfigs> {
    let server = server(&parts)?;
    let mut endpoint = EndpointConfig::new(parts.issuer.reset_key());
    endpoint
        .max_udp_payload_size(parts.max_udp_payload)
        .map_err(io::Error::other)?;
    endpoint.supported_versions(SUPPORTED_VERSIONS.to_vec());
    let issuer = parts.issuer;
    endpoint.cid_generator(move || issuer.generator());
    Ok(QuicConfigs { endpoint, server })
}

/// What connections are accepted with from here on.
///
/// # Errors
/// As for [`configs`].
pub(super) fn server(parts: &EndpointParts<'_>) -> io::Result<ServerConfig> {
    let crypto = QuicServerConfig::try_from(Arc::clone(&parts.tls)).map_err(io::Error::other)?;
    let crypto = Arc::new(Unpadding::new(crypto));
    let mut server = ServerConfig::new(crypto, parts.issuer.token_key());
    server.transport_config(Arc::new(transport(parts)?));
    server.migration(true);
    for preferred in &parts.quic.preferred_address {
        match *preferred {
            SocketAddr::V4(v4) => server.preferred_address_v4(Some(v4)),
            SocketAddr::V6(v6) => server.preferred_address_v6(Some(v6)),
        };
    }
    // quinn takes a token that a fast clock dated ahead; one that a slow clock dated back needs the
    // difference on top.
    server.retry_token_lifetime(parts.quic.retry_token_lifetime + CLOCK_SKEW);
    let mut later = ValidationTokenConfig::default();
    later
        .lifetime(UsedTokens::LIFETIME + CLOCK_SKEW)
        .log(parts.issuer.token_log());
    server.validation_token_config(later);
    server.max_incoming(usize::try_from(parts.limits.handshakes).unwrap_or(usize::MAX));
    server.incoming_buffer_size(INCOMING_BUFFER);
    server.incoming_buffer_size_total(INCOMING_BUFFER * u64::from(parts.limits.handshakes));
    Ok(server)
}

pub(super) fn transport(parts: &EndpointParts<'_>) -> io::Result<TransportConfig> {
    let EndpointParts { quic, limits, .. } = parts;
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(limits.streams.into())
        .max_concurrent_uni_streams(UNI_STREAMS.into())
        .keep_alive_interval(match quic.keep_alive {
            Keepalive::Off => None,
            Keepalive::After(silence) => Some(silence),
        })
        .stream_receive_window(VarInt::from_u32(quic.stream_receive_window))
        .receive_window(VarInt::from_u32(quic.receive_window))
        .send_window(match parts.application {
            Some(_) => quic.send_window.into(),
            None => u64::from(quic.send_window).min(FIRST_SEND_WINDOW),
        })
        .datagram_receive_buffer_size(parts.datagram_bytes)
        .datagram_send_buffer_size(parts.datagram_bytes.unwrap_or_default());
    if let Some(application) = parts.application {
        application.transport(&mut transport);
    }
    let (initial, largest) = (
        quic.initial_mtu.min(parts.max_udp_payload),
        parts.max_udp_payload,
    );
    let discovery = quic.mtu_discovery.then(|| {
        let mut discovery = MtuDiscoveryConfig::default();
        discovery.upper_bound(largest);
        // A step of more than half the range makes the first probe one of the bound itself, which most
        // paths carry; only where they do not, there is one more in the middle.
        discovery.minimum_change((largest - initial) / 2 + 1);
        discovery
    });
    transport
        .max_idle_timeout(Some(
            quic.idle_timeout.try_into().map_err(io::Error::other)?,
        ))
        .initial_mtu(initial)
        .min_mtu(SMALLEST_MTU)
        .mtu_discovery_config(discovery)
        .initial_rtt(quic.initial_rtt);
    Ok(transport)
}

/// What is held for a client of HTTP/3 until it acknowledges it, before its path is known to carry more.
/// With `quic.receive_window` it is most of what one connection can cost.
pub(in crate::edge) const FIRST_SEND_WINDOW: u64 = 512 << 10;
/// The control stream, the two of QPACK, and a few that clients open to exercise the extension
/// point (RFC 9114, section 6.2.3).
const UNI_STREAMS: u32 = 8;
/// Bytes that a connection may send before it is accepted: a client hello of several packets.
const INCOMING_BUFFER: u64 = 16 << 10;
/// By how much the clocks of two nodes may differ.
const CLOCK_SKEW: Duration = Duration::from_mins(1);
/// What every path of QUIC carries (RFC 9000, section 14).
const SMALLEST_MTU: u16 = 1200;

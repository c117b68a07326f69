//! The UDP proxy (RFC 9298): from a request to a socket, and packets both ways until the tunnel ends.
//!
//! Clients reach from here whatever the gateway reaches. So an address is judged after it is known and
//! before the socket is connected to it, and it is looked up once.

mod client_side;
mod places;
mod refused;
#[cfg(test)]
mod tests;
mod tunnel;

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;

use http::header::{self, HeaderName, HeaderValue};
use http::{Request, Response, request};
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use self::client_side::ClientSide;
use self::places::{Full, Place, Places};
use self::refused::Refused;
use self::tunnel::Tunnel;
use crate::config::ConnectUdp;
use crate::connect_udp::{self, AllowList, Host, Target};
use crate::request::{
    AnsweredBy, Body, ClientFacts, ConnectProtocol, Datagrams, KeepsTime, RequestError,
};
use crate::sys;
use crate::telemetry::{Reason, UdpMetrics};

/// Opens tunnels for all routes that take them.
#[derive(Debug)]
pub(super) struct UdpProxy {
    bounds: ConnectUdp,
    places: Arc<Places>,
    lookups: Arc<Semaphore>,
    metrics: UdpMetrics,
}

/// A route that takes tunnels.
#[derive(Debug)]
pub(super) struct UdpRoute {
    /// The path before the target, without a closing slash.
    prefix: String,
    allow: AllowList,
}

impl UdpRoute {
    pub(super) fn new(path: &str, allow: AllowList) -> Self {
        Self {
            prefix: path.trim_end_matches('/').to_owned(),
            allow,
        }
    }
}

impl UdpProxy {
    pub(super) fn new(bounds: ConnectUdp, metrics: UdpMetrics) -> Self {
        Self {
            places: Places::new(bounds.tunnels, bounds.tunnels_per_client),
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
            bounds,
            metrics,
        }
    }

    /// Answers a request on a route that takes tunnels.
    pub(super) async fn handle(
        &self,
        route: &UdpRoute,
        request: Request<Body>,
        client: &ClientFacts,
    ) -> Result<Response<Body>, RequestError> {
        let (mut parts, body) = request.into_parts();
        check(&parts)?;
        let opened = self.open(route, &parts, client).await;
        let (target, socket, place) = match opened {
            Ok(opened) => opened,
            Err(refused) => {
                let reason = refused.reason();
                self.metrics.refused.get_or_create(&Reason { reason }).inc();
                return Ok(refused.response());
            }
        };
        let datagrams = parts.extensions.remove::<Datagrams>();
        let limit = usize::from(self.bounds.payload_bytes) + LONGEST_CONTEXT;
        let side = ClientSide::new(body, datagrams, limit);
        let tunnel = Tunnel::new(socket, side, &self.bounds, (self.metrics.clone(), place));
        let mut response = Response::new(Body::new(tunnel));
        response
            .headers_mut()
            .insert(CAPSULE_PROTOCOL, HeaderValue::from_static("?1"));
        let by = AnsweredBy(target.to_string().into());
        response.extensions_mut().insert(by);
        response.extensions_mut().insert(KeepsTime);
        Ok(response)
    }

    async fn open(
        &self,
        route: &UdpRoute,
        parts: &request::Parts,
        client: &ClientFacts,
    ) -> Result<(Target, UdpSocket, Place), Refused> {
        let target = target(route, parts)?;
        let mut own = sys::addresses::local_addresses().map_err(|error| no_socket(&error))?;
        own.push(client.local.ip());
        route.allow.check(&target, &own)?;
        let place = self.places.take(client.origin());
        let place = place.map_err(|full| match full {
            Full::All => Refused::Tunnels,
            Full::Client => Refused::TunnelsOfClient,
        })?;
        let addresses = self.resolve(&target).await?;
        let socket = self.connect(&route.allow, &addresses, &own)?;
        Ok((target, socket, place))
    }

    async fn resolve(&self, target: &Target) -> Result<Vec<SocketAddr>, Refused> {
        let port = target.port.get();
        let name = match &target.host {
            Host::Address(address) => return Ok(vec![SocketAddr::new(*address, port)]),
            Host::Name(name) => name.clone(),
        };
        let lookups = Arc::clone(&self.lookups);
        let place = lookups.try_acquire_owned();
        let place = place.map_err(|_full| Refused::Lookups)?;
        let lookup = spawn_blocking(move || {
            // What nobody waits for any more still has a thread, and so its place.
            let _place = place;
            (name.as_str(), port)
                .to_socket_addrs()
                .map(|found| found.take(ADDRESSES).collect())
        });
        match timeout(self.bounds.resolve_timeout, lookup).await {
            Err(_) => Err(Refused::ResolveTimeout),
            Ok(Ok(Ok(found))) => Ok(found),
            Ok(Ok(Err(_)) | Err(_)) => Err(Refused::Unresolved),
        }
    }

    /// Connects to the first address that is allowed and has a way to it.
    fn connect(
        &self,
        allow: &AllowList,
        addresses: &[SocketAddr],
        own: &[IpAddr],
    ) -> Result<UdpSocket, Refused> {
        let mut refused = Refused::Unresolved;
        for address in addresses {
            let address = SocketAddr::new(address.ip().to_canonical(), address.port());
            let connected = allow
                .check_address(address.ip(), address.port(), own)
                .map_err(Refused::from)
                .and_then(|()| self.connect_to(allow, address));
            match connected {
                Ok(socket) => return Ok(socket),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    fn connect_to(&self, allow: &AllowList, address: SocketAddr) -> Result<UdpSocket, Refused> {
        let socket = sys::socket::connect_udp(address).map_err(|error| match error.kind() {
            io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::PermissionDenied => Refused::Unroutable,
            _ => no_socket(&error),
        })?;
        // A route can make addresses the gateway's own that no interface has.
        let from = socket.local_addr().map_err(|error| no_socket(&error))?;
        if from.ip() == address.ip() {
            allow.check_address(address.ip(), address.port(), &[from.ip()])?;
        }
        let waiting = usize::from(self.bounds.queue) * usize::from(self.bounds.payload_bytes);
        let buffers = sys::socket::Buffers {
            receive: waiting,
            send: waiting,
        };
        sys::socket::request_buffers(&socket, buffers).map_err(|error| no_socket(&error))?;
        UdpSocket::from_std(socket).map_err(|error| no_socket(&error))
    }
}

/// Refuses what is no request for a tunnel of UDP (RFC 9298, sections 3.2 and 3.4; RFC 9297, section 3.2).
fn check(parts: &request::Parts) -> Result<(), RequestError> {
    match parts.extensions.get::<ConnectProtocol>() {
        Some(protocol) if protocol.as_str() == connect_udp::PROTOCOL => {}
        Some(_) => return Err(RequestError::NotImplemented),
        None => return Err(RequestError::Malformed("no request for a tunnel of UDP")),
    }
    let content = [
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::TRANSFER_ENCODING,
    ];
    if content.iter().any(|name| parts.headers.contains_key(name)) {
        return Err(RequestError::Malformed("a tunnel of UDP has no content"));
    }
    Ok(())
}

fn target(route: &UdpRoute, parts: &request::Parts) -> Result<Target, Refused> {
    if parts.uri.query().is_some() {
        return Err(Refused::Malformed("the template has no query"));
    }
    let path = parts.uri.path();
    let rest = path.strip_prefix(&route.prefix).unwrap_or_default();
    Target::parse(rest).map_err(|error| Refused::Malformed(error.0))
}

fn no_socket(error: &io::Error) -> Refused {
    tracing::warn!(%error, "no socket for a UDP tunnel");
    Refused::Socket
}

/// RFC 9297, section 3.4.
const CAPSULE_PROTOCOL: HeaderName = HeaderName::from_static("capsule-protocol");
/// Names that are being resolved at once, each on a thread.
const LOOKUPS: usize = 64;
/// Addresses of a name that are looked at.
const ADDRESSES: usize = 16;
/// Bytes of a context ID.
const LONGEST_CONTEXT: usize = 8;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::GatewayError;
use super::builder::Sockets;
use super::fleet::Membership;
use super::identities::Identities;
use crate::cid::Minter;
use crate::config::{Config, Listen};
use crate::edge::{
    AddressTokens, EndpointParts, Http3, Http3Rules, Injector, Issuer, Make, Minters, QuicEdge,
    QuicParts, Rules, Service, SteeredSocket, Steering, TcpEdge, TcpParts, alt_svc, endpoint,
};
use crate::request::SharedHandler;
use crate::sys;
use crate::sys::socket::Buffers;
use crate::telemetry::{AccessLog, Metrics};

/// One address of the configuration, bound.
#[derive(Debug)]
pub(super) struct Listener {
    address: SocketAddr,
    quic: QuicEdge,
    tcp: Option<(TcpEdge, TcpListener)>,
}

/// What all listeners of a gateway are made from.
#[derive(Debug)]
pub(super) struct Bound<'a> {
    pub(super) config: &'a Config,
    pub(super) membership: &'a Membership,
    pub(super) steering: &'a Arc<Steering>,
    pub(super) handler: &'a SharedHandler,
    pub(super) identities: &'a Identities,
    pub(super) tokens: &'a AddressTokens,
    pub(super) metrics: &'a Metrics,
    pub(super) max_udp_payload: u16,
}

impl Listener {
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts serving in `edges`; each gives how many connections it closed at `deadline`.
    pub(super) fn spawn(
        self,
        edges: &mut JoinSet<usize>,
        drain: &CancellationToken,
        deadline: &CancellationToken,
    ) {
        edges.spawn(self.quic.serve(drain.clone(), deadline.clone()));
        if let Some((tcp, listener)) = self.tcp {
            let (drain, deadline) = (drain.clone(), deadline.clone());
            edges.spawn(async move { tcp.serve(listener, drain, deadline).await });
        }
    }
}

impl Bound<'_> {
    /// Binds the configuration's listener of this index, or takes the given sockets for it. Gives
    /// also the way to put in datagrams that peers received.
    pub(super) fn listener(
        &self,
        index: usize,
        sockets: Option<Sockets>,
    ) -> Result<(Listener, Injector), GatewayError> {
        let listen = &self.config.listen[index];
        let failed = |source| GatewayError::Bind {
            address: listen.addr.to_string(),
            source,
        };
        let sockets = match sockets {
            Some(sockets) => sockets,
            None => bind(listen).map_err(failed)?,
        };
        let address = sockets.udp.local_addr().map_err(failed)?;
        let service = self.service(index, address);
        let (quic, injector) = self.quic(index, sockets.udp, &service).map_err(failed)?;
        let tcp = match sockets.tcp {
            None => None,
            Some(listener) => {
                listener.set_nonblocking(true).map_err(failed)?;
                let listener = TcpListener::from_std(listener).map_err(failed)?;
                Some((self.tcp(index, service), listener))
            }
        };
        let listener = Listener { address, quic, tcp };
        Ok((listener, injector))
    }

    /// Each listener has a service of its own, because responses name the listener's port.
    fn service(&self, index: usize, address: SocketAddr) -> Arc<Service> {
        let Config {
            limits,
            timeouts,
            log,
            ..
        } = self.config;
        let port = self.config.listen[index]
            .public_port
            .unwrap_or_else(|| address.port());
        let rules = Rules::new(limits, timeouts, Some(alt_svc(port)));
        let access = if log.access {
            AccessLog::On
        } else {
            AccessLog::Off
        };
        Arc::new(Service::new(
            self.handler.clone(),
            rules,
            self.metrics.clone(),
            access,
        ))
    }

    fn quic(
        &self,
        index: usize,
        socket: UdpSocket,
        service: &Arc<Service>,
    ) -> io::Result<(QuicEdge, Injector)> {
        socket.set_nonblocking(true)?;
        let Config {
            limits,
            timeouts,
            quic,
            ..
        } = self.config;
        let queue = usize::try_from(limits.tunnel_queue).unwrap_or(usize::MAX);
        let (socket, injector) = SteeredSocket::new(
            socket,
            Arc::clone(self.steering),
            queue,
            self.metrics.clone(),
        )?;
        let socket = Arc::new(socket);
        let endpoint = endpoint(EndpointParts {
            socket: Arc::clone(&socket),
            tls: Arc::clone(&self.identities.of(index).quic),
            issuer: self.issuer(index)?,
            quic,
            limits,
            max_udp_payload: self.max_udp_payload,
        })?;
        let http3 = Http3 {
            service: Arc::clone(service),
            rules: Http3Rules {
                header_bytes: limits.header_bytes,
                header_timeout: timeouts.header,
                body_idle: timeouts.body_idle,
            },
            metrics: self.metrics.clone(),
        };
        let parts = QuicParts {
            http3,
            metrics: self.metrics.clone(),
            node: self.membership.node,
            limits,
            timeouts,
            retry: quic.retry,
            early_data: quic.early_data,
        };
        Ok((QuicEdge::new(endpoint, socket, parts)?, injector))
    }

    /// Each listener has a lane of nonces of its own.
    fn issuer(&self, index: usize) -> io::Result<Issuer> {
        let membership = self.membership;
        let listener = u16::try_from(index).map_err(io::Error::other)?;
        let lane = membership.slots.lane(membership.slots.slot(listener, 0));
        let mint = if self.config.cid.dangerous_short_nonce {
            Minter::dangerous_short_nonce
        } else {
            Minter::new
        };
        let (id, hash) = (membership.identity.server_id(), membership.slots.hash());
        // So each connection ID belongs to one listener's endpoint, and no other resets it.
        let make = Make::new(move |config, start| {
            mint(config, id, lane, start).and_then(|minter| minter.with_worker_hash(hash))
        });
        Ok(Issuer::new(
            Minters::new(membership.cids.clone(), make)?,
            Arc::clone(self.steering),
            self.tokens.clone(),
            self.config.quic.cid_lifetime,
        ))
    }

    fn tcp(&self, index: usize, service: Arc<Service>) -> TcpEdge {
        TcpEdge::new(TcpParts {
            tls: self.identities.of(index).clone(),
            service,
            node: self.membership.node,
            limits: self.config.limits.clone(),
            timeouts: self.config.timeouts.clone(),
            metrics: self.metrics.clone(),
        })
    }
}

/// Binds both sockets of a listener. With port 0 the system gives the UDP port and the TCP port is to
/// be the same; where another process has that one, another is asked for.
fn bind(listen: &Listen) -> io::Result<Sockets> {
    let mut attempts = if listen.addr.port() == 0 {
        PORT_ATTEMPTS
    } else {
        1
    };
    loop {
        attempts -= 1;
        let udp = bind_udp(listen.addr)?;
        if !listen.tcp {
            return Ok(Sockets { udp, tcp: None });
        }
        let address = SocketAddr::new(listen.addr.ip(), udp.local_addr()?.port());
        match sys::socket::bind_tcp(address) {
            Ok(tcp) => {
                return Ok(Sockets {
                    udp,
                    tcp: Some(tcp),
                });
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts > 0 => {}
            Err(error) => return Err(error),
        }
    }
}

/// Binds a UDP socket with large buffers; says how to get them where the kernel grants less.
pub(super) fn bind_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = sys::socket::bind_udp(address)?;
    let wanted = Buffers {
        receive: SOCKET_BUFFER,
        send: SOCKET_BUFFER,
    };
    let granted = sys::socket::request_buffers(&socket, wanted)?;
    let receive = (granted.receive, "net.core.rmem_max");
    for (granted, sysctl) in [receive, (granted.send, "net.core.wmem_max")] {
        if granted < SOCKET_BUFFER {
            tracing::warn!(
                granted,
                wanted = SOCKET_BUFFER,
                "the kernel grants a smaller socket buffer than asked for; raise {sysctl}"
            );
        }
    }
    Ok(socket)
}

const PORT_ATTEMPTS: u32 = 16;
/// Holds 60 ms of packets at 500 Mbit/s, longer than a busy core keeps a task waiting.
const SOCKET_BUFFER: usize = 4 << 20;

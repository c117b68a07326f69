use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroU16;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::GatewayError;
use super::builder::Sockets;
use super::fleet::Membership;
use super::plan::Plan;
use crate::cid::Minter;
use crate::config::Listen;
use crate::edge::{
    AddressTokens, Course, Endpoint, EndpointParts, Issuer, Make, Minters, QuicConfigs,
    QuicControl, QuicEdge, QuicParts, QuicPlaces, Reading, Service, SocketParts, SteeredSocket,
    Steering, TcpEdge, TlsConfig, configs, endpoint,
};
use crate::steer::Slot;
use crate::sys;
use crate::sys::socket::Buffers;

/// One address of the configuration, bound.
#[derive(Debug)]
pub(super) struct Listener {
    address: SocketAddr,
    service: Arc<Service>,
    quic: Vec<QuicEdge>,
    tcp: Option<(TcpEdge, TcpListener)>,
}

/// What can be changed of a listener while it serves.
#[derive(Debug)]
pub(super) struct ListenerControl {
    pub(super) address: SocketAddr,
    pub(super) service: Arc<Service>,
    pub(super) quic: Vec<QuicControl>,
    pub(super) tcp: Option<TcpEdge>,
}

/// What all listeners of a gateway are made from.
#[derive(Debug)]
pub(super) struct Bound<'a> {
    pub(super) plan: Plan<'a>,
    pub(super) membership: &'a Membership,
    pub(super) steering: &'a Arc<Steering>,
    pub(super) tokens: &'a AddressTokens,
    pub(super) places: QuicPlaces,
}

/// What a listener speaks with, made without a socket: for programs that do its handshakes without IO.
#[derive(Debug)]
pub struct Protocols {
    /// QUIC.
    pub quic: QuicConfigs,
    /// TLS over TCP; none where an application has the connections.
    pub tcp: Option<Arc<TlsConfig>>,
}

impl Listener {
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn service(&self) -> Arc<Service> {
        Arc::clone(&self.service)
    }

    pub(super) fn control(&self) -> ListenerControl {
        ListenerControl {
            address: self.address,
            service: self.service(),
            quic: self.quic.iter().map(QuicEdge::control).collect(),
            tcp: self.tcp.as_ref().map(|(tcp, _)| tcp.clone()),
        }
    }

    /// Starts serving in `edges`; each gives how many connections it closed at the end of the course.
    pub(super) fn spawn(self, edges: &mut JoinSet<usize>, course: &Course, reading: &Reading) {
        for worker in self.quic {
            edges.spawn(worker.serve(course.clone()));
        }
        if let Some((tcp, listener)) = self.tcp {
            let (course, reading) = (course.clone(), reading.clone());
            edges.spawn(async move { tcp.serve(listener, reading, course).await });
        }
    }
}

impl Bound<'_> {
    /// Builds the configuration's listener of this index on these sockets. Gives also its
    /// endpoints, in the order of the workers.
    pub(super) fn listener(
        &self,
        index: usize,
        sockets: Sockets,
    ) -> Result<(Listener, Vec<Endpoint>), GatewayError> {
        let listen = &self.plan.config.listen[index];
        let failed = |source| GatewayError::Bind {
            address: listen.addr.to_string(),
            source,
        };
        let [first, ..] = sockets.udp.as_slice() else {
            return Err(failed(io::ErrorKind::InvalidInput.into()));
        };
        let address = first.local_addr().map_err(failed)?;
        // Each listener has a service of its own, because responses name the listener's port.
        let policy = self.plan.policy(index, address);
        let service = Arc::new(Service::new(policy, self.plan.metrics.clone()));
        let (mut quic, mut endpoints) = (Vec::new(), Vec::new());
        for (worker, socket) in (0..).zip(sockets.udp) {
            let built = self.worker((index, worker), socket, &service);
            let (edge, endpoint) = built.map_err(failed)?;
            quic.push(edge);
            endpoints.push(endpoint);
        }
        let tcp = match (sockets.tcp, self.plan.tcp_parts(index, &service)) {
            (Some(listener), Some(parts)) => {
                listener.set_nonblocking(true).map_err(failed)?;
                // A queue of none takes back what an earlier process allowed on the same socket.
                let fast_open = self.plan.config.tcp.fast_open;
                sys::socket::enable_fast_open(&listener, fast_open).map_err(failed)?;
                let listener = TcpListener::from_std(listener).map_err(failed)?;
                Some((TcpEdge::new(parts), listener))
            }
            _ => None,
        };
        let listener = Listener {
            address,
            service,
            quic,
            tcp,
        };
        Ok((listener, endpoints))
    }

    /// One worker of the listener of this index.
    fn worker(
        &self,
        (index, worker): (usize, u16),
        socket: UdpSocket,
        service: &Arc<Service>,
    ) -> io::Result<(QuicEdge, Endpoint)> {
        let Plan {
            config,
            metrics,
            node,
            ..
        } = self.plan;
        let listener = u16::try_from(index).map_err(io::Error::other)?;
        let slot = self.membership.slots.slot(listener, worker);
        let parts = SocketParts {
            socket,
            slot,
            queue: usize::try_from(config.limits.tunnel_queue).unwrap_or(usize::MAX),
            preferred: config.quic.preferred_address.clone(),
            idle_timeout: config.quic.idle_timeout,
        };
        let steering = Arc::clone(self.steering);
        let (socket, way) = SteeredSocket::new(parts, steering, metrics.clone())?;
        let socket = Arc::new(socket);
        let issuer = self.issuer(slot)?;
        let parts = self.endpoint_parts(index, issuer.clone());
        let endpoint = endpoint(Arc::clone(&socket), parts)?;
        let parts = QuicParts {
            terms: self.plan.quic_terms(index, service),
            issuer,
            metrics: metrics.clone(),
            node,
            places: self.places.clone(),
        };
        Ok((QuicEdge::new(endpoint, socket, parts)?, way))
    }

    /// What the first worker of the listener of this index speaks with.
    pub(super) fn protocols(&self, index: usize) -> Result<Protocols, GatewayError> {
        let listener = u16::try_from(index).unwrap_or(u16::MAX);
        let made = self
            .issuer(self.membership.slots.slot(listener, 0))
            .and_then(|issuer| configs(self.endpoint_parts(index, issuer)));
        let quic = made.map_err(|source| GatewayError::Bind {
            address: self.plan.config.listen[index].addr.to_string(),
            source,
        })?;
        let tcp = self.plan.identities.of(index);
        Ok(Protocols {
            quic,
            tcp: tcp.map(|tls| Arc::clone(&tls.tcp)),
        })
    }

    fn endpoint_parts(&self, index: usize, issuer: Issuer) -> EndpointParts<'_> {
        EndpointParts {
            tls: Arc::clone(self.plan.identities.quic(index)),
            issuer,
            application: self.plan.application,
            quic: &self.plan.config.quic,
            limits: &self.plan.config.limits,
            datagram_bytes: self.plan.config.datagram_bytes(),
            max_udp_payload: self.plan.max_udp_payload,
            qlog: self.plan.qlog,
        }
    }

    /// Each worker has a lane of nonces of its own.
    fn issuer(&self, slot: Slot) -> io::Result<Issuer> {
        let membership = self.membership;
        let lane = membership.slots.lane(slot);
        let mint = if self.plan.config.cid.dangerous_short_nonce {
            Minter::dangerous_short_nonce
        } else {
            Minter::new
        };
        let (id, hash) = (membership.identity.server_id(), membership.slots.hash());
        // So each connection ID belongs to one endpoint, and no other resets it.
        let make = Make::new(move |config, start| {
            mint(config, id, lane, start).and_then(|minter| minter.with_worker_hash(hash))
        });
        Ok(Issuer::new(
            Minters::new(membership.cids.clone(), make)?,
            Arc::clone(self.steering),
            self.tokens.clone(),
            self.plan.config.quic.cid_lifetime,
        ))
    }
}

/// Binds both sockets of a listener. With port 0 the system gives the UDP port and the TCP port is to
/// be the same; where another process has that one, another is asked for.
pub(super) fn bind(listen: &Listen, workers: NonZeroU16) -> io::Result<Sockets> {
    let mut attempts = if listen.addr.port() == 0 {
        PORT_ATTEMPTS
    } else {
        1
    };
    loop {
        attempts -= 1;
        let udp = bind_udp_group(listen.addr, workers)?;
        if !listen.tcp {
            return Ok(Sockets { udp, tcp: None });
        }
        let address = SocketAddr::new(listen.addr.ip(), udp[0].local_addr()?.port());
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
    enlarge(&socket)?;
    Ok(socket)
}

fn bind_udp_group(address: SocketAddr, sockets: NonZeroU16) -> io::Result<Vec<UdpSocket>> {
    let group = sys::socket::bind_udp_group(address, sockets)?;
    group.iter().try_for_each(enlarge)?;
    Ok(group)
}

fn enlarge(socket: &UdpSocket) -> io::Result<()> {
    let wanted = Buffers {
        receive: SOCKET_BUFFER,
        send: SOCKET_BUFFER,
    };
    let granted = sys::socket::request_buffers(socket, wanted)?;
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
    Ok(())
}

const PORT_ATTEMPTS: u32 = 16;
/// Holds 60 ms of packets at 500 Mbit/s, longer than a busy core keeps a task waiting.
const SOCKET_BUFFER: usize = 4 << 20;

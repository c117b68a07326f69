use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use quinn::udp::{EcnCodepoint, Transmit, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::wire::{Ecn, Path};

/// A bound UDP socket on which this process answers clients.
pub(crate) struct Port {
    pub(super) io: UdpSocket,
    pub(super) state: UdpSocketState,
    local: SocketAddr,
}

impl Port {
    /// Wraps a bound socket. Needs a tokio runtime.
    pub(crate) fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let state = UdpSocketState::new((&socket).into())?;
        let io = UdpSocket::from_std(socket)?;
        Ok(Self {
            local: io.local_addr()?,
            io,
            state,
        })
    }

    /// Where it is bound.
    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Whether datagrams to this address reach it.
    pub(crate) fn covers(&self, address: SocketAddr) -> bool {
        covers(self.local, address)
    }

    /// Sends without waiting; addresses are in canonical form.
    pub(super) fn send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let transmit = Transmit {
            src_ip: transmit
                .src_ip
                .map(|ip| self.own_form(SocketAddr::new(ip, 0)).ip()),
            destination: self.own_form(transmit.destination),
            ecn: transmit.ecn,
            contents: transmit.contents,
            segment_size: transmit.segment_size,
        };
        self.io.try_io(Interest::WRITABLE, || {
            self.state.send((&self.io).into(), &transmit)
        })
    }

    /// Sends datagrams of `size` bytes, of which the last may be shorter, back along a path, in as few
    /// system calls as segmentation offload allows. What the socket has no room for is lost, as on any
    /// network.
    pub(crate) fn answer(&self, (bytes, size): (&[u8], usize), path: Path, ecn: Ecn) {
        let most = size * self.state.max_gso_segments().min(MAX_BATCH / size).max(1);
        for contents in bytes.chunks(most) {
            let transmit = Transmit {
                destination: path.source,
                ecn: codepoint(ecn),
                contents,
                segment_size: (contents.len() > size).then_some(size),
                src_ip: specified(path.destination.ip()),
            };
            drop(self.send(&transmit));
        }
    }

    /// The form of an address that the system takes for this socket.
    fn own_form(&self, address: SocketAddr) -> SocketAddr {
        match address {
            SocketAddr::V4(v4) if self.local.is_ipv6() => {
                SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port())
            }
            own => own,
        }
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Port").field(&self.local).finish()
    }
}

/// Whether datagrams to this address reach a socket that is bound to `bound`.
pub(super) fn covers(bound: SocketAddr, address: SocketAddr) -> bool {
    let ip = bound.ip();
    let any = ip.is_unspecified() && (ip.is_ipv6() || address.is_ipv4());
    bound.port() == address.port() && (any || ip.to_canonical() == address.ip())
}

/// The one form of an address that is used above sockets.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

/// What a socket bound to all addresses cannot tell is left to the system.
pub(super) fn specified(ip: IpAddr) -> Option<IpAddr> {
    (!ip.is_unspecified()).then_some(ip)
}

/// Translates from quinn's form of the ECN codepoint.
pub(super) fn mark(ecn: Option<EcnCodepoint>) -> Ecn {
    ecn.map_or(Ecn::NotEct, |ecn| Ecn::from_bits(ecn as u8))
}

/// Translates to quinn's form of the ECN codepoint.
pub(super) fn codepoint(ecn: Ecn) -> Option<EcnCodepoint> {
    EcnCodepoint::from_bits(ecn.bits())
}

/// The kernel sends at most 64 KiB in one call, headers included.
const MAX_BATCH: usize = 60_000;

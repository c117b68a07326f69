//! Sockets of a listener, with the options that the standard library does not set.

#![expect(
    unsafe_code,
    reason = "SO_RCVBUFFORCE, SO_SNDBUFFORCE, SO_MEMINFO, TCP_FASTOPEN and the ban of fragments have no safe form in the libraries used"
)]

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::num::NonZeroU16;
use std::os::fd::{AsFd, AsRawFd};

use socket2::{Domain, Protocol, Socket, Type};

/// Binds a UDP socket that does not block; `[::]` also takes IPv4.
///
/// The port is not shared: a second process on the same address is an error, not a silent half of
/// the datagrams.
pub fn bind_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    bind(&socket, address)?;
    Ok(socket.into())
}

/// Binds a group of UDP sockets to one address, among which the kernel spreads what arrives
/// (`SO_REUSEPORT`); of one socket it is [`bind_udp`].
///
/// The first socket is bound as [`bind_udp`] does it, before it lets the others in, so an address that
/// another process has is an error here too.
pub fn bind_udp_group(address: SocketAddr, sockets: NonZeroU16) -> io::Result<Vec<UdpSocket>> {
    let first = bind_udp(address)?;
    if sockets == NonZeroU16::MIN {
        return Ok(vec![first]);
    }
    let address = first.local_addr()?;
    socket2::SockRef::from(&first).set_reuse_port(true)?;
    let mut group = vec![first];
    for _ in 1..sockets.get() {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_port(true)?;
        bind(&socket, address)?;
        group.push(socket.into());
    }
    Ok(group)
}

/// Binds a TCP listener that does not block; `[::]` also takes IPv4.
///
/// The address can be bound again at once after a restart, while connections of the process before
/// are still in TIME-WAIT.
pub fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    bind(&socket, address)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Takes the first data of clients together with their SYN (RFC 7413), of so many at once as wait to be
/// accepted.
///
/// Beside this the kernel asks for bit 2 of `net.ipv4.tcp_fastopen`, without which nothing changes.
///
/// # Errors
/// The system's.
pub fn enable_fast_open(listener: &TcpListener, waiting: u16) -> io::Result<()> {
    set_option(
        listener,
        (libc::IPPROTO_TCP, libc::TCP_FASTOPEN),
        waiting.into(),
    )
}

/// Has a socket that is not connected yet send what is written first with its SYN, where it has a cookie
/// of the other side (RFC 7413); else it connects and asks for one.
///
/// # Errors
/// The system's.
pub fn connect_with_data(socket: &impl AsFd) -> io::Result<()> {
    set_option(socket, (libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT), 1)
}

/// Bytes that a socket may queue in each direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffers {
    /// Received and not yet read.
    pub receive: usize,
    /// Written and not yet sent.
    pub send: usize,
}

/// Asks for buffers of these sizes and returns what the kernel granted.
///
/// Without privilege the kernel grants no more than `net.core.rmem_max` and `net.core.wmem_max`.
pub fn request_buffers(socket: &impl AsFd, wanted: Buffers) -> io::Result<Buffers> {
    let socket = socket2::SockRef::from(socket);
    if force(&socket, libc::SO_RCVBUFFORCE, wanted.receive).is_err() {
        socket.set_recv_buffer_size(wanted.receive)?;
    }
    if force(&socket, libc::SO_SNDBUFFORCE, wanted.send).is_err() {
        socket.set_send_buffer_size(wanted.send)?;
    }
    Ok(Buffers {
        receive: socket.recv_buffer_size()? / ACCOUNTING,
        send: socket.send_buffer_size()? / ACCOUNTING,
    })
}

/// Counts the datagrams that the kernel dropped since the socket was made because its receive
/// buffer was full or a checksum wrong. Wraps at 2^32.
pub fn dropped_datagrams(socket: &impl AsFd) -> io::Result<u32> {
    let mut counters = [0_u32; MEMINFO_VARS];
    let mut length = length_of::<[u32; MEMINFO_VARS]>();
    // SAFETY: the kernel writes at most `length` bytes, the size of `counters`, which both outlive
    // the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            counters.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        Ok(counters[MEMINFO_DROPS])
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Makes a UDP socket that does not block, is connected to this address, and sends packets that no node
/// fragments, this one included: one that is too large for its link is an error (`EMSGSIZE`).
///
/// # Errors
/// The system's; the address may be out of reach.
pub fn connect_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    socket.set_nonblocking(true)?;
    // PROBE sets the bit that forbids fragments, and heeds no ICMP message that anybody may have forged.
    if address.is_ipv4() {
        let option = (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER);
        set_option(&socket, option, libc::IP_PMTUDISC_PROBE)?;
    } else {
        let option = (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER);
        set_option(&socket, option, libc::IPV6_PMTUDISC_PROBE)?;
        set_option(&socket, (libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG), 1)?;
    }
    socket.connect(&address.into())?;
    Ok(socket.into())
}

fn bind(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())
}

fn force(socket: &Socket, option: libc::c_int, bytes: usize) -> io::Result<()> {
    let value = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    set_option(socket, (libc::SOL_SOCKET, option), value)
}

fn set_option(
    socket: &impl AsFd,
    (level, option): (libc::c_int, libc::c_int),
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the kernel reads as many bytes as `value` has, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            length_of::<libc::c_int>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn length_of<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).expect("option values take a few bytes")
}

/// Connections that the kernel completes before they are accepted; more are refused, which a
/// client notices sooner than a long queue.
const BACKLOG: i32 = 1024;
/// Linux doubles a requested size to pay for its own bookkeeping, and reports the double
/// (socket(7)).
const ACCOUNTING: usize = 2;
const MEMINFO_DROPS: usize = libc::SK_MEMINFO_DROPS as usize;
const MEMINFO_VARS: usize = MEMINFO_DROPS + 1;

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream};

    use super::*;

    const ANY: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);
    const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    #[test]
    fn udp_on_any_address_takes_both_families() {
        let socket = bind_udp(ANY).unwrap();
        socket.set_nonblocking(false).unwrap();
        let port = socket.local_addr().unwrap().port();
        for client in ["127.0.0.1:0", "[::1]:0"] {
            let client = UdpSocket::bind(client).unwrap();
            let to = SocketAddr::new(client.local_addr().unwrap().ip(), port);
            client.send_to(b"hello", to).unwrap();
            let mut buffer = [0; 16];
            let (length, from) = socket.recv_from(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"hello");
            assert_eq!(from.ip().to_canonical(), client.local_addr().unwrap().ip());
        }
    }

    #[test]
    fn tcp_on_any_address_takes_both_families() {
        let listener = bind_tcp(ANY).unwrap();
        listener.set_nonblocking(false).unwrap();
        let port = listener.local_addr().unwrap().port();
        for client in ["127.0.0.1", "::1"] {
            let client = TcpStream::connect((client, port)).unwrap();
            let (_stream, from) = listener.accept().unwrap();
            assert_eq!(from.port(), client.local_addr().unwrap().port());
        }
    }

    #[test]
    fn two_sockets_on_one_address_are_an_error() {
        let udp = bind_udp(LOOPBACK).unwrap();
        let tcp = bind_tcp(LOOPBACK).unwrap();
        let again = bind_udp(udp.local_addr().unwrap()).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AddrInUse);
        let again = bind_tcp(tcp.local_addr().unwrap()).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_tcp_address_is_free_again_at_once() {
        let listener = bind_tcp(LOOPBACK).unwrap();
        listener.set_nonblocking(false).unwrap();
        let address = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(address).unwrap();
        drop(listener.accept().unwrap());
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
        drop(client);
        drop(listener);
        bind_tcp(address).unwrap();
    }

    #[test]
    fn a_listener_can_be_told_to_take_data_with_a_syn() {
        let listener = bind_tcp(LOOPBACK).unwrap();
        enable_fast_open(&listener, 16).unwrap();
        enable_fast_open(&listener, 0).unwrap();
    }

    #[test]
    fn a_connected_socket_hears_its_peer_alone() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let peer = UdpSocket::bind(any).unwrap();
            let stranger = UdpSocket::bind(any).unwrap();
            let socket = connect_udp(peer.local_addr().unwrap()).unwrap();
            socket.set_nonblocking(false).unwrap();
            let to = socket.local_addr().unwrap();
            stranger.send_to(b"stranger", to).unwrap();
            peer.send_to(b"peer", to).unwrap();
            let mut buffer = [0; 16];
            let length = socket.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"peer");
        }
    }

    #[test]
    fn no_packet_of_a_connected_socket_is_fragmented() {
        // What one packet carries, a link with a smaller MTU would have to send in fragments.
        let peer = UdpSocket::bind(LOOPBACK).unwrap();
        let socket = connect_udp(peer.local_addr().unwrap()).unwrap();
        let mut value: libc::c_int = -1;
        let mut length = length_of::<libc::c_int>();
        // SAFETY: the kernel writes at most `length` bytes, the size of `value`.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_IP,
                libc::IP_MTU_DISCOVER,
                (&raw mut value).cast(),
                &raw mut length,
            )
        };
        assert_eq!((result, value), (0, libc::IP_PMTUDISC_PROBE));
    }

    #[test]
    fn buffers_report_what_was_granted() {
        let socket = bind_udp(LOOPBACK).unwrap();
        let wanted = Buffers {
            receive: 64 << 10,
            send: 32 << 10,
        };
        assert_eq!(request_buffers(&socket, wanted).unwrap(), wanted);
    }

    #[test]
    fn datagrams_beyond_the_buffer_are_counted() {
        let socket = bind_udp(LOOPBACK).unwrap();
        let small = Buffers {
            receive: 4 << 10,
            send: 64 << 10,
        };
        request_buffers(&socket, small).unwrap();
        assert_eq!(dropped_datagrams(&socket).unwrap(), 0);
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..100 {
            client
                .send_to(&[0; 1200], socket.local_addr().unwrap())
                .unwrap();
        }
        assert!(dropped_datagrams(&socket).unwrap() > 50);
    }
}

//! Sockets that read and write whole IPv4 packets at an interface (packet(7)), in batches, with the
//! kernel's times.

#![expect(
    unsafe_code,
    reason = "packet sockets, recvmmsg and sendmmsg have no safe form in the libraries used"
)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::socket::{Buffers, request_buffers};
use super::timer::Clocks;

/// A socket that gets every IPv4 packet which comes in at one interface, also those for others, and
/// sends packets out of it.
#[derive(Debug)]
pub struct LinkSocket {
    socket: OwnedFd,
    interface: i32,
    dropped: AtomicU64,
}

/// The address of a network interface.
pub type HardwareAddress = [u8; 6];

/// Room for packets that are received together.
#[derive(Debug)]
pub struct Batch {
    room: usize,
    bytes: Vec<u8>,
    received: Vec<Received>,
    control: [Control; BATCH],
}

/// A packet in a [`Batch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival<'a> {
    /// When the kernel took it from the interface, and so when its sender sent it.
    pub at: Instant,
    /// The packet without the link's header.
    pub bytes: &'a [u8],
    /// Whether it was longer than the batch has room for, and `bytes` is its beginning.
    pub truncated: bool,
}

impl LinkSocket {
    /// Listens at the interface of this index in the network namespace of the calling thread.
    ///
    /// # Errors
    /// The system's: `EPERM` without the capability `CAP_NET_RAW` in that namespace.
    pub fn open(interface: u32) -> io::Result<Self> {
        // Without a protocol it gets nothing until it is bound to one interface.
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, None)?;
        let buffers = Buffers {
            receive: BUFFER,
            send: BUFFER,
        };
        request_buffers(&socket, buffers)?;
        let made = Self {
            socket: socket.into(),
            interface: interface.cast_signed(),
            dropped: AtomicU64::new(0),
        };
        made.set_option(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS)?;
        let address = made.address(HardwareAddress::default());
        // SAFETY: the kernel reads as many bytes as the address has, which outlives the call.
        let result = unsafe {
            libc::bind(
                made.socket.as_raw_fd(),
                (&raw const address).cast(),
                length_of::<libc::sockaddr_ll>(),
            )
        };
        check(result)?;
        Ok(made)
    }

    /// Takes what waits, at most [`Batch::PACKETS`], in place of what the batch held. Never blocks;
    /// the batch is empty when nothing waits.
    ///
    /// # Errors
    /// The system's: `ENETDOWN` once when the interface went down.
    pub fn receive(&self, batch: &mut Batch) -> io::Result<()> {
        batch.received.clear();
        let mut pieces = [EMPTY_PIECE; BATCH];
        let mut messages = [EMPTY_MESSAGE; BATCH];
        let slots = batch.bytes.chunks_exact_mut(batch.room);
        let parts = slots.zip(&mut batch.control).zip(&mut pieces);
        for (((slot, control), piece), message) in parts.zip(&mut messages) {
            piece.iov_base = slot.as_mut_ptr().cast();
            piece.iov_len = slot.len();
            message.msg_hdr.msg_iov = piece;
            message.msg_hdr.msg_iovlen = 1;
            message.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
            message.msg_hdr.msg_controllen = CONTROL;
        }
        // SAFETY: every message points to a slot, a control buffer and a piece of its own with their
        // true lengths; all of them outlive the call.
        let count = unsafe {
            libc::recvmmsg(
                self.socket.as_raw_fd(),
                messages.as_mut_ptr(),
                BATCH_COUNT,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let Ok(count) = usize::try_from(count) else {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(()),
                _ => Err(error),
            };
        };
        let clocks = Clocks::read();
        for (message, control) in messages[..count].iter().zip(&batch.control) {
            let header = &message.msg_hdr;
            let stamp = timestamp(&control.0[..header.msg_controllen.min(CONTROL)]);
            batch.received.push(Received {
                at: stamp.map_or(clocks.instant, |stamp| clocks.instant_of(stamp)),
                length: (message.msg_len as usize).min(batch.room),
                truncated: header.msg_flags & libc::MSG_TRUNC != 0,
            });
        }
        Ok(())
    }

    /// Sends packets, at most [`Batch::PACKETS`], to the interface with this address at the other end,
    /// and gives how many were sent. Waits while the socket's buffer is full, which the
    /// kernel empties by itself.
    ///
    /// # Errors
    /// The system's, about the first packet: `ENETDOWN` or `ENXIO` when the interface is not there any
    /// more, `EMSGSIZE` when the packet is longer than its MTU.
    #[expect(
        single_use_lifetimes,
        reason = "it cannot be left out within an `impl`"
    )]
    pub fn send<'a>(
        &self,
        to: HardwareAddress,
        packets: impl Iterator<Item = &'a [u8]>,
    ) -> io::Result<usize> {
        let mut address = self.address(to);
        let mut pieces = [EMPTY_PIECE; BATCH];
        let mut messages = [EMPTY_MESSAGE; BATCH];
        let mut count = 0;
        for ((packet, piece), message) in packets.zip(&mut pieces).zip(&mut messages) {
            piece.iov_base = packet.as_ptr().cast_mut().cast();
            piece.iov_len = packet.len();
            message.msg_hdr.msg_iov = piece;
            message.msg_hdr.msg_iovlen = 1;
            message.msg_hdr.msg_name = (&raw mut address).cast();
            message.msg_hdr.msg_namelen = length_of::<libc::sockaddr_ll>();
            count += 1;
        }
        // SAFETY: the first `count` messages point to a packet, a piece and the address with their true
        // lengths; the kernel only reads them, and all of them outlive the call.
        let sent =
            unsafe { libc::sendmmsg(self.socket.as_raw_fd(), messages.as_mut_ptr(), count, 0) };
        usize::try_from(sent).map_err(|_negative| io::Error::last_os_error())
    }

    /// Counts the packets that the kernel dropped since the socket was made because its buffer was
    /// full.
    ///
    /// # Errors
    /// The system's.
    pub fn dropped(&self) -> io::Result<u64> {
        let mut statistics = [0_u32; 2];
        let mut length = length_of::<[u32; 2]>();
        // SAFETY: the kernel writes at most `length` bytes, the size of `statistics`, which both
        // outlive the call.
        let result = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                statistics.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        check(result)?;
        // The kernel begins anew with each reading.
        let [_, dropped] = statistics;
        let dropped = u64::from(dropped);
        Ok(self.dropped.fetch_add(dropped, Ordering::Relaxed) + dropped)
    }

    fn set_option(&self, level: libc::c_int, option: libc::c_int) -> io::Result<()> {
        let on: libc::c_int = 1;
        // SAFETY: the kernel reads as many bytes as `on` has, which outlives the call.
        let result = unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                level,
                option,
                (&raw const on).cast(),
                length_of::<libc::c_int>(),
            )
        };
        check(result)
    }

    fn address(&self, hardware: HardwareAddress) -> libc::sockaddr_ll {
        let mut octets = [0; 8];
        octets[..hardware.len()].copy_from_slice(&hardware);
        libc::sockaddr_ll {
            sll_family: FAMILY,
            sll_protocol: IPV4.to_be(),
            sll_ifindex: self.interface,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 6,
            sll_addr: octets,
        }
    }
}

impl AsFd for LinkSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Batch {
    /// The most packets that one holds.
    pub const PACKETS: usize = BATCH;

    /// Makes room for packets of this length, from 1 byte.
    pub fn new(longest: u16) -> Self {
        let room = usize::from(longest.max(1));
        Self {
            room,
            bytes: vec![0; room * BATCH],
            received: Vec::with_capacity(BATCH),
            control: [Control([0; CONTROL]); BATCH],
        }
    }

    /// The packets that it holds, in the order in which they came.
    pub fn packets(&self) -> impl ExactSizeIterator<Item = Arrival<'_>> {
        let slots = self.bytes.chunks_exact(self.room);
        slots.zip(&self.received).map(|(slot, received)| Arrival {
            at: received.at,
            bytes: &slot[..received.length],
            truncated: received.truncated,
        })
    }
}

#[derive(Clone, Copy, Debug)]
struct Received {
    at: Instant,
    length: usize,
    truncated: bool,
}

/// Room for the control messages of a packet, aligned as the kernel wants it (cmsg(3)).
#[derive(Clone, Copy, Debug)]
#[repr(align(8))]
struct Control([u8; CONTROL]);

/// The kernel's time in a control message, since the epoch of the wall clock.
fn timestamp(control: &[u8]) -> Option<Duration> {
    let (header, body) = control.split_at_checked(HEADER)?;
    let expected = [
        libc::SOL_SOCKET.to_ne_bytes(),
        libc::SCM_TIMESTAMPNS.to_ne_bytes(),
    ];
    if header[size_of::<usize>()..] != *expected.as_flattened() {
        return None;
    }
    let (words, _) = body.as_chunks::<8>();
    let [seconds, nanoseconds] = [*words.first()?, *words.get(1)?].map(i64::from_ne_bytes);
    Some(Duration::new(
        u64::try_from(seconds).ok()?,
        u32::try_from(nanoseconds).ok()?,
    ))
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn length_of<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).expect("addresses and options take a few bytes")
}

const EMPTY_PIECE: libc::iovec = libc::iovec {
    iov_base: std::ptr::null_mut(),
    iov_len: 0,
};
const EMPTY_MESSAGE: libc::mmsghdr = libc::mmsghdr {
    msg_hdr: libc::msghdr {
        msg_name: std::ptr::null_mut(),
        msg_namelen: 0,
        msg_iov: std::ptr::null_mut(),
        msg_iovlen: 0,
        msg_control: std::ptr::null_mut(),
        msg_controllen: 0,
        msg_flags: 0,
    },
    msg_len: 0,
};
const BATCH: usize = 64;
#[expect(
    clippy::cast_possible_truncation,
    clippy::as_conversions,
    reason = "64 fits"
)]
const BATCH_COUNT: libc::c_uint = BATCH as libc::c_uint;
/// A control message begins with its length, level and type.
const HEADER: usize = size_of::<usize>() + 2 * size_of::<libc::c_int>();
const CONTROL: usize = HEADER + 16 + 8;
#[expect(
    clippy::cast_possible_truncation,
    clippy::as_conversions,
    reason = "17 fits"
)]
const FAMILY: u16 = libc::AF_PACKET as u16;
/// The type that Ethernet has for it.
const IPV4: u16 = 0x0800;
/// Some milliseconds of the fastest traffic, or what the system grants.
const BUFFER: usize = 8 << 20;

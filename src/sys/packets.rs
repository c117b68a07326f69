//! Unix sockets between processes of one machine that keep messages apart, tell when the other end
//! is gone, and carry descriptors.

#![expect(
    unsafe_code,
    reason = "descriptors arrive as numbers, which no library used turns into owned ones"
)]

use std::fs::{self, Permissions};
use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use socket2::{Domain, MaybeUninitSlice, MsgHdr, MsgHdrMut, SockAddr, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A unix socket of type `SOCK_SEQPACKET`, which never blocks.
///
/// A datagram socket would hold `net.unix.max_dgram_qlen` messages, 10 by default, of all senders
/// together, and would not tell of a peer that is gone.
#[derive(Debug)]
pub struct PacketSocket(Socket);

impl PacketSocket {
    /// The most descriptors in one message.
    pub const MAX_DESCRIPTORS: usize = 128;

    /// Makes two sockets that are connected to each other.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = Socket::pair(Domain::UNIX, Type::SEQPACKET, None)?;
        a.set_nonblocking(true)?;
        b.set_nonblocking(true)?;
        Ok((Self(a), Self(b)))
    }

    /// Listens at a path that does not exist yet, with mode 0600.
    pub fn listen(path: &Path) -> io::Result<Self> {
        let socket = Self::new()?;
        socket.0.bind(&SockAddr::unix(path)?)?;
        // Until `listen` the kernel refuses connections, so nobody connects before the mode is set.
        let listen = || {
            fs::set_permissions(path, Permissions::from_mode(0o600))?;
            socket.0.listen(BACKLOG)
        };
        match listen() {
            Ok(()) => Ok(socket),
            Err(error) => {
                drop(fs::remove_file(path));
                Err(error)
            }
        }
    }

    /// Connects to a path.
    ///
    /// # Errors
    /// [`io::ErrorKind::ConnectionRefused`] when nobody listens there any more, and
    /// [`io::ErrorKind::WouldBlock`] when whoever listens does not accept fast enough.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let socket = Self::new()?;
        socket.0.connect(&SockAddr::unix(path)?)?;
        Ok(socket)
    }

    /// Takes the next connection to a listening socket.
    pub fn accept(&self) -> io::Result<Self> {
        let (socket, _) = self.0.accept()?;
        socket.set_nonblocking(true)?;
        Ok(Self(socket))
    }

    /// Takes a descriptor if it is a connected socket of this type.
    pub fn from_descriptor(descriptor: OwnedFd) -> io::Result<Self> {
        let socket = Socket::from(descriptor);
        if socket.r#type()? != Type::SEQPACKET || !socket.peer_addr()?.is_unix() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        socket.set_nonblocking(true)?;
        Ok(Self(socket))
    }

    /// Asks that so many bytes of messages may be under way; the kernel may grant fewer.
    pub fn request_queue(&self, bytes: usize) -> io::Result<()> {
        self.0.set_send_buffer_size(bytes)
    }

    /// Sends one message, which must not be empty, made of these pieces.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when the other end reads too slowly, and
    /// [`io::ErrorKind::BrokenPipe`] when it is gone.
    pub fn send(&self, pieces: &[IoSlice<'_>]) -> io::Result<()> {
        self.0
            .sendmsg(&MsgHdr::new().with_buffers(pieces), libc::MSG_NOSIGNAL)
            .map(drop)
    }

    /// Sends one message with at most [`Self::MAX_DESCRIPTORS`] descriptors.
    pub fn send_with(&self, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        if descriptors.is_empty() {
            return self.send(&[IoSlice::new(message)]);
        }
        if descriptors.len() > Self::MAX_DESCRIPTORS {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut control = Vec::new();
        control.extend((HEADER + descriptors.len() * size_of::<RawFd>()).to_ne_bytes());
        control.extend(libc::SOL_SOCKET.to_ne_bytes());
        control.extend(libc::SCM_RIGHTS.to_ne_bytes());
        for descriptor in descriptors {
            control.extend(descriptor.as_raw_fd().to_ne_bytes());
        }
        control.resize(control.len().next_multiple_of(ALIGN), 0);
        let pieces = [IoSlice::new(message)];
        let header = MsgHdr::new().with_buffers(&pieces).with_control(&control);
        self.0.sendmsg(&header, libc::MSG_NOSIGNAL).map(drop)
    }

    /// Receives one message into `buffer` and gives its length; 0 is the end.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.0).read(buffer)
    }

    /// Receives one message of at most `limit` bytes, with its descriptors; an empty one is the end.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] when the message is longer, or has more than
    /// [`Self::MAX_DESCRIPTORS`].
    pub fn receive_with(&self, limit: usize) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
        let mut message = vec![MaybeUninit::new(0); limit];
        let mut control = vec![MaybeUninit::new(0); CONTROL];
        let mut pieces = [MaybeUninitSlice::new(&mut message)];
        let mut header = MsgHdrMut::new()
            .with_buffers(&mut pieces)
            .with_control(&mut control);
        let received = self.0.recvmsg(&mut header, libc::MSG_CMSG_CLOEXEC)?;
        let (filled, truncated) = (header.control_len(), header.flags().is_truncated());
        let descriptors = descriptors(&initialised(&control[..filled]));
        if truncated || descriptors.len() > Self::MAX_DESCRIPTORS {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok((initialised(&message[..received]), descriptors))
    }

    /// Whether the other end still exists.
    pub fn is_connected(&self) -> bool {
        match self.0.peek(&mut [MaybeUninit::uninit()]) {
            Ok(received) => received > 0,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    fn new() -> io::Result<Self> {
        let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
        socket.set_nonblocking(true)?;
        Ok(Self(socket))
    }
}

/// A [`PacketSocket`] that a task waits for. Needs a tokio runtime; every method is cancel safe.
#[derive(Debug)]
pub struct WatchedPackets(AsyncFd<Arc<PacketSocket>>);

impl WatchedPackets {
    /// Waits for what happens at this socket.
    pub fn new(socket: Arc<PacketSocket>) -> io::Result<Self> {
        // SAFETY: the descriptor stays open as long as the socket, and no `PacketSocket` gives it
        // away or takes another while it is shared.
        unsafe { AsyncFd::register(socket) }
            .map(Self)
            .map_err(io::Error::from)
    }

    /// Waits for the next connection to a listening socket.
    pub async fn accept(&self) -> io::Result<PacketSocket> {
        let accept = |socket: &Arc<PacketSocket>| socket.accept();
        self.0.async_io(Interest::READABLE, accept).await
    }

    /// Waits for the next message; see [`PacketSocket::receive`].
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let receive = |socket: &Arc<PacketSocket>| socket.receive(buffer);
        self.0.async_io(Interest::READABLE, receive).await
    }

    /// Waits for the next message and its descriptors; see [`PacketSocket::receive_with`].
    pub async fn receive_with(&self, limit: usize) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
        let receive = |socket: &Arc<PacketSocket>| socket.receive_with(limit);
        self.0.async_io(Interest::READABLE, receive).await
    }

    /// Waits for room for a message and its descriptors; see [`PacketSocket::send_with`].
    pub async fn send_with(
        &self,
        message: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let send = |socket: &Arc<PacketSocket>| socket.send_with(message, descriptors);
        self.0.async_io(Interest::WRITABLE, send).await
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for PacketSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl From<PacketSocket> for OwnedFd {
    fn from(socket: PacketSocket) -> Self {
        socket.0.into()
    }
}

fn initialised(bytes: &[MaybeUninit<u8>]) -> Vec<u8> {
    let byte = |byte: &MaybeUninit<u8>| {
        // SAFETY: every buffer here was made of initialised bytes.
        unsafe { byte.assume_init() }
    };
    bytes.iter().map(byte).collect()
}

/// Takes the descriptors out of control messages (cmsg(3)).
fn descriptors(mut control: &[u8]) -> Vec<OwnedFd> {
    let mut descriptors = Vec::new();
    while let Some((header, _)) = control.split_at_checked(HEADER) {
        let (length, kind) = header.split_at(size_of::<usize>());
        let length = usize::from_ne_bytes(length.try_into().expect("a word has its size"));
        let Some(body) = control.get(HEADER..length) else {
            break;
        };
        let rights = [
            libc::SOL_SOCKET.to_ne_bytes(),
            libc::SCM_RIGHTS.to_ne_bytes(),
        ];
        if kind == rights.as_flattened() {
            let (numbers, _) = body.as_chunks::<{ size_of::<RawFd>() }>();
            descriptors.extend(numbers.iter().map(|number| {
                // SAFETY: the kernel made this descriptor for this message, which is parsed once.
                unsafe { OwnedFd::from_raw_fd(RawFd::from_ne_bytes(*number)) }
            }));
        }
        control = control.get(length.next_multiple_of(ALIGN)..).unwrap_or(&[]);
    }
    descriptors
}

/// Connections that wait to be accepted: a node has few live processes.
const BACKLOG: i32 = 16;
/// A control message begins with its length, level and type, and the next one at this alignment.
const HEADER: usize = size_of::<usize>() + 2 * size_of::<libc::c_int>();
const ALIGN: usize = size_of::<usize>();
const CONTROL: usize = HEADER + PacketSocket::MAX_DESCRIPTORS * size_of::<RawFd>() + ALIGN;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn messages_keep_their_bounds_and_an_end_is_seen() {
        let (a, b) = PacketSocket::pair().unwrap();
        a.send(&[IoSlice::new(b"one "), IoSlice::new(b"message")])
            .unwrap();
        a.send(&[IoSlice::new(b"another")]).unwrap();
        let mut buffer = [0; 64];
        let first = b.receive(&mut buffer).unwrap();
        assert_eq!(&buffer[..first], b"one message");
        let second = b.receive(&mut buffer).unwrap();
        assert_eq!(&buffer[..second], b"another");
        let empty = b.receive(&mut buffer).unwrap_err();
        assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);
        assert!(b.is_connected());
        drop(a);
        assert!(!b.is_connected());
        assert_eq!(b.receive(&mut buffer).unwrap(), 0);
        let gone = b.send(&[IoSlice::new(b"hello")]).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn descriptors_travel_with_a_message() {
        let (a, b) = PacketSocket::pair().unwrap();
        let (mut sender, receiver) = std::os::unix::net::UnixStream::pair().unwrap();
        a.send_with(b"take", &[receiver.as_fd(), a.as_fd()])
            .unwrap();
        drop(receiver);
        let (message, mut descriptors) = b.receive_with(64).unwrap();
        assert_eq!((&message[..], descriptors.len()), (&b"take"[..], 2));
        let mut received = std::os::unix::net::UnixStream::from(descriptors.remove(0));
        sender.write_all(b"through").unwrap();
        let mut bytes = [0; 7];
        received.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"through");
        let info = format!("/proc/self/fdinfo/{}", descriptors[0].as_raw_fd());
        let flags = fs::read_to_string(info).unwrap();
        let flags = flags.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = i32::from_str_radix(flags.unwrap().trim(), 8).unwrap();
        assert_ne!(flags & libc::O_CLOEXEC, 0);
    }

    #[test]
    fn a_message_over_the_limit_is_an_error_and_its_descriptors_are_closed() {
        let (a, b) = PacketSocket::pair().unwrap();
        let (sender, receiver) = std::os::unix::net::UnixStream::pair().unwrap();
        a.send_with(&[0; 65], &[sender.as_fd()]).unwrap();
        drop(sender);
        let error = b.receive_with(64).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!((&receiver).read(&mut [0; 1]).unwrap(), 0);
    }

    #[test]
    fn many_messages_wait_and_then_the_sender_is_told() {
        let (a, _b) = PacketSocket::pair().unwrap();
        let sent = (0..100_000)
            .take_while(|_| a.send(&[IoSlice::new(&[0; 1200])]).is_ok())
            .count();
        assert!((50..100_000).contains(&sent), "{sent}");
    }

    #[test]
    fn standard_streams_and_other_sockets_are_refused() {
        let (stream, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        PacketSocket::from_descriptor(stream.into()).unwrap_err();
        let file = fs::File::open("/dev/null").unwrap();
        PacketSocket::from_descriptor(file.into()).unwrap_err();
        let (a, _b) = PacketSocket::pair().unwrap();
        PacketSocket::from_descriptor(a.into()).unwrap();
    }
}

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;

use quinn::udp::{EcnCodepoint, RecvMeta, Transmit, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// A UDP socket that receives in batches and sends what it can at once.
#[derive(Debug)]
pub(super) struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
}

/// Datagrams of one size from one sender, back to back; the last may be shorter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received<'a> {
    pub(super) from: SocketAddr,
    pub(super) contents: &'a [u8],
    pub(super) stride: usize,
    pub(super) ecn: Option<EcnCodepoint>,
}

/// Room for what one system call can receive.
#[derive(Debug)]
pub(super) struct Batch {
    buffers: [Box<[u8]>; BATCH],
    meta: [RecvMeta; BATCH],
    filled: usize,
}

impl Socket {
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let io = std::net::UdpSocket::bind(address)?;
        io.set_nonblocking(true)?;
        let options = socket2::SockRef::from(&io);
        // The system may grant less; then it drops and counts what does not fit.
        drop(options.set_recv_buffer_size(BUFFER));
        drop(options.set_send_buffer_size(BUFFER));
        let local = io.local_addr()?;
        let io = UdpSocket::from_std(io)?;
        let state = UdpSocketState::new((&io).into())?;
        Ok(Self { io, state, local })
    }

    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Waits for datagrams. Cancel safe: nothing is taken from the socket before it is returned.
    pub(super) async fn receive(&self, batch: &mut Batch) -> io::Result<()> {
        batch.filled = 0;
        let mut slices = batch.buffers.each_mut().map(|b| IoSliceMut::new(b));
        let meta = &mut batch.meta;
        batch.filled = self
            .io
            .async_io(Interest::READABLE, || {
                self.state.recv((&self.io).into(), &mut slices, meta)
            })
            .await?;
        Ok(())
    }

    /// Sends one datagram, or fails like a router whose link is full.
    pub(super) fn send(
        &self,
        to: SocketAddr,
        datagram: &[u8],
        ecn: Option<EcnCodepoint>,
    ) -> io::Result<()> {
        self.transmit(&Transmit {
            destination: to,
            ecn,
            contents: datagram,
            segment_size: None,
            src_ip: None,
        })
    }

    /// Sends datagrams of one size with as few system calls as the system allows.
    pub(super) fn send_many(&self, to: SocketAddr, datagrams: Received<'_>) -> io::Result<()> {
        let stride = datagrams.stride;
        for contents in datagrams
            .contents
            .chunks(stride * self.state.max_gso_segments())
        {
            self.transmit(&Transmit {
                destination: to,
                ecn: datagrams.ecn,
                contents,
                segment_size: (contents.len() > stride).then_some(stride),
                src_ip: None,
            })?;
        }
        Ok(())
    }

    fn transmit(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        // Not by way of the runtime, which takes a socket for full until it has heard of it.
        self.state.try_send((&self.io).into(), transmit)
    }
}

impl Received<'_> {
    pub(super) fn datagrams(&self) -> usize {
        self.contents.len().div_ceil(self.stride)
    }
}

impl Batch {
    pub(super) fn new() -> Self {
        Self {
            buffers: std::array::from_fn(|_| vec![0; MAX_GRO].into()),
            meta: [RecvMeta::default(); BATCH],
            filled: 0,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Received<'_>> {
        let filled = self.buffers.iter().zip(&self.meta).take(self.filled);
        filled
            .filter(|(_, meta)| meta.len > 0)
            .map(|(buffer, meta)| Received {
                from: meta.addr,
                contents: &buffer[..meta.len],
                stride: meta.stride,
                ecn: meta.ecn,
            })
    }
}

/// Messages in one system call; with GRO each holds up to 64 KiB.
const BATCH: usize = 8;
const MAX_GRO: usize = 64 << 10;
const BUFFER: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_new_socket_sends_at_once() {
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let (sender, receiver) = (Socket::bind(local).unwrap(), Socket::bind(local).unwrap());
        sender.send(receiver.local(), b"datagram", None).unwrap();
        let mut batch = Batch::new();
        receiver.receive(&mut batch).await.unwrap();
        let received: Vec<_> = batch.iter().map(|received| received.contents).collect();
        assert_eq!(received, [b"datagram"]);
    }
}

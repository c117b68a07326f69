use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use quinn::udp::EcnCodepoint;
use tokio::task::{AbortHandle, JoinSet};

use super::delay::{DelayLine, until};
use super::issuers::Issuers;
use crate::testbed::now;
use crate::testbed::socket::{Batch, Received, Socket};

/// What a NAT holds for one flow: a socket towards the nodes, and the way back to the client.
///
/// Dropping it loses what is on the way back.
#[derive(Debug)]
pub(super) struct Mapping {
    pub(super) socket: Arc<Socket>,
    replies: AbortHandle,
}

/// The side of the NATs that all flows share.
#[derive(Debug)]
pub(super) struct Nat {
    service: Arc<Socket>,
    nodes: Arc<[SocketAddr]>,
    issuers: Arc<Issuers>,
    delay: Duration,
    overflowed: Arc<AtomicU64>,
    addresses: u32,
    tasks: JoinSet<()>,
}

impl Nat {
    pub(super) fn new(
        service: Arc<Socket>,
        nodes: Arc<[SocketAddr]>,
        issuers: Arc<Issuers>,
        delay: Duration,
    ) -> Self {
        Self {
            service,
            nodes,
            issuers,
            delay,
            overflowed: Arc::default(),
            addresses: 0,
            tasks: JoinSet::new(),
        }
    }

    /// An address that no flow has had: 127.64.0.0 to 127.127.255.255 in order.
    pub(super) fn new_address(&mut self) -> Ipv4Addr {
        self.addresses = (self.addresses + 1) & ADDRESS_BITS;
        Ipv4Addr::from_bits(FIRST_ADDRESS + self.addresses)
    }

    /// Maps a client to a new port of this address. Since mappings are replaced, never closed
    /// before, the port differs from the flow's old one.
    pub(super) fn map(&mut self, client: SocketAddr, address: Ipv4Addr) -> io::Result<Mapping> {
        while self.tasks.try_join_next().is_some() {}
        let socket = Arc::new(Socket::bind((address, 0).into())?);
        let replies = Replies {
            client,
            socket: Arc::clone(&socket),
            service: Arc::clone(&self.service),
            nodes: Arc::clone(&self.nodes),
            issuers: Arc::clone(&self.issuers),
            line: DelayLine::new(self.delay, MAX_HELD),
            overflowed: Arc::clone(&self.overflowed),
        };
        Ok(Mapping {
            socket,
            replies: self.tasks.spawn(replies.run()),
        })
    }

    pub(super) fn overflowed(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        self.replies.abort();
    }
}

/// Datagrams of one size that travel together.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) contents: Bytes,
    pub(super) stride: usize,
    pub(super) ecn: Option<EcnCodepoint>,
}

impl Parcel {
    pub(super) fn copy(received: Received<'_>) -> Self {
        Self {
            contents: Bytes::copy_from_slice(received.contents),
            stride: received.stride,
            ecn: received.ecn,
        }
    }
}

/// Carries what the nodes send to one mapping back to its client, as from the service address.
struct Replies {
    client: SocketAddr,
    socket: Arc<Socket>,
    service: Arc<Socket>,
    nodes: Arc<[SocketAddr]>,
    issuers: Arc<Issuers>,
    line: DelayLine<Parcel>,
    overflowed: Arc<AtomicU64>,
}

impl Replies {
    async fn run(mut self) {
        let mut batch = Batch::new();
        loop {
            tokio::select! {
                received = self.socket.receive(&mut batch) => {
                    if received.is_err() {
                        return;
                    }
                    self.take(&batch);
                }
                () = until(self.line.due()) => self.deliver(),
            }
        }
    }

    fn take(&mut self, batch: &Batch) {
        let now = now();
        // Any node may answer, not only the one that the route leads to; nobody else may.
        for received in batch.iter() {
            let answering = self.nodes.iter().position(|node| *node == received.from);
            let Some(node) = answering else {
                continue;
            };
            for answer in received.contents.chunks(received.stride) {
                self.issuers.note(answer, node);
            }
            let datagrams = received.datagrams() as u64;
            if self
                .line
                .push(now, datagrams, Parcel::copy(received))
                .is_err()
            {
                self.overflowed.fetch_add(datagrams, Ordering::Relaxed);
            }
        }
    }

    fn deliver(&mut self) {
        let now = now();
        while let Some(parcel) = self.line.pop(now) {
            let datagrams = Received {
                from: self.socket.local(),
                contents: &parcel.contents,
                stride: parcel.stride,
                ecn: parcel.ecn,
            };
            if self.service.send_many(self.client, datagrams).is_err() {
                let datagrams = datagrams.datagrams() as u64;
                self.overflowed.fetch_add(datagrams, Ordering::Relaxed);
            }
        }
    }
}

/// Datagrams on one flow's way back; at 1400 bytes 11 MB, more than any window in use.
const MAX_HELD: u64 = 8192;
const FIRST_ADDRESS: u32 = 0x7f40_0000;
const ADDRESS_BITS: u32 = 0x003f_ffff;

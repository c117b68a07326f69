use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::slice::Chunks;
use std::sync::{Arc, Mutex};

use crate::edge::socket::udp::Transmit;
use arc_swap::ArcSwapOption;
use tokio::io::Interest;

use super::TunnelSocket;
use crate::fleet::{CountersExhausted, NodeId, Outgoing, OutgoingLane};
use crate::wire::{Cargo, Ecn, Path};

/// Seals datagrams for their owners and sends them, from within the socket's receive path.
#[derive(Debug)]
pub(crate) struct Forwarder {
    io: Arc<TunnelSocket>,
    routes: HashMap<NodeId, Route>,
    scratch: Mutex<Vec<u8>>,
}

#[derive(Debug)]
struct Route {
    relay: SocketAddr,
    outgoing: ArcSwapOption<Outgoing>,
}

impl Forwarder {
    pub(super) fn new(
        io: Arc<TunnelSocket>,
        relays: impl IntoIterator<Item = (NodeId, SocketAddr)>,
    ) -> Self {
        let route = |relay| Route {
            relay,
            outgoing: ArcSwapOption::empty(),
        };
        let routes = relays
            .into_iter()
            .map(|(id, relay)| (id, route(relay)))
            .collect();
        Self {
            io,
            routes,
            scratch: Mutex::default(),
        }
    }

    /// Uses these keys for the peer from now on.
    pub(super) fn confirm(&self, peer: NodeId, outgoing: Arc<Outgoing>) {
        if let Some(route) = self.routes.get(&peer) {
            route.outgoing.store(Some(outgoing));
        }
    }

    #[cfg(test)]
    pub(super) fn outgoing(&self, peer: NodeId) -> Option<Arc<Outgoing>> {
        self.routes.get(&peer)?.outgoing.load_full()
    }

    /// Sends datagrams of one path and one size, of which only the last may be shorter, in as few
    /// system calls as segmentation offload allows. Never waits.
    ///
    /// Gives how many were sent and, if not all of them were, the reason under which the others
    /// are counted; see [`super::DROP_REASONS`].
    pub(crate) fn send(
        &self,
        to: NodeId,
        datagrams: Chunks<'_, u8>,
        (cargo, path, ecn): (Cargo, Path, Ecn),
    ) -> (u64, Result<(), &'static str>) {
        let Some(route) = self.routes.get(&to) else {
            return (0, Err(UNKNOWN_PEER));
        };
        let outgoing = route.outgoing.load();
        let Some(outgoing) = outgoing.as_ref() else {
            return (0, Err(PEER_UNCONFIRMED));
        };
        let mut scratch = self.scratch.lock().expect("no holder panics");
        let outgoing = outgoing.lane(0).carrying(cargo);
        let mut batch = Batch::new(&mut scratch, self.io.state.max_gso_segments());
        let mut sent = 0;
        for datagram in datagrams {
            if batch.push(outgoing, datagram, (path, ecn)).is_err() {
                return (sent, Err(COUNTERS_EXHAUSTED));
            }
            if batch.is_full() {
                match self.transmit(route.relay, &batch) {
                    Ok(()) => sent += batch.clear(),
                    Err(reason) => return (sent, Err(reason)),
                }
            }
        }
        match self.transmit(route.relay, &batch) {
            Ok(()) => (sent + batch.clear(), Ok(())),
            Err(reason) => (sent, Err(reason)),
        }
    }

    fn transmit(&self, to: SocketAddr, batch: &Batch<'_>) -> Result<(), &'static str> {
        if batch.datagrams == 0 {
            return Ok(());
        }
        let transmit = Transmit {
            destination: to,
            ecn: None,
            contents: batch.bytes,
            segment_size: (batch.datagrams > 1).then_some(batch.segment),
            src_ip: None,
        };
        let socket = &self.io;
        let send = || socket.state.try_send((&socket.io).into(), &transmit);
        socket
            .io
            .try_io(Interest::WRITABLE, send)
            .map_err(|error| match error.kind() {
                io::ErrorKind::WouldBlock => TUNNEL_FULL,
                _ => TUNNEL_ERROR,
            })
    }
}

/// Sealed datagrams that one system call sends.
struct Batch<'a> {
    bytes: &'a mut Vec<u8>,
    segment: usize,
    datagrams: usize,
    most: usize,
}

impl<'a> Batch<'a> {
    fn new(bytes: &'a mut Vec<u8>, most: usize) -> Self {
        bytes.clear();
        Self {
            bytes,
            segment: 0,
            datagrams: 0,
            most,
        }
    }

    fn push(
        &mut self,
        outgoing: OutgoingLane<'_>,
        datagram: &[u8],
        (path, ecn): (Path, Ecn),
    ) -> Result<(), CountersExhausted> {
        let before = self.bytes.len();
        outgoing.seal(path, ecn, datagram, self.bytes)?;
        self.segment = self.segment.max(self.bytes.len() - before);
        self.datagrams += 1;
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.datagrams == self.most || self.bytes.len() + self.segment > MAX_BATCH
    }

    /// Empties the batch and gives how many datagrams it held.
    fn clear(&mut self) -> u64 {
        self.bytes.clear();
        u64::try_from(std::mem::take(&mut self.datagrams)).unwrap_or(u64::MAX)
    }
}

pub(super) const UNKNOWN_PEER: &str = "unknown_peer";
pub(super) const PEER_UNCONFIRMED: &str = "peer_unconfirmed";
pub(super) const COUNTERS_EXHAUSTED: &str = "counters_exhausted";
pub(super) const TUNNEL_FULL: &str = "tunnel_full";
pub(super) const TUNNEL_ERROR: &str = "tunnel_error";

/// The kernel sends at most 64 KiB in one call, headers included.
const MAX_BATCH: usize = 60_000;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::num::NonZero;
use std::slice::Chunks;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::edge::socket::udp::Transmit;
use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::io::Interest;

use super::TunnelSocket;
use crate::fleet::{CountersExhausted, NodeId, Outgoing, OutgoingLane};
use crate::wire::{Cargo, Ecn, Path};

/// Seals datagrams for their owners and sends them, from within the socket's receive path.
#[derive(Debug)]
pub(crate) struct Forwarder {
    io: Arc<TunnelSocket>,
    routes: ArcSwap<Routes>,
    /// One for each thread that may forward at the same time.
    lanes: Vec<Mutex<Vec<u8>>>,
}

type Routes = HashMap<NodeId, Arc<Route>>;

#[derive(Debug)]
struct Route {
    relay: SocketAddr,
    outgoing: ArcSwapOption<Outgoing>,
}

impl Forwarder {
    pub(super) fn new(io: Arc<TunnelSocket>) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self {
            io,
            routes: ArcSwap::default(),
            lanes: (0..threads.min(MAX_LANES))
                .map(|_| Mutex::default())
                .collect(),
        }
    }

    /// Reaches these peers from now on, and no others; those that stay keep their keys.
    pub(super) fn follow(&self, relays: impl IntoIterator<Item = (NodeId, SocketAddr)>) {
        let before = self.routes.load();
        let route = |node, relay| {
            let known = before.get(&node);
            match known.filter(|route| route.relay == relay) {
                Some(route) => Arc::clone(route),
                None => Arc::new(Route {
                    relay,
                    outgoing: known.map_or_else(ArcSwapOption::empty, |route| {
                        ArcSwapOption::new(route.outgoing.load_full())
                    }),
                }),
            }
        };
        let relays = relays.into_iter();
        let routes: Routes = relays
            .map(|(node, relay)| (node, route(node, relay)))
            .collect();
        self.routes.store(Arc::new(routes));
    }

    /// Uses these keys for the peer from now on.
    pub(super) fn confirm(&self, peer: NodeId, outgoing: Arc<Outgoing>) {
        if let Some(route) = self.routes.load().get(&peer) {
            route.outgoing.store(Some(outgoing));
        }
    }

    /// Where the peer's end of the tunnel is.
    pub(super) fn relay(&self, peer: NodeId) -> Option<SocketAddr> {
        self.routes.load().get(&peer).map(|route| route.relay)
    }

    /// Whose end of the tunnel is there.
    pub(super) fn peer_at(&self, relay: SocketAddr) -> Option<NodeId> {
        let routes = self.routes.load();
        let found = routes.iter().find(|(_, route)| route.relay == relay);
        found.map(|(node, _)| *node)
    }

    #[cfg(test)]
    pub(super) fn outgoing(&self, peer: NodeId) -> Option<Arc<Outgoing>> {
        self.routes.load().get(&peer)?.outgoing.load_full()
    }

    /// A lane of counters that nobody else uses at the moment, and a buffer.
    fn lane(&self) -> (u16, MutexGuard<'_, Vec<u8>>) {
        let numbered = (0..).zip(&self.lanes);
        let free = numbered.filter_map(|(number, lane)| Some((number, lane.try_lock().ok()?)));
        free.into_iter()
            .next()
            .unwrap_or_else(|| (0, self.lanes[0].lock().expect("no holder panics")))
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
        let routes = self.routes.load();
        let Some(route) = routes.get(&to) else {
            return (0, Err(UNKNOWN_PEER));
        };
        let outgoing = route.outgoing.load();
        let Some(outgoing) = outgoing.as_ref() else {
            return (0, Err(PEER_UNCONFIRMED));
        };
        let (lane, mut scratch) = self.lane();
        let outgoing = outgoing.lane(lane).carrying(cargo);
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
/// More threads than lanes of counters share them.
const MAX_LANES: usize = 256;

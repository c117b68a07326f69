//! The tunnel between nodes: datagrams that reached the wrong node go to their owner, and
//! heartbeats tell each node which process of its peers is alive.

mod forwarder;
mod receiver;
mod run;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::edge::socket::udp::UdpSocketState;
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

pub(crate) use forwarder::Forwarder;

use super::socket::Drops;
use super::steering::Steering;
use crate::fleet::{Association, NodeId};
use crate::telemetry::{self, Metrics};
use crate::wire::Challenge;

/// This node's end of the tunnels to all its peers.
#[derive(Debug)]
pub(crate) struct Tunnel {
    io: Arc<TunnelSocket>,
    own: NodeId,
    peers: HashMap<NodeId, Peer>,
    forwarder: Arc<Forwarder>,
    metrics: Metrics,
    drops: Drops,
    handed: (mpsc::Sender<Bytes>, mpsc::Receiver<Bytes>),
}

/// A peer and where its end of the tunnel is.
#[derive(Debug)]
pub(crate) struct Peer {
    relay: SocketAddr,
    association: Mutex<Association>,
}

#[derive(Debug)]
struct TunnelSocket {
    io: UdpSocket,
    state: UdpSocketState,
}

impl Peer {
    /// Describes a peer.
    pub(crate) fn new(relay: SocketAddr, association: Association) -> Self {
        Self {
            relay,
            association: Mutex::new(association),
        }
    }
}

impl Tunnel {
    /// Takes a bound socket and the peers. Needs a tokio runtime.
    pub(crate) fn new(
        socket: std::net::UdpSocket,
        own: NodeId,
        peers: impl IntoIterator<Item = Peer>,
        metrics: Metrics,
    ) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        let io = Arc::new(TunnelSocket {
            io: UdpSocket::from_std(socket)?,
            state,
        });
        let peers: HashMap<_, _> = peers.into_iter().map(|peer| (peer.id(), peer)).collect();
        let relays = peers.iter().map(|(id, peer)| (*id, peer.relay));
        let forwarder = Arc::new(Forwarder::new(Arc::clone(&io), relays));
        Ok(Self {
            io,
            own,
            peers,
            forwarder,
            drops: Drops::new(telemetry::UdpSocket::TUNNEL, metrics.clone()),
            metrics,
            handed: mpsc::channel(HANDED_QUEUE),
        })
    }

    /// Where siblings put tunnel datagrams that they cannot open.
    pub(crate) fn envelopes(&self) -> mpsc::Sender<Bytes> {
        self.handed.0.clone()
    }

    /// The way to the peers.
    pub(crate) fn forwarder(&self) -> Arc<Forwarder> {
        Arc::clone(&self.forwarder)
    }

    /// Sends heartbeats and takes what peers send, until told to stop.
    pub(crate) async fn serve(mut self, steering: Arc<Steering>, stop: CancellationToken) {
        let mut tick = tokio::time::interval(HEARTBEAT_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (never, nothing) = mpsc::channel(1);
        let (_kept, mut handed) = std::mem::replace(&mut self.handed, (never, nothing));
        let mut receiver = receiver::Receiver::new(&self, &steering);
        let reading = steering.reading();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {
                    // Peers are to hear of the process that reads, and of no other.
                    if reading.is_on() {
                        self.beat_all();
                    }
                    self.drops.count(&self.io.io);
                }
                () = reading.next(|| self.readable()) => receiver.receive(),
                Some(envelope) = handed.recv() => receiver.take_one(&envelope),
            }
        }
    }

    /// An error is about a datagram sent earlier (ICMP), never about this socket.
    async fn readable(&self) {
        drop(self.io.io.readable().await);
    }

    fn beat_all(&self) {
        for peer in self.peers.values() {
            self.beat(peer);
        }
    }

    /// Sends a heartbeat; one that the socket has no room for is lost, as on any network.
    fn beat(&self, peer: &Peer) {
        let mut challenge = [0; 16];
        if aws_lc_rs::rand::fill(&mut challenge).is_err() {
            return;
        }
        let mut heartbeat = Vec::with_capacity(HEARTBEAT_LEN);
        let mut association = peer.association.lock().expect("no holder panics");
        association.tick(Challenge(challenge));
        association.heartbeat(None, &mut heartbeat);
        drop(association);
        self.send(&heartbeat, peer);
    }

    fn send(&self, heartbeat: &[u8], peer: &Peer) {
        drop(self.io.io.try_send_to(heartbeat, peer.relay));
    }
}

impl Peer {
    fn id(&self) -> NodeId {
        self.association.lock().expect("no holder panics").peer()
    }
}

/// Every reason for which the tunnel drops a datagram that it should have carried or delivered.
pub(crate) const DROP_REASONS: [&str; 5] = [
    forwarder::UNKNOWN_PEER,
    forwarder::PEER_UNCONFIRMED,
    forwarder::COUNTERS_EXHAUSTED,
    forwarder::TUNNEL_FULL,
    forwarder::TUNNEL_ERROR,
];

/// Four heartbeats a second: with four answerable challenges, an answer counts for one second.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(250);
/// Envelopes that come from a sibling for as long as peers have not confirmed it.
const HANDED_QUEUE: usize = 1024;
const HEARTBEAT_LEN: usize = 86;

#[cfg(test)]
mod tests;

//! The tunnel between nodes: datagrams that reached the wrong node go to their owner, and
//! heartbeats tell each node which process of its peers is alive.

mod driver;
mod forwarder;
mod receiver;

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use driver::SnapshotRefused;
pub(crate) use driver::{FleetDriver, Followers};
pub(crate) use forwarder::Forwarder;

use super::socket::udp::UdpSocketState;
use super::socket::{Drops, Injector};
use super::steering::Steering;
use crate::cid::WorkerHash;
use crate::control::Snapshot;
use crate::fleet::Membership;
use crate::telemetry::{self, Metrics};
use crate::wire::Datagram;

/// This node's end of the tunnels to all its peers.
#[derive(Debug)]
pub(crate) struct Tunnel {
    io: Arc<TunnelSocket>,
    forwarder: Arc<Forwarder>,
    driver: Arc<FleetDriver>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    metrics: Metrics,
    drops: Drops,
}

/// Where datagrams from peers go: to the listener's endpoint that issued their connection ID.
#[derive(Clone, Debug)]
pub(crate) struct Endpoints {
    hash: WorkerHash,
    cid_len: usize,
    lanes: NonZeroU16,
    injectors: Vec<Injector>,
}

#[derive(Debug)]
struct TunnelSocket {
    io: UdpSocket,
    state: UdpSocketState,
}

impl Endpoints {
    /// Takes the endpoints in the order of their lanes, at least one. Their connection IDs have
    /// `cid_len` bytes and are shared out by `hash`.
    pub(crate) fn new(hash: WorkerHash, cid_len: usize, injectors: Vec<Injector>) -> Self {
        let lanes = u16::try_from(injectors.len())
            .ok()
            .and_then(NonZeroU16::new);
        let lanes = lanes.expect("a gateway has 1 to 65535 listeners");
        Self {
            hash,
            cid_len,
            lanes,
            injectors,
        }
    }

    /// Finds the endpoint that issued the destination connection ID of a datagram.
    fn of(&self, datagram: &[u8]) -> &Injector {
        let cid = match Datagram::parse(datagram) {
            Ok(Datagram::Short(rest)) => rest.get(..self.cid_len).unwrap_or(rest),
            Ok(Datagram::Long(header)) => header.destination,
            Err(_) => &[],
        };
        let lane = self.hash.worker_of(cid, self.cid_len, self.lanes);
        &self.injectors[usize::from(lane)]
    }
}

impl Tunnel {
    /// Takes a bound socket and a membership that follows a snapshot, and the way to further ones.
    /// Needs a tokio runtime.
    pub(crate) fn new(
        socket: std::net::UdpSocket,
        membership: Membership,
        (snapshot, snapshots): (&Snapshot, watch::Receiver<Arc<Snapshot>>),
        followers: Followers,
        metrics: Metrics,
    ) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        let io = Arc::new(TunnelSocket {
            io: UdpSocket::from_std(socket)?,
            state,
        });
        let forwarder = Arc::new(Forwarder::new(Arc::clone(&io)));
        let driver = FleetDriver::new(
            membership,
            snapshot,
            Arc::clone(&forwarder),
            followers,
            metrics.clone(),
        );
        Ok(Self {
            io,
            forwarder,
            driver: Arc::new(driver),
            snapshots,
            drops: Drops::new(telemetry::UdpSocket::TUNNEL, metrics.clone()),
            metrics,
        })
    }

    /// The way to the peers.
    pub(crate) fn forwarder(&self) -> Arc<Forwarder> {
        Arc::clone(&self.forwarder)
    }

    /// What knows the peers.
    pub(crate) fn driver(&self) -> Arc<FleetDriver> {
        Arc::clone(&self.driver)
    }

    /// Sends heartbeats, takes what peers send, and follows the fleet's snapshots, until told to stop.
    pub(crate) async fn serve(
        self,
        endpoints: Endpoints,
        steering: Arc<Steering>,
        stop: CancellationToken,
    ) {
        let mut receiver = receiver::Receiver::new(&self, &endpoints, &steering);
        let mut snapshots = self.snapshots.clone();
        let tick = tokio::time::sleep(std::time::Duration::ZERO);
        tokio::pin!(tick);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = &mut tick => {
                    let (messages, next) = self.driver.tick();
                    for (relay, message) in messages {
                        self.send(&message, relay);
                    }
                    self.drops.count(&self.io.io);
                    tick.as_mut().reset(next.into());
                }
                () = receiver.receive() => {}
                snapshot = changed(&mut snapshots) => match self.driver.apply(&snapshot) {
                    Ok(()) => tracing::info!("following a new snapshot of the fleet"),
                    Err(error) => tracing::error!("the snapshot of the fleet is refused: {error}"),
                },
            }
        }
    }

    /// Sends a heartbeat; one that the socket has no room for is lost, as on any network.
    fn send(&self, heartbeat: &[u8], relay: SocketAddr) {
        drop(self.io.io.try_send_to(heartbeat, relay));
    }
}

/// Waits for the next snapshot; forever once there is nobody left to send one. Cancel safe.
async fn changed(snapshots: &mut watch::Receiver<Arc<Snapshot>>) -> Arc<Snapshot> {
    match snapshots.changed().await {
        Ok(()) => Arc::clone(&snapshots.borrow_and_update()),
        Err(_gone) => std::future::pending().await,
    }
}

/// Every reason for which the tunnel drops a datagram that it should have carried or delivered.
pub(crate) const DROP_REASONS: [&str; 6] = [
    forwarder::UNKNOWN_PEER,
    forwarder::PEER_UNCONFIRMED,
    forwarder::COUNTERS_EXHAUSTED,
    forwarder::TUNNEL_FULL,
    forwarder::TUNNEL_ERROR,
    receiver::QUEUE_FULL,
];

#[cfg(test)]
mod tests;

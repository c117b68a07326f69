//! The tunnel between nodes: datagrams that reached the wrong node go to their owner, and
//! heartbeats tell each node which process of its peers is alive.

mod driver;
mod forwarder;
mod receiver;
mod run;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use driver::SnapshotRefused;
pub(crate) use driver::{FleetDriver, Followers};
pub(crate) use forwarder::Forwarder;

use super::socket::Drops;
use super::socket::udp::UdpSocketState;
use super::steering::Steering;
use crate::control::Snapshot;
use crate::fleet::Membership;
use crate::telemetry::{self, Metrics};

/// This node's end of the tunnels to all its peers.
#[derive(Debug)]
pub(crate) struct Tunnel {
    io: Arc<TunnelSocket>,
    forwarder: Arc<Forwarder>,
    driver: Arc<FleetDriver>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    metrics: Metrics,
    drops: Drops,
    handed: (mpsc::Sender<Bytes>, mpsc::Receiver<Bytes>),
}

#[derive(Debug)]
struct TunnelSocket {
    io: UdpSocket,
    state: UdpSocketState,
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

    /// What knows the peers.
    pub(crate) fn driver(&self) -> Arc<FleetDriver> {
        Arc::clone(&self.driver)
    }

    /// Sends heartbeats, takes what peers send, and follows the fleet's snapshots, until told to stop.
    pub(crate) async fn serve(mut self, steering: Arc<Steering>, stop: CancellationToken) {
        let (never, nothing) = mpsc::channel(1);
        let (_kept, mut handed) = std::mem::replace(&mut self.handed, (never, nothing));
        let mut receiver = receiver::Receiver::new(&self, &steering);
        let reading = steering.reading();
        let mut snapshots = self.snapshots.clone();
        let tick = tokio::time::sleep(Duration::ZERO);
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
                () = reading.next(|| self.readable()) => receiver.receive(),
                Some(envelope) = handed.recv() => receiver.take_one(&envelope),
                snapshot = changed(&mut snapshots) => match self.driver.apply(&snapshot) {
                    Ok(()) => tracing::info!("following a new snapshot of the fleet"),
                    Err(error) => tracing::error!("the snapshot of the fleet is refused: {error}"),
                },
            }
        }
    }

    /// An error is about a datagram sent earlier (ICMP), never about this socket.
    async fn readable(&self) {
        drop(self.io.io.readable().await);
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
pub(crate) const DROP_REASONS: [&str; 5] = [
    forwarder::UNKNOWN_PEER,
    forwarder::PEER_UNCONFIRMED,
    forwarder::COUNTERS_EXHAUSTED,
    forwarder::TUNNEL_FULL,
    forwarder::TUNNEL_ERROR,
];

/// Envelopes that come from a sibling for as long as peers have not confirmed it.
const HANDED_QUEUE: usize = 1024;

#[cfg(test)]
mod tests;

//! The relay: one service address that clients talk to, a NAT for each of them, a network with
//! delay, and a route to one of several nodes.
//!
//! What a move does to whom: a rebind gives every flow a new port, an address change a new address
//! and port, and both lose the replies that are on their way to the old mapping. A flip sends
//! everything to the next node from now on. No TCP connection survives any of the three; both ends
//! are told at once (RST), which is the best that TCP can hope for.

mod delay;
mod issuers;
mod nat;
mod tcp;
mod udp;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::socket::Socket;

/// What a relay is made of.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// The service addresses of the nodes, at least one, each taking UDP and TCP on IPv4 loopback.
    pub nodes: Vec<SocketAddr>,
    /// How long everything takes from a client's NAT to a node, and back. TCP and UDP alike; the
    /// timer rounds up to a millisecond.
    pub delay: Duration,
    /// Whether the relay does what it counts.
    pub honesty: Honesty,
}

/// Whether a relay does what it counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Honesty {
    /// It does.
    #[default]
    Honest,
    /// It counts flips and counts as if it had flipped, but the route stays: a fault to show that
    /// false counts are noticed.
    ClaimsFlips,
}

/// Something that happens to all clients at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Move {
    /// The NATs give every flow a new port at the same address.
    Rebind,
    /// Every flow has a new address and port.
    Address,
    /// The route leads to the next node that was not withdrawn.
    Flip,
}

/// What a relay has done so far, exactly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Datagrams handed to each node.
    pub delivered: Vec<u64>,
    /// Of those, datagrams handed to a node other than the owner of their connection; under an ID that
    /// the client chose there is none yet.
    pub foreign: Vec<u64>,
    /// Datagrams handed to each node whose owner the relay does not know, because what their client
    /// sent at the end of its handshake was lost on the way to the relay.
    pub unowned: Vec<u64>,
    /// Every flow, in the order of appearance.
    pub flows: Vec<FlowCounts>,
    /// Datagrams from clients that are still on their way.
    pub under_way: u64,
    /// Datagrams dropped because a queue or the table of flows was full.
    pub overflowed: u64,
    /// Rebinds made.
    pub rebinds: u64,
    /// Address changes made.
    pub addresses: u64,
    /// Flips made.
    pub flips: u64,
}

/// What one client's socket sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowCounts {
    /// The client's address.
    pub client: SocketAddr,
    /// The node whose connection ID its last handshake packet named, if that did name one.
    pub owner: Option<usize>,
    /// Datagrams handed to each node.
    pub delivered: Vec<u64>,
}

/// A running relay. Dropping it ends everything at once.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    commands: mpsc::Sender<Command>,
    _tasks: JoinSet<()>,
}

/// The relay has stopped, which it does only when a socket of its own fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the relay has stopped")]
pub struct RelayGone;

impl Relay {
    /// Binds the service address to a free port of 127.0.0.1 and starts. Needs a tokio runtime.
    ///
    /// # Errors
    /// No port could be bound for UDP and TCP both, or there is no node.
    pub async fn start(config: RelayConfig) -> io::Result<Self> {
        if config.nodes.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no node"));
        }
        let (socket, listener) = bind_both().await?;
        let address = socket.local();
        let tcp = tcp::Route::new(config.nodes[0]);
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let mut tasks = JoinSet::new();
        tasks.spawn(tcp::accept(listener, Arc::clone(&tcp), config.delay));
        tasks.spawn(udp::Uplink::new(socket, config, tcp).run(inbox));
        Ok(Self {
            address,
            commands,
            _tasks: tasks,
        })
    }

    /// The address that clients talk to, on UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes a move and returns when it took effect.
    ///
    /// # Errors
    /// The relay has stopped.
    pub async fn make(&self, event: Move) -> Result<Instant, RelayGone> {
        self.ask(|reply| Command::Make(event, reply)).await
    }

    /// Routes everything to the node of this index, uncounted: for choosing who owns a connection
    /// before anything moves.
    ///
    /// # Errors
    /// The relay has stopped.
    pub async fn route_to(&self, node: usize) -> Result<(), RelayGone> {
        self.ask(|reply| Command::RouteTo(node, reply)).await?;
        Ok(())
    }

    /// Takes the node of this index out of the route, uncounted, and returns when that took effect:
    /// if the route leads to it, it leads to the next one from here on, and flips pass it by. The
    /// last node stays.
    ///
    /// # Errors
    /// The relay has stopped.
    pub async fn withdraw(&self, node: usize) -> Result<Instant, RelayGone> {
        self.ask(|reply| Command::Withdraw(node, reply)).await
    }

    /// Takes the node of this index into the route again, uncounted: a later flip leads to it.
    ///
    /// # Errors
    /// The relay has stopped.
    pub async fn announce(&self, node: usize) -> Result<(), RelayGone> {
        self.ask(|reply| Command::Announce(node, reply)).await?;
        Ok(())
    }

    /// What the relay has done so far.
    ///
    /// # Errors
    /// The relay has stopped.
    pub async fn counts(&self) -> Result<Counts, RelayGone> {
        self.ask(Command::Counts).await
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, RelayGone> {
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.send(command(reply)).await;
        match (sent, answer.await) {
            (Ok(()), Ok(answer)) => Ok(answer),
            _ => Err(RelayGone),
        }
    }
}

#[derive(Debug)]
enum Command {
    Make(Move, oneshot::Sender<Instant>),
    RouteTo(usize, oneshot::Sender<Instant>),
    Withdraw(usize, oneshot::Sender<Instant>),
    Announce(usize, oneshot::Sender<Instant>),
    Counts(oneshot::Sender<Counts>),
}

/// A free UDP port is not always a free TCP port.
async fn bind_both() -> io::Result<(Socket, TcpListener)> {
    let mut last = None;
    for _ in 0..BIND_ATTEMPTS {
        let socket = Socket::bind((Ipv4Addr::LOCALHOST, 0).into())?;
        match TcpListener::bind(socket.local()).await {
            Ok(listener) => return Ok((socket, listener)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
}

const COMMANDS: usize = 16;
const BIND_ATTEMPTS: usize = 16;

use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::{future, io};

use tokio::sync::oneshot;

use super::{Identity, StandError};
use crate::config::Config;
use crate::sys::processor::thread_id;
use crate::testbed::lab::Host;
use crate::{FleetHandle, Gateway};

/// Where a node runs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'a> {
    /// In the network of the calling thread.
    Here,
    /// On a host of a test bed.
    Host(&'a Host),
}

/// A gateway on a thread of its own, which does nothing else. It ends with this.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) address: SocketAddr,
    /// The kernel's number of its thread.
    pub(super) thread: u32,
    fleet: Option<FleetHandle>,
    /// Ends the thread when it is dropped.
    stop: Option<oneshot::Sender<()>>,
    handle: Option<JoinHandle<()>>,
}

/// What a node is made of.
#[derive(Debug)]
pub(super) struct NodeParts<'a> {
    pub(super) config: Config,
    pub(super) identity: &'a Identity,
    /// The socket of its tunnel, if it is one of a fleet.
    pub(super) relay: Option<UdpSocket>,
}

impl Node {
    /// Starts a node and waits until its sockets are bound.
    pub(super) fn start(place: Place<'_>, parts: NodeParts<'_>) -> Result<Self, StandError> {
        let identity = parts.identity.clone();
        let (config, relay) = (parts.config, parts.relay);
        let (stop, stopped) = oneshot::channel();
        let (started, starts) = mpsc::channel();
        let work = move || serve(config, relay, &identity, &started, stopped);
        let handle = place
            .run(|| thread::Builder::new().name("node".into()).spawn(work))
            .flatten()
            .map_err(StandError::Thread)?;
        let started = starts.recv();
        let Ok(started) = started else {
            return Err(StandError::Gateway("its thread has ended".into()));
        };
        let Started {
            address,
            thread,
            fleet,
        } = started?;
        Ok(Self {
            address,
            thread,
            fleet,
            stop: Some(stop),
            handle: Some(handle),
        })
    }

    /// Whether the node hears all its peers, if it has any.
    pub(super) fn hears_its_peers(&self) -> bool {
        let status = self.fleet.as_ref().map(FleetHandle::status);
        let peers = status
            .as_ref()
            .and_then(|status| status["peers"].as_array());
        peers.is_none_or(|peers| peers.iter().all(|peer| peer["state"] == "live"))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(handle) = self.handle.take() {
            // A panic of the gateway was printed, and its clients have noticed.
            drop(handle.join());
        }
    }
}

impl Place<'_> {
    fn run<T: Send>(self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        match self {
            Place::Here => Ok(work()),
            Place::Host(host) => host.run(work),
        }
    }

    /// Binds a UDP socket there.
    pub(super) fn udp(self, address: SocketAddr) -> io::Result<UdpSocket> {
        self.run(|| UdpSocket::bind(address)).flatten()
    }
}

struct Started {
    address: SocketAddr,
    thread: u32,
    fleet: Option<FleetHandle>,
}

/// The whole life of a node's thread.
fn serve(
    config: Config,
    relay: Option<UdpSocket>,
    identity: &Identity,
    started: &mpsc::Sender<Result<Started, StandError>>,
    stopped: oneshot::Receiver<()>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return drop(started.send(Err(StandError::Thread(error)))),
    };
    runtime.block_on(async {
        let mut builder = Gateway::builder()
            .config(config)
            .identity(identity.chain.as_bytes(), identity.key.as_bytes());
        if let Some(relay) = relay {
            builder = builder.relay_socket(relay);
        }
        let gateway = match builder.bind() {
            Ok(gateway) => gateway,
            Err(error) => {
                return drop(started.send(Err(StandError::Gateway(error.to_string()))));
            }
        };
        // There is one listener, and whoever waits for it to start holds the other end of both channels.
        drop(started.send(Ok(Started {
            address: gateway.local_addresses()[0],
            thread: thread_id(),
            fleet: gateway.fleet(),
        })));
        tokio::select! {
            // All that it holds ends with it: what is measured is over.
            _stopped = stopped => {}
            ended = Box::pin(gateway.serve(future::pending())) => drop(ended),
        }
    });
}

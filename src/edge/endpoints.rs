//! The QUIC endpoints of this process: one for each worker of each listener.

use std::net::SocketAddr;
use std::sync::Arc;

use super::socket::{Injector, Port};
use crate::steer::{Slot, Slots};

/// The endpoints in the order of their slots.
#[derive(Debug)]
pub(crate) struct Endpoints {
    slots: Slots,
    members: Vec<Endpoint>,
}

/// How an endpoint is reached from the rest of the process.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// The socket on which it answers.
    pub(crate) port: Arc<Port>,
    /// The way to put in datagrams.
    pub(crate) injector: Injector,
}

impl Endpoints {
    /// Collects the endpoints, one for each slot.
    pub(crate) fn new(slots: Slots, members: Vec<Endpoint>) -> Self {
        debug_assert_eq!(members.len(), usize::from(slots.count().get()));
        Self { slots, members }
    }

    /// The only endpoint of a process; gives also what is put in there.
    #[cfg(test)]
    pub(super) fn testing(slots: Slots, queue: usize) -> (Self, super::socket::InjectedQueue) {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let (injector, injected) = Injector::new(queue);
        let port = Arc::new(Port::new(socket).unwrap());
        (
            Self::new(slots, vec![Endpoint { port, injector }]),
            injected,
        )
    }

    /// The endpoint of a slot.
    pub(super) fn of(&self, slot: Slot) -> Option<&Endpoint> {
        self.members.get(usize::from(slot.0))
    }

    /// The slot of a worker at the listener which a client reached, maybe at a peer. That of the first
    /// listener takes what no listener here has the port of.
    pub(super) fn accepting(&self, reached: SocketAddr, worker: u16) -> Slot {
        let found = self.listener(|port| port.covers(reached));
        let found = found.or_else(|| self.listener(|port| port.local().port() == reached.port()));
        self.slots.slot(found.unwrap_or(0), worker)
    }

    /// The socket of the listener which a client reached, maybe at a peer.
    pub(super) fn reached(&self, address: SocketAddr) -> Option<&Port> {
        let slot = self.accepting(address, 0);
        self.of(slot).map(|endpoint| &*endpoint.port)
    }

    /// A socket that answers from this address.
    pub(super) fn port(&self, local: SocketAddr) -> Option<&Port> {
        let found = self.listener(|port| port.covers(local))?;
        let first = self.slots.slot(found, 0);
        self.of(first).map(|endpoint| &*endpoint.port)
    }

    /// The first listener whose socket is such.
    fn listener(&self, so: impl Fn(&Port) -> bool) -> Option<u16> {
        let first_workers = self
            .members
            .iter()
            .step_by(self.slots.workers().get().into());
        let mut numbered = (0..).zip(first_workers);
        numbered
            .find(|(_, first)| so(&first.port))
            .map(|(listener, _)| listener)
    }
}

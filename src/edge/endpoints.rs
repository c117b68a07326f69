//! The endpoints of this process, one for each worker of each listener, and the ways into them from
//! outside their own sockets.

use std::sync::{Arc, Weak};

use super::socket::{Injected, Injector, SteeredSocket};
use crate::steer::{Slot, Slots, Verdict};
use crate::wire::Path;

/// Where datagrams go that reached another endpoint, another node or another process. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Endpoints {
    slots: Slots,
    /// In the order of their slots.
    entrances: Arc<[Entrance]>,
}

/// The way into one endpoint.
#[derive(Debug)]
pub(crate) struct Entrance {
    injector: Injector,
    /// Does not keep the socket open.
    socket: Weak<SteeredSocket>,
    port: u16,
}

impl Entrance {
    /// The way into the endpoint of this socket.
    pub(crate) fn new(socket: &Arc<SteeredSocket>, injector: Injector) -> Self {
        Self {
            injector,
            socket: Arc::downgrade(socket),
            port: socket.port(),
        }
    }
}

impl Endpoints {
    /// Takes the entrances in the order of their slots.
    pub(crate) fn new(slots: Slots, entrances: Vec<Entrance>) -> Self {
        debug_assert_eq!(entrances.len(), usize::from(slots.count().get()));
        Self {
            slots,
            entrances: entrances.into(),
        }
    }

    /// One endpoint without a socket.
    #[cfg(test)]
    pub(crate) fn testing(injector: Injector) -> Self {
        let entrance = Entrance {
            injector,
            socket: Weak::new(),
            port: 0,
        };
        Self::new(Slots::single(17), vec![entrance])
    }

    /// Puts in a datagram whose verdict was [`Verdict::Local`] or [`Verdict::Accept`]; whether there was
    /// room.
    pub(super) fn put(&self, verdict: Verdict, injected: Injected) -> bool {
        let slot = match verdict {
            Verdict::Local(slot) => slot,
            Verdict::Accept(worker) => {
                let listener = self.listener_at(injected.path.destination.port());
                self.slots.slot(listener, worker)
            }
            _ => return false,
        };
        self.entrance(slot)
            .is_some_and(|entrance| entrance.injector.try_send(injected).is_ok())
    }

    /// Sends a packet of no connection back to where a datagram came from, from the service address that
    /// it was sent to.
    pub(super) fn answer(&self, packet: Option<Vec<u8>>, path: Path) {
        let slot = self
            .slots
            .slot(self.listener_at(path.destination.port()), 0);
        let socket = self.entrance(slot).and_then(|found| found.socket.upgrade());
        if let Some(socket) = socket {
            socket.answer(packet, path);
        }
    }

    fn entrance(&self, slot: Slot) -> Option<&Entrance> {
        self.entrances.get(usize::from(slot.0))
    }

    /// The listener at this port; the first where none is, as when nodes listen on other ports.
    fn listener_at(&self, port: u16) -> u16 {
        let workers = usize::from(self.slots.workers().get());
        let mut listeners = self.entrances.chunks(workers);
        let found = listeners.position(|listener| listener[0].port == port);
        found.and_then(|at| u16::try_from(at).ok()).unwrap_or(0)
    }
}

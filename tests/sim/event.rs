//! What can happen at a time.

use std::cmp::Ordering;
use std::net::SocketAddr;

use crate::endpoint::Received;
use crate::faults::Then;
use crate::process::ProcessId;

/// Something that happens at a time.
#[derive(Debug)]
pub(crate) enum Event {
    /// A datagram reaches a node's service address.
    Service(usize, Received),
    /// A packet reaches a node's end of the tunnels.
    Relay(usize, Vec<u8>),
    /// A process of a node is handed a datagram by another.
    Sibling(usize, ProcessId, Received),
    /// A datagram reaches an address.
    Client(SocketAddr, Received),
    /// A connection of a process wakes.
    Wake(usize, ProcessId, u16, usize),
    /// A connection of a client wakes.
    WakeClient(usize, usize),
    /// A client goes on.
    GoOn(usize),
    /// A node sends heartbeats.
    Tick(usize),
    /// A fault of the plan.
    Fault(usize),
    /// What follows from a fault later.
    Then(Then),
}

impl PartialEq for Event {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Time and order decide, and no two events have the same order.
impl Ord for Event {
    fn cmp(&self, _: &Self) -> Ordering {
        Ordering::Equal
    }
}

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::link::Loss;

/// Every packet that passed a link, in the order in which they were sent.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// The packets.
    pub packets: Vec<Packet>,
    /// Packets that are not in it, because there was no room.
    pub left_out: u64,
}

/// A packet on the link.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Whose it is.
    pub direction: Direction,
    /// When it left its sender: the kernel's time, on the clock of [`Instant`].
    pub sent: Instant,
    /// What became of it.
    pub fate: Fate,
    /// The whole IP packet, without the link's own header.
    pub bytes: Bytes,
}

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client to a node.
    ToNode,
    /// From a node to the client.
    ToClient,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was given to its receiver.
    Delivered {
        /// When.
        at: Instant,
        /// How much later than the model said.
        late: Duration,
    },
    /// It was lost, and why.
    Lost(Loss),
    /// It was still on the way when the trace was read.
    UnderWay,
}

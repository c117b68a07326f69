//! A link between hosts that this process plays: every frame passes through it, is delayed, lost or
//! sent another way as a [model](crate::link) says, and is written down.

mod trace;

pub use trace::{Direction, Fate, Packet, Trace};

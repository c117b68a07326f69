//! State that a client carries between connections, sealed so that any node of a fleet can open it.
//!
//! Nothing here reads a clock or draws randomness: time and nonces are arguments.

mod ticket;

pub use ticket::{TicketError, TicketKey, TicketKeys};

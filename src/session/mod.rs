//! State that a client carries between connections, sealed so that any node of a fleet can open it.
//!
//! Nothing here reads a clock or draws randomness: time and nonces are arguments.

mod keys;
mod ticket;
mod token;

pub use keys::SessionKeys;
pub use ticket::{TicketError, TicketKey, TicketKeys};
pub use token::{OpenedToken, TokenError, TokenKey, TokenKeys};

//! State that a client carries between connections, sealed so that any node of a fleet can open it.
//!
//! Nothing here reads a clock or draws randomness: time and nonces are arguments.

mod keys;
mod single_use;
mod ticket;
mod token;
mod used_tokens;

pub use keys::SessionKeys;
pub use single_use::{Room, SingleUseSessions};
pub use ticket::{TicketError, TicketKey, TicketKeys};
pub use token::{OpenedToken, TokenError, TokenKey, TokenKeys};
pub use used_tokens::{Use, UsedTokens};

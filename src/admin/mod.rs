//! The private listener for operators: `/livez`, `/readyz`, `/metrics` and `/status` over HTTP/1.1
//! on a unix socket or a loopback address.
//!
//! Nothing here changes the gateway. A connection carries one request, lives at most five seconds,
//! and at most sixteen are open at a time; further ones wait in the kernel's queue.

mod answer;
mod listener;
mod serve;
mod state;

pub use listener::{Admin, AdminError};
pub(crate) use listener::{AdminSocket, Owner};
pub use state::{AdminState, Phase, Readiness};

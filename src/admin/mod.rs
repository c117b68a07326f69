//! The private listener for operators: health, metrics, status and commands over HTTP/1.1 on a unix
//! socket or a loopback address.
//!
//! A connection carries one request and lives at most five seconds, or as long as its command takes,
//! and at most sixteen are open at a time; further ones wait in the kernel's queue.

mod answer;
mod listener;
mod serve;
mod state;

pub use listener::{Admin, AdminError};
pub(crate) use listener::{AdminSocket, Owner};
pub use state::{AdminState, Command, CommandFuture, Console};

pub use crate::edge::Phase;

//! From one process to the next over a socket between the two: the old one hands over its sockets,
//! the new one says that it is prepared, the old one stops reading, and the new one begins.
//!
//! Until the new process has said that it reads, the old one can go back. Every step has a deadline.

mod message;
mod predecessor;
mod successor;

use std::ffi::OsString;
use std::io;
use std::time::Duration;

pub use predecessor::Predecessor;
pub use successor::{Prepared, Successor};

use super::InheritedError;

/// What a successor is started from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The program, as for [`std::process::Command::new`]; what it names is looked up at each upgrade.
    pub path: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

impl Program {
    /// The program and the arguments that this process was started with; `None` without any.
    pub fn of_this_process() -> Option<Self> {
        let mut arguments = std::env::args_os();
        Some(Self {
            path: arguments.next()?,
            arguments: arguments.collect(),
        })
    }
}

/// Why an upgrade failed. The process that was to give way goes on as before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpgradeError {
    /// Another upgrade is under way.
    #[error("another upgrade is under way")]
    Busy,
    /// This process has given way already; ask the one that reads the sockets now.
    #[error("this process has given way to another one already")]
    Superseded,
    /// The node drains: the new process would take in clients again.
    #[error("this node does not welcome clients; undrain it first")]
    Draining,
    /// This process ends.
    #[error("this process is ending")]
    Ending,
    /// Whoever embeds the gateway has not said which program to start.
    #[error("no program is known that could take over")]
    NoProgram,
    /// This process is not registered, so nobody could hand it its packets afterwards.
    #[error("this process has no place in a runtime directory; see runtime_dir")]
    NotRegistered,
    /// Both processes would have the same instance.
    #[error(
        "node.instance is fixed, so two processes of this node cannot be told apart; leave it out"
    )]
    FixedInstance,
    /// The profile `aws-nlb` has no place for an instance in connection IDs.
    #[error("the profile aws-nlb cannot tell two processes of a node apart; restart instead")]
    NoInstances,
    /// The program cannot be started.
    #[error("cannot start {program:?}: {source}")]
    Start {
        /// The program.
        program: OsString,
        /// The system's error.
        source: io::Error,
    },
    /// The new process could not become ready, and said why.
    #[error("the new process cannot take over: {0}")]
    Refused(String),
    /// The new process ended before it took over.
    #[error("the new process ended before it took over: {0}")]
    Ended(String),
    /// The new process did not do the next step in time.
    #[error("the new process was not {step} within {} s", .limit.as_secs_f32())]
    TimedOut {
        /// What it was to be.
        step: &'static str,
        /// The time it had.
        limit: Duration,
    },
    /// The other process does not speak this protocol, or the system broke the channel.
    #[error("the channel between the two processes: {0}")]
    Channel(#[from] io::Error),
    /// A socket that was handed over is not what it should be.
    #[error("{0}")]
    Inherited(#[from] InheritedError),
}

#[cfg(test)]
mod tests;

use std::io;

use crate::bench::dial::DialError;

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A client cannot be made for a scenario.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The node's files or its process failed.
    #[error("the node: {0}")]
    Node(#[source] io::Error),
    /// The node ended before it listened; it wrote this.
    #[error("the node did not start: {0}")]
    Start(String),
    /// A certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A clock of the system cannot be read.
    #[error("cannot read how busy {whom} is: {source}")]
    Clock {
        /// Whose.
        whom: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// Memory is that of a process, and the node's is not known.
    #[error("the node's memory cannot be read without its process")]
    NoProcess,
    /// A latency is beyond any histogram.
    #[error("a latency cannot be recorded: {0}")]
    Record(#[from] hdrhistogram::RecordError),
    /// A histogram could not be made.
    #[error("no histogram: {0}")]
    Histogram(#[from] hdrhistogram::CreationError),
}

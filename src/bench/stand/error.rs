use std::io;

use crate::bench::{Layer, Mode};

/// Why there is nothing to measure against.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StandError {
    /// A certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The node's files could not be written.
    #[error("cannot write the node's files: {0}")]
    Files(#[source] io::Error),
    /// The configuration of the node was refused.
    #[error("the node's configuration: {0}")]
    Config(String),
    /// The node could not start.
    #[error("the node cannot start: {0}")]
    Gateway(String),
    /// The system gave no thread.
    #[error("no thread for the node: {0}")]
    Thread(#[source] io::Error),
    /// The two nodes did not find each other in time.
    #[error("the two nodes of the fleet did not find each other")]
    Fleet,
    /// A network could not be made.
    #[error("no network: {0}")]
    Network(#[source] io::Error),
    /// The mode cannot be had on this layer.
    #[error("{mode} cannot be measured on the layer {layer}: {reason}")]
    Impossible {
        /// The mode.
        mode: Mode,
        /// The layer.
        layer: Layer,
        /// Why not.
        reason: &'static str,
    },
}

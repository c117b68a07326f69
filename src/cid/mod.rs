//! QUIC-LB connection IDs: legal configurations, the codec, and minting
//! (draft-ietf-quic-load-balancers-21).
//!
//! A node writes its server ID and a nonce into every connection ID that it issues; whoever holds
//! the same configuration reads the server ID back and knows where the connection lives. With a key
//! nobody else can: see [`CidConfig`]. Nothing here allocates once a configuration is made.

mod cipher;
mod config;
pub(crate) mod hex;
mod id;
mod key;
mod lane;
mod minter;
mod set;
mod worker;

pub use config::{
    CidConfig, ConfigError, ConfigId, ConfigIdError, DecodeError, Decoded, EncodeError, FirstOctet,
};
pub use hex::ParseError;
pub use id::{Cid, LengthError, Nonce, ServerId};
pub use key::Key;
pub use lane::{Lane, LaneError};
pub use minter::{MintError, Minter, MinterError};
pub use set::ConfigSet;
pub use worker::WorkerHash;

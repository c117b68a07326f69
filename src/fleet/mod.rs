//! The nodes of a fleet: who they are, which keys they share, and what this node believes of each.
//!
//! Nothing here sends or reads a clock; `edge` carries the datagrams and `control` brings new views.

mod association;
mod cid_keys;
mod keyring;
mod keyring_text;
mod membership;
mod node;
mod reset;
mod rotation;
mod server_id;
mod tunnel_key;
mod view;

pub use association::{
    Association, Counters, CountersExhausted, Heard, Outgoing, OutgoingLane, Party, Refusal,
};
pub use cid_keys::{CidEpoch, CidKeys};
pub use keyring::{DerivedKey, Epoch, Epochs, FleetKey, Keyring};
pub use keyring_text::KeyringError;
pub use membership::{
    ConfigDigest, Finding, Member, Membership, Own, PeerStatus, Reaction, Roster, RosterError,
    Timing,
};
pub use node::{InstanceId, NodeId, NodeIdError};
pub use reset::{ResetKey, ResetKeys};
pub use rotation::{KeyRecord, RotationError, RotationStep};
pub use server_id::{SERVER_ID_LEN, server_id, split_server_id};
pub use tunnel_key::{PairKey, PairKeys};
pub use view::{Identity, Owner, PeerState, PeerView, View};

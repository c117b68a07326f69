//! What stands in a datagram before anything is decrypted: the invariant QUIC header (RFC 8999) and
//! the envelope of the tunnel between nodes. And the padding of what was decrypted.
//!
//! Parsers borrow from the datagram, never panic, and never allocate.

mod datagram;
mod envelope;
mod heartbeat;
mod negotiation;
mod padding;
mod reader;
mod replay;
mod reset;
mod sibling;

pub use datagram::{Datagram, LongHeader, LongKind, MAX_CID_LEN, NotQuic};
pub use envelope::{
    AUTHENTICATED_PAYLOAD, Cargo, Ecn, Envelope, EnvelopeError, Kind, MAX_OVERHEAD, Path,
    REPORT_VERSION, Sealed, Sender, TAG_LEN, TUNNEL_VERSION,
};
pub use heartbeat::{BootId, Challenge, Hearing, Heartbeat, Reachable, Report, SealedHeartbeat};
pub use negotiation::{SUPPORTED_VERSIONS, version_negotiation};
pub use padding::unpadded_len;
pub use replay::{ReplayWindow, WINDOW};
pub use reset::{MIN_RESET_TRIGGER, RESET_RANDOM, stateless_reset};
pub use sibling::{MAX_SIBLING_HEADER, SiblingMessage};

#[cfg(test)]
mod tests;

//! Proxying UDP in HTTP (RFC 9298): whom a request names, who may be named, and what the data stream and
//! the HTTP datagrams of a tunnel hold.
//!
//! An [`AllowList`] is a boundary: clients reach from here whatever the gateway reaches, so a target is
//! refused unless a rule names it, and an address that no packet of a stranger should go to is refused
//! unless a rule names exactly that. Sockets and names are for [`crate::bridge`].

mod allow;
mod capsule;
mod network;
mod payload;
mod target;

pub use allow::{AllowList, Refusal, Rule, RuleError};
pub use capsule::{Capsule, CapsuleError, CapsuleReader, put_datagram};
pub use network::{Network, NetworkError};
pub use payload::{MAX_UDP_PAYLOAD, Payload, put_udp, read_payload};
/// The upgrade token and the value of `:protocol` (RFC 9298, section 3).
pub const PROTOCOL: &str = "connect-udp";

pub use target::{Host, Target, TargetError};

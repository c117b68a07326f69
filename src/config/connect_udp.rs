//! Tunnels of UDP (RFC 9298).

use std::time::Duration;

use super::{Config, Route};
use crate::connect_udp::AllowList;

/// Bounds on tunnels of UDP (RFC 9298).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectUdp {
    /// Open tunnels in all. Default 1024.
    pub tunnels: u32,
    /// Open tunnels of one client: an IPv4 address, or the first 64 bits of one of IPv6. Default 32.
    pub tunnels_per_client: u32,
    /// A tunnel without a packet either way for this long is closed; at least 2 minutes (RFC 9298,
    /// section 3.1). Default 120 s.
    pub idle_timeout: Duration,
    /// The largest UDP payload in bytes that is passed on either way. Default 1500.
    pub payload_bytes: u16,
    /// Datagrams of one tunnel that wait, each way. Default 64.
    pub queue: u16,
    /// To resolve the name of a target. Default 5 s.
    pub resolve_timeout: Duration,
}

impl ConnectUdp {
    /// The path of the default template (RFC 9298, section 2).
    pub const PATH: &str = "/.well-known/masque/udp";
}

impl Default for ConnectUdp {
    fn default() -> Self {
        Self {
            tunnels: 1024,
            tunnels_per_client: 32,
            idle_timeout: Duration::from_mins(2),
            payload_bytes: 1500,
            queue: 64,
            resolve_timeout: Duration::from_secs(5),
        }
    }
}

impl Route {
    /// Takes tunnels of UDP to these targets, at [`ConnectUdp::PATH`].
    pub fn connect_udp(allow: AllowList) -> Self {
        Self {
            path: ConnectUdp::PATH.into(),
            connect_udp: Some(allow),
            ..Self::new(Vec::new())
        }
    }
}

impl Config {
    /// The bytes of HTTP datagrams that may wait each way on one QUIC connection, if any route takes
    /// them.
    pub fn datagram_bytes(&self) -> Option<usize> {
        let taken = self.route.iter().any(|route| route.connect_udp.is_some());
        let ConnectUdp {
            queue,
            payload_bytes,
            ..
        } = self.connect_udp;
        taken.then(|| usize::from(queue) * (usize::from(payload_bytes) + DATAGRAM_OVERHEAD))
    }
}

/// What a datagram costs beside its payload: IDs, and the list that it is in.
const DATAGRAM_OVERHEAD: usize = 64;

use std::net::SocketAddr;

use super::Fleet;
use crate::wire::MAX_OVERHEAD;

/// How answers go to clients whose packets reach a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Return {
    /// From the owner, with the service address as source.
    #[default]
    Direct,
    /// Through the tunnel to the peer, which gives them to the client.
    Ingress,
}

/// A link between nodes that cannot carry the smallest QUIC datagram in an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{mtu} is less than the {needed} bytes of a tunnelled datagram: {MIN_PAYLOAD} that every QUIC path \
     carries (RFC 9000, section 14), the envelope, IP and UDP"
)]
pub struct LinkMtuError {
    /// The configured MTU.
    pub mtu: u16,
    /// The smallest that works.
    pub needed: u16,
}

impl Fleet {
    /// The largest UDP payload of a client that fits into an envelope between any two nodes.
    ///
    /// # Errors
    /// [`LinkMtuError`] when that is less than 1200 bytes.
    pub fn max_udp_payload(&self) -> Result<u16, LinkMtuError> {
        let relays = self.member.iter().map(|member| member.relay);
        max_udp_payload(self.link_mtu, relays)
    }
}

/// The largest UDP payload of a client that fits into an envelope between these relay addresses, over
/// links of `link_mtu` bytes.
///
/// # Errors
/// [`LinkMtuError`] when that is less than 1200 bytes.
pub fn max_udp_payload(
    link_mtu: u16,
    relays: impl IntoIterator<Item = SocketAddr>,
) -> Result<u16, LinkMtuError> {
    let v6 = relays.into_iter().any(|relay| relay.is_ipv6());
    let overhead = MAX_ENVELOPE + if v6 { IPV6_UDP } else { IPV4_UDP };
    match link_mtu.checked_sub(overhead) {
        Some(fits) if fits >= MIN_PAYLOAD => Ok(fits),
        _ => Err(LinkMtuError {
            mtu: link_mtu,
            needed: MIN_PAYLOAD + overhead,
        }),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::as_conversions,
    reason = "69 fits"
)]
const MAX_ENVELOPE: u16 = MAX_OVERHEAD as u16;
const IPV4_UDP: u16 = 20 + 8;
const IPV6_UDP: u16 = 40 + 8;
/// What every QUIC path carries (RFC 9000, section 14).
const MIN_PAYLOAD: u16 = 1200;

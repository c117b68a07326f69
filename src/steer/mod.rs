//! Where a datagram goes: from the bytes that anyone can read to one verdict.
//!
//! The ladder: too short, a connection ID that names its owner, versions, Initials of new
//! connections. It keeps no state for each flow. It does not send, and what happens to a forwarded
//! datagram when the peer cannot be reached is the tunnel's business.

use crate::cid::{ConfigSet, ServerId};
use crate::fleet::{NodeId, Owner, View};
use crate::wire::{Datagram, LongHeader, LongKind};

/// Decides for each datagram, from the connection ID configurations and a view of the fleet.
#[derive(Clone, Debug)]
pub struct Steer {
    configs: ConfigSet,
    view: View,
}

/// How a datagram reached this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// On the service address.
    Direct,
    /// From a peer, which took this node for the owner.
    Tunnel,
}

/// What to do with a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Hand it to this node's own endpoint.
    Local,
    /// Send it through the tunnel to its owner.
    Forward(NodeId),
    /// Answer with a version negotiation packet.
    Negotiate,
    /// Drop and count it.
    Drop(DropReason),
}

/// Why a datagram was dropped. Each is counted under its [`DropReason::name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// Too short for its header or for any packet.
    NotQuic,
    /// A short header whose connection ID no known configuration decodes.
    UndecodableCid,
    /// It belongs to an earlier process of this node.
    GoneInstance,
    /// Its server ID is of no node in the view.
    UnknownOwner,
    /// It came through a tunnel and belongs elsewhere: the hop limit is 1.
    HopLimit,
    /// A version negotiation or Retry packet, which only servers send.
    ServerPacket,
    /// A version that is not spoken, in a datagram too short to be answered.
    UnknownVersion,
    /// A Handshake packet with a connection ID that the client chose.
    NoOwner,
}

impl Steer {
    /// Combines what is known; cheap to make anew when either changes.
    pub fn new(configs: ConfigSet, view: View) -> Self {
        Self { configs, view }
    }

    /// The view that decisions follow.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Decides for one datagram.
    pub fn handle(&self, datagram: &[u8], arrival: Arrival) -> Verdict {
        match Datagram::parse(datagram) {
            Err(_) => Verdict::Drop(DropReason::NotQuic),
            Ok(Datagram::Short(rest)) => match self.configs.decode_prefix(rest) {
                Ok(decoded) => self
                    .routed(&decoded.server_id, arrival)
                    .unwrap_or_else(Verdict::Drop),
                Err(_) => Verdict::Drop(DropReason::UndecodableCid),
            },
            Ok(Datagram::Long(header)) => self.long(&header, datagram.len(), arrival),
        }
    }

    fn long(&self, header: &LongHeader<'_>, len: usize, arrival: Arrival) -> Verdict {
        if let Ok(decoded) = self.configs.decode(header.destination) {
            match self.routed(&decoded.server_id, arrival) {
                Ok(verdict) => return verdict,
                Err(DropReason::HopLimit) => return Verdict::Drop(DropReason::HopLimit),
                // A client may choose an ID that decodes by chance, so only its Initial goes on.
                Err(_) if matches!(header.kind, LongKind::Initial | LongKind::OtherVersion) => {}
                Err(reason) => return Verdict::Drop(reason),
            }
        }
        match header.kind {
            LongKind::VersionNegotiation | LongKind::Retry => {
                Verdict::Drop(DropReason::ServerPacket)
            }
            _ if arrival == Arrival::Tunnel => Verdict::Drop(DropReason::HopLimit),
            LongKind::OtherVersion if len >= MIN_INITIAL => Verdict::Negotiate,
            LongKind::OtherVersion => Verdict::Drop(DropReason::UnknownVersion),
            LongKind::Initial | LongKind::ZeroRtt => Verdict::Local,
            LongKind::Handshake => Verdict::Drop(DropReason::NoOwner),
        }
    }

    fn routed(&self, id: &ServerId, arrival: Arrival) -> Result<Verdict, DropReason> {
        match (self.view.owner(id), arrival) {
            (Owner::Own, _) => Ok(Verdict::Local),
            (Owner::Peer(node), Arrival::Direct) => Ok(Verdict::Forward(node)),
            (Owner::Peer(_), Arrival::Tunnel) => Err(DropReason::HopLimit),
            (Owner::GoneInstance(_), _) => Err(DropReason::GoneInstance),
            (Owner::Unknown, _) => Err(DropReason::UnknownOwner),
        }
    }
}

impl DropReason {
    /// Every reason, for metrics that show a zero before the first drop.
    pub const ALL: [Self; 8] = [
        Self::NotQuic,
        Self::UndecodableCid,
        Self::GoneInstance,
        Self::UnknownOwner,
        Self::HopLimit,
        Self::ServerPacket,
        Self::UnknownVersion,
        Self::NoOwner,
    ];

    /// The word under which it is counted.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotQuic => "not_quic",
            Self::UndecodableCid => "undecodable_cid",
            Self::GoneInstance => "gone_instance",
            Self::UnknownOwner => "unknown_owner",
            Self::HopLimit => "hop_limit",
            Self::ServerPacket => "server_packet",
            Self::UnknownVersion => "unknown_version",
            Self::NoOwner => "no_owner",
        }
    }
}

/// The smallest datagram that may open a connection (RFC 9000, section 14.1).
const MIN_INITIAL: usize = 1200;

#[cfg(test)]
mod tests;

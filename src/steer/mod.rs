//! Where a datagram goes: from the bytes that anyone can read to one verdict.
//!
//! The ladder: too short, a connection ID that names its owner, versions, first packets of new
//! connections. It does not send, and what happens to a forwarded datagram when the peer cannot be
//! reached is the tunnel's business.

mod allowance;
mod drop_reason;
mod early;
mod locate;
mod siblings;
mod slots;
mod waiting;

use std::net::SocketAddr;
use std::ops::DerefMut;
use std::time::Instant;

pub use allowance::{Allowance, PeerAllowance, Rate};
pub use drop_reason::DropReason;
pub use early::{EarlyKey, EarlyTable, Place};
pub use locate::Location;
pub use slots::{Slot, Slots, TooManySlots};
pub use waiting::{Released, Waiting, WaitingFull};

use crate::cid::{ConfigSet, ServerId};
use crate::fleet::{InstanceId, NodeId, Owner, View};
use crate::session::TokenKeys;
use crate::wire::{Datagram, LongHeader, LongKind, MIN_RESET_TRIGGER};

/// Decides for each datagram, from the connection ID configurations and a view of the fleet.
#[derive(Clone, Debug)]
pub struct Steer {
    configs: ConfigSet,
    view: View,
    slots: Slots,
    intake: Intake,
    owners: Option<TokenKeys>,
}

/// What becomes of new connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Intake {
    /// They are this node's.
    #[default]
    Open,
    /// They are handed to a peer that welcomes them, if there is one: this node drains. It is the one
    /// that an address token names, else one by rendezvous hashing.
    HandOver,
}

/// A datagram as it arrived.
#[derive(Clone, Copy, Debug)]
pub struct Inbound<'a> {
    /// Its bytes.
    pub datagram: &'a [u8],
    /// The client's address.
    pub source: SocketAddr,
    /// How it reached this process.
    pub arrival: Arrival,
}

/// How a datagram reached this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// On the service address.
    Direct,
    /// From a peer, which took this node for the owner.
    Tunnel,
    /// From another process of this node, which took this one for the owner.
    Sibling,
}

/// What to do with a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Hand it to the endpoint that issued its connection ID.
    Local(Slot),
    /// Hand it to this worker of the listener that it reached; it may open a connection.
    Accept(u16),
    /// Hand it to another process of this node.
    Sibling(InstanceId),
    /// Send it through the tunnel to its owner.
    Forward(NodeId),
    /// Hold it back until the Initial of its flow has come: early data that overtook it.
    Wait,
    /// Answer with a stateless reset: its owner is gone.
    Reset,
    /// Answer with a version negotiation packet.
    Negotiate,
    /// Drop and count it.
    Drop(DropReason),
}

/// What changes with each datagram: bounded, and never shared with another process.
#[derive(Debug)]
pub struct Tables {
    /// Where first packets went.
    pub early: EarlyTable,
    /// The allowance of resets: [`RESETS`].
    pub resets: Allowance,
    /// The allowance of new connections handed to peers: [`HAND_OVERS`] and [`HAND_OVERS_PER_PEER`].
    pub hand_overs: PeerAllowance,
}

impl Tables {
    /// Starts empty; `seed` must be random.
    pub fn new(seed: u64) -> Self {
        Self {
            early: EarlyTable::default(),
            resets: Allowance::new(RESETS, seed),
            hand_overs: PeerAllowance::new(HAND_OVERS, HAND_OVERS_PER_PEER, seed),
        }
    }
}

impl Steer {
    /// Combines what is known; cheap to make anew when any of it changes.
    pub fn new(configs: ConfigSet, view: View, slots: Slots) -> Self {
        Self {
            configs,
            view,
            slots,
            intake: Intake::Open,
            owners: None,
        }
    }

    /// Follows the owners that address tokens under these keys name: early data leads to the process
    /// that keeps its session.
    #[must_use]
    pub fn with_owners(mut self, tokens: TokenKeys) -> Self {
        self.owners = Some(tokens);
        self
    }

    /// Follows another view of the peers; the other processes of this node stay those that are known.
    #[must_use]
    pub fn with_peers(&self, view: View) -> Self {
        let siblings = self.view.siblings().iter().copied();
        Self {
            view: view.with_siblings(siblings),
            ..self.clone()
        }
    }

    /// Reads other connection IDs, and address tokens under other keys if it follows their owners.
    #[must_use]
    pub fn with_keys(&self, configs: ConfigSet, tokens: &TokenKeys) -> Self {
        Self {
            configs,
            owners: self.owners.as_ref().map(|_| tokens.clone()),
            ..self.clone()
        }
    }

    /// Sets what becomes of new connections.
    #[must_use]
    pub fn with_intake(mut self, intake: Intake) -> Self {
        self.intake = intake;
        self
    }

    /// The connection ID configurations that are read.
    pub fn configs(&self) -> &ConfigSet {
        &self.configs
    }

    /// The view that decisions follow.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// How connection IDs are shared among this process's endpoints.
    pub fn slots(&self) -> &Slots {
        &self.slots
    }

    /// What becomes of new connections.
    pub fn intake(&self) -> Intake {
        self.intake
    }

    /// Decides for one datagram.
    ///
    /// `tables` gives the tables when they are needed, which is for first packets and for resets only;
    /// the caller may take a lock in it.
    pub fn handle<T: DerefMut<Target = Tables>>(
        &self,
        now: Instant,
        inbound: &Inbound<'_>,
        tables: impl FnOnce() -> T,
    ) -> Verdict {
        match Datagram::parse(inbound.datagram) {
            Err(_) => Verdict::Drop(DropReason::NotQuic),
            Ok(Datagram::Short(rest)) => self.short(now, rest, inbound, tables),
            Ok(Datagram::Long(header)) => self.long(now, &header, inbound, tables),
        }
    }

    fn short<T: DerefMut<Target = Tables>>(
        &self,
        now: Instant,
        rest: &[u8],
        inbound: &Inbound<'_>,
        tables: impl FnOnce() -> T,
    ) -> Verdict {
        let Ok(decoded) = self.configs.decode_prefix(rest) else {
            return Verdict::Drop(DropReason::UndecodableCid);
        };
        let cid = rest.get(..self.slots.cid_len()).unwrap_or(rest);
        match self.routed(cid, &decoded.server_id, inbound.arrival) {
            Err(DropReason::OwnerGone) if inbound.datagram.len() < MIN_RESET_TRIGGER => {
                Verdict::Drop(DropReason::ResetTooShort)
            }
            Err(DropReason::OwnerGone) if tables().resets.take(now, inbound.source.ip()) => {
                Verdict::Reset
            }
            Err(DropReason::OwnerGone) => Verdict::Drop(DropReason::ResetLimit),
            Err(reason) => Verdict::Drop(reason),
            Ok(verdict) => verdict,
        }
    }

    fn long<T: DerefMut<Target = Tables>>(
        &self,
        now: Instant,
        header: &LongHeader<'_>,
        inbound: &Inbound<'_>,
        tables: impl FnOnce() -> T,
    ) -> Verdict {
        if let Ok(decoded) = self.configs.decode(header.destination) {
            match self.routed(header.destination, &decoded.server_id, inbound.arrival) {
                Ok(verdict) => return verdict,
                Err(reason @ (DropReason::HopLimit | DropReason::OwnerSilent)) => {
                    return Verdict::Drop(reason);
                }
                // A client may choose an ID that decodes by chance, so only its Initial goes on.
                Err(_) if matches!(header.kind, LongKind::Initial | LongKind::OtherVersion) => {}
                Err(reason) => return Verdict::Drop(reason),
            }
        }
        match header.kind {
            LongKind::VersionNegotiation | LongKind::Retry => {
                Verdict::Drop(DropReason::ServerPacket)
            }
            LongKind::OtherVersion if inbound.arrival != Arrival::Direct => {
                Verdict::Drop(DropReason::HopLimit)
            }
            LongKind::OtherVersion if inbound.datagram.len() >= MIN_INITIAL => Verdict::Negotiate,
            LongKind::OtherVersion => Verdict::Drop(DropReason::UnknownVersion),
            LongKind::Initial | LongKind::ZeroRtt => {
                self.first(now, header, inbound, &mut tables())
            }
            LongKind::Handshake => Verdict::Drop(DropReason::NoOwner),
        }
    }

    /// Decides for a packet under a connection ID that its client chose.
    fn first(
        &self,
        now: Instant,
        header: &LongHeader<'_>,
        inbound: &Inbound<'_>,
        tables: &mut Tables,
    ) -> Verdict {
        let accept = Verdict::Accept(self.slots.worker_of(header.destination));
        let Some(key) = EarlyKey::new(header.destination, inbound.source) else {
            return Verdict::Drop(DropReason::NotQuic);
        };
        // Whoever passed it on decided that it is for this process.
        let passed_on = inbound.arrival != Arrival::Direct;
        match tables.early.get(now, &key) {
            Some(Place::Here) => return accept,
            Some(Place::Node(node)) if !passed_on && self.view.is_live(node) => {
                return Verdict::Forward(node);
            }
            None if header.kind == LongKind::ZeroRtt && !passed_on && self.owners.is_some() => {
                return Verdict::Wait;
            }
            _ => {}
        }
        let new = header.kind == LongKind::Initial;
        let source = inbound.source.ip();
        let mut allowed = |peer: &NodeId| !new || tables.hand_overs.take(now, source, *peer);
        let named = || self.named_peer(header.token);
        let elsewhere = match self.intake {
            _ if passed_on => None,
            Intake::HandOver => match named().or_else(|| self.view.successor(header.destination)) {
                Some(peer) if !allowed(&peer) => {
                    return Verdict::Drop(DropReason::HandOverLimit);
                }
                peer => peer,
            },
            Intake::Open => named().filter(allowed),
        };
        if new {
            let place = elsewhere.map_or(Place::Here, Place::Node);
            tables.early.insert(now, key, place);
        }
        elsewhere.map_or(accept, Verdict::Forward)
    }

    /// The peer that an address token names, if it lives and takes new connections.
    fn named_peer(&self, token: &[u8]) -> Option<NodeId> {
        let owner = self.owners.as_ref()?.owner_of(token)?;
        match self.view.owner(&owner) {
            Owner::Peer(node) if self.view.welcomes(node) => Some(node),
            _ => None,
        }
    }

    /// Where a connection ID with this server ID leads; an error is why nowhere.
    fn routed(&self, cid: &[u8], id: &ServerId, arrival: Arrival) -> Result<Verdict, DropReason> {
        match (self.view.owner(id), arrival) {
            (Owner::Own, _) => Ok(Verdict::Local(self.slots.slot_of(cid))),
            (Owner::Sibling(instance), Arrival::Direct | Arrival::Tunnel) => {
                Ok(Verdict::Sibling(instance))
            }
            (Owner::Peer(node), Arrival::Direct) => Ok(Verdict::Forward(node)),
            (Owner::GoneInstance(_), _) | (Owner::DeadPeer(_), Arrival::Direct) => {
                Err(DropReason::OwnerGone)
            }
            (Owner::SilentPeer(_), Arrival::Direct) => Err(DropReason::OwnerSilent),
            (Owner::Unknown, _) => Err(DropReason::UnknownOwner),
            _ => Err(DropReason::HopLimit),
        }
    }
}

/// Stateless resets that a node sends for owners that are gone. A thousand clients of a dead node may sit
/// behind one NAT, and each should be freed by its first packet; all together take a few percent of
/// a core.
pub const RESETS: Rate = Rate {
    per_source: 1000,
    in_all: 10_000,
};
/// New connections that a node hands to its peers: all while it drains, and those whose tokens name
/// a peer.
pub const HAND_OVERS: Rate = Rate {
    per_source: 100,
    in_all: 10_000,
};
/// Of those, how many each peer gets, so that a flood at this node's address adds little to its load:
/// answering so many with a Retry takes two percent of a core.
pub const HAND_OVERS_PER_PEER: u32 = 2000;
/// The smallest datagram that may open a connection (RFC 9000, section 14.1).
const MIN_INITIAL: usize = 1200;

/// Where virtual time begins.
#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "an Instant has no other beginning"
)]
fn start() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests;

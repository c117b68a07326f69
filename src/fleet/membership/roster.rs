use std::net::SocketAddr;
use std::time::Duration;

use aws_lc_rs::digest;

use crate::fleet::{Identity, InstanceId, NodeId};
use crate::wire::BootId;

/// This process, as its peers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own {
    /// How it is named in its connection IDs.
    pub identity: Identity,
    /// The node.
    pub node: NodeId,
    /// The process's instance of the node.
    pub instance: InstanceId,
    /// Drawn at random at its start.
    pub boot: BootId,
    /// What all members must have the same, besides the members.
    pub config: ConfigDigest,
}

/// A digest of the settings that must be the same on all members (SHA-256).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConfigDigest([u8; 32]);

/// One configured node of the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its ID.
    pub node: NodeId,
    /// The UDP address of its end of the tunnel.
    pub relay: SocketAddr,
}

/// The configured members, this node among them: 1 to [`Roster::MAX_MEMBERS`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roster(Vec<Member>);

/// Why members are no roster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RosterError {
    /// This node is not among them.
    #[error("node {0} is not a member of the fleet")]
    NotAMember(NodeId),
    /// Two have one ID.
    #[error("two members have the ID {0}")]
    Duplicate(NodeId),
    /// There are too many.
    #[error("{0} members are more than {max}", max = Roster::MAX_MEMBERS)]
    TooMany(usize),
}

/// How fast liveness is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between two heartbeats to a peer. The round trip between two nodes must be shorter than three.
    pub interval: Duration,
    /// A peer that proves nothing for this long is silent; at least three intervals.
    pub silent_after: Duration,
    /// In a fleet of two, where there is no majority, a peer that proves nothing for this long is dead.
    pub dead_after: Duration,
}

impl ConfigDigest {
    /// Takes the settings in one canonical form.
    pub fn new(settings: &[u8]) -> Self {
        Self(sha256(&[settings]))
    }

    /// Adds the members.
    pub(super) fn with(self, roster: &Roster) -> [u8; 32] {
        let ids: Vec<_> = roster
            .0
            .iter()
            .flat_map(|member| member.node.to_bytes())
            .collect();
        sha256(&[&self.0, &ids])
    }
}

impl Roster {
    /// The most members of a fleet; every node sends every other a heartbeat in each interval.
    pub const MAX_MEMBERS: usize = 128;

    /// Collects the members, in any order.
    ///
    /// # Errors
    /// [`RosterError::Duplicate`] and [`RosterError::TooMany`].
    pub fn new(members: impl IntoIterator<Item = Member>) -> Result<Self, RosterError> {
        let mut members: Vec<_> = members.into_iter().collect();
        if members.len() > Self::MAX_MEMBERS {
            return Err(RosterError::TooMany(members.len()));
        }
        members.sort_by_key(|member| member.node);
        match members.windows(2).find(|pair| pair[0].node == pair[1].node) {
            Some(pair) => Err(RosterError::Duplicate(pair[0].node)),
            None => Ok(Self(members)),
        }
    }

    /// The members in ascending order.
    pub fn members(&self) -> &[Member] {
        &self.0
    }

    /// The member with this ID.
    pub fn get(&self, node: NodeId) -> Option<&Member> {
        let found = self.0.binary_search_by_key(&node, |member| member.node);
        found.ok().map(|at| &self.0[at])
    }

    /// The members other than `own`, which must be one.
    pub(super) fn peers(&self, own: NodeId) -> Result<impl Iterator<Item = NodeId>, RosterError> {
        self.get(own).ok_or(RosterError::NotAMember(own))?;
        let nodes = self.0.iter().map(|member| member.node);
        Ok(nodes.filter(move |node| *node != own))
    }
}

impl Timing {
    /// Detects a death within a second.
    pub const DEFAULT: Self = Self {
        interval: Duration::from_millis(200),
        silent_after: Duration::from_millis(800),
        dead_after: Duration::from_secs(10),
    };
}

impl Default for Timing {
    fn default() -> Self {
        Self::DEFAULT
    }
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    bytes
}

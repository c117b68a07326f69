use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::fleet::{Epoch, Epochs, NodeId, Party, PeerState};

/// What this node knows of one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The peer.
    pub node: NodeId,
    /// Where its end of the tunnel is.
    pub relay: SocketAddr,
    /// Whether it lives.
    pub state: PeerState,
    /// Whether it takes new connections from a node that drains.
    pub welcomes: bool,
    /// Whether it says that it drains.
    pub draining: bool,
    /// How long ago it last proved to be alive; none if it never did.
    pub heard: Option<Duration>,
    /// The process that proved to be alive last.
    pub process: Option<Party>,
    /// The heartbeat version that it speaks; none while it is silent.
    pub version: Option<u8>,
    /// The key epochs that it has, as far as it said.
    pub epochs: Option<Epochs>,
    /// The epoch of the connection IDs that it issues.
    pub minting: Option<Epoch>,
    /// Other peers that say they hear it.
    pub heard_by: Vec<NodeId>,
    /// Other peers that say they do not.
    pub unheard_by: Vec<NodeId>,
    /// What is wrong with it.
    pub findings: Vec<Finding>,
}

/// Something that an operator should put right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Finding {
    /// Two processes go on under the peer's node ID.
    DuplicateNode,
    /// The peer hears another process under this node's ID.
    OwnNodeTaken,
    /// The peer's heartbeats are sealed under another key.
    OtherKey,
    /// The peer's heartbeats are sealed under an epoch that is not in this node's keyring.
    OtherEpoch,
    /// The peer has other members or other settings of connection IDs.
    OtherConfig,
    /// The peer speaks another version of the tunnel protocol.
    OtherVersion,
    /// The peer's clock is 30 s or more apart from this node's.
    ClockApart,
}

impl Finding {
    /// Every finding.
    pub const ALL: [Self; 7] = [
        Self::DuplicateNode,
        Self::OwnNodeTaken,
        Self::OtherKey,
        Self::OtherEpoch,
        Self::OtherConfig,
        Self::OtherVersion,
        Self::ClockApart,
    ];

    /// The word that stands for it in status and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::DuplicateNode => "duplicate_node",
            Self::OwnNodeTaken => "own_node_taken",
            Self::OtherKey => "other_key",
            Self::OtherEpoch => "other_epoch",
            Self::OtherConfig => "other_config",
            Self::OtherVersion => "other_version",
            Self::ClockApart => "clock_apart",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DuplicateNode => "two processes run under the peer's node ID; stop one of them",
            Self::OwnNodeTaken => {
                "the peer hears another process under this node's ID; stop one of them"
            }
            Self::OtherKey => "the peer has another fleet key; compare the key files",
            Self::OtherEpoch => {
                "the peer uses an epoch of the fleet key that this node does not have; \
                 copy the key file to both and reload"
            }
            Self::OtherConfig => {
                "the peer has other members or other settings of connection IDs; \
                 compare the configurations"
            }
            Self::OtherVersion => {
                "the peer speaks another version of the tunnel; upgrade the older"
            }
            Self::ClockApart => "the peer's clock is 30 s or more apart; set both by NTP",
        })
    }
}

/// Tells what goes on from what happened once, such as around a restart.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sign {
    /// The first and the last time of the occurrences that followed one another.
    seen: Option<(Instant, Instant)>,
}

impl Sign {
    pub(super) fn note(&mut self, now: Instant) {
        let since = match self.seen {
            Some((since, last)) if now.saturating_duration_since(last) <= GAP => since,
            _ => now,
        };
        self.seen = Some((since, now));
    }

    pub(super) fn is_lasting(self, now: Instant) -> bool {
        self.seen.is_some_and(|(since, last)| {
            last.saturating_duration_since(since) >= LASTING
                && now.saturating_duration_since(last) <= HOLD
        })
    }
}

/// Occurrences farther apart do not belong together; heartbeats come at least once a second.
const GAP: Duration = Duration::from_secs(3);
/// A restart is over in less.
pub(super) const LASTING: Duration = Duration::from_secs(2);
/// For how long it is still shown after the last occurrence; this also bounds how often it is logged.
const HOLD: Duration = Duration::from_secs(30);

//! What this node says of itself and of the others.

use std::time::{Duration, Instant};

use super::peer::Peer;
use super::{Keys, Membership};
use crate::fleet::{Epoch, NodeId, PeerState};
use crate::wire::{Hearing, Reachable, Report, SealedHeartbeat};

impl Membership {
    /// The epoch of new connection IDs: the current one once every live peer is known to have it,
    /// else the previous one, so that no node issues what another cannot read.
    pub fn minting(&self) -> Epoch {
        let Keys { epochs, current } = self.keys;
        let mut live = self
            .peers
            .values()
            .filter(|peer| peer.state == PeerState::Live);
        let known = |peer: &Peer| {
            let epochs = peer.association.known_epochs();
            epochs.is_some_and(|epochs| epochs.contains(current))
        };
        if epochs.lowest == current || live.all(known) {
            current
        } else {
            epochs.lowest
        }
    }

    pub(super) fn reachable(&self, now: Instant) -> Vec<u8> {
        let mut entries = Vec::with_capacity(self.peers.len() * Reachable::ENTRY_LEN);
        for (node, peer) in &self.peers {
            let hearing = if peer.silence(now) < self.timing.silent_after {
                Hearing::Heard
            } else {
                Hearing::Unheard
            };
            Reachable::push(&mut entries, node.to_bytes(), hearing);
        }
        entries
    }

    pub(super) fn answer(&self, now: Instant, wall: Duration, to: &SealedHeartbeat<'_>) -> Vec<u8> {
        let mut message = Vec::new();
        let node = NodeId::from_bytes(to.heartbeat.sender.node);
        let Some(peer) = self.peers.get(&node) else {
            return message;
        };
        let reachable = self.reachable(now);
        let report = to.report.and_then(|_| {
            let digest = peer
                .association
                .config_digest(&self.config, to.heartbeat.sender.epoch);
            Some(self.report(wall, &reachable, digest?))
        });
        peer.association.answer(to, report.as_ref(), &mut message);
        message
    }

    pub(super) fn report<'a>(
        &self,
        wall: Duration,
        reachable: &'a [u8],
        config: [u8; 8],
    ) -> Report<'a> {
        Report {
            draining: self.draining,
            epochs: (self.keys.epochs.lowest.0, self.keys.epochs.highest.0),
            minting: self.minting().0,
            config,
            wall: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
            reachable: Reachable::new(reachable),
        }
    }
}

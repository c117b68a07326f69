//! Who is live, silent or dead.

use std::time::Instant;

use super::Membership;
use super::peer::Peer;
use crate::fleet::{NodeId, PeerState, View};
use crate::wire::Hearing;

impl Membership {
    /// Decides about every peer anew.
    pub(super) fn evaluate(&mut self, now: Instant) {
        let states: Vec<_> = self
            .peers
            .iter()
            .map(|(node, peer)| self.state_of(now, *node, peer))
            .collect();
        for (peer, state) in self.peers.values_mut().zip(states) {
            if peer.state == PeerState::Live && state != PeerState::Live {
                self.untold.get_or_insert(now);
            }
            peer.state = state;
        }
        let peers = self.peers.values().map(|peer| peer.view(now, &self.timing));
        let view = View::new(self.own.identity, peers).with_siblings(self.siblings.iter().copied());
        self.show(view);
    }

    fn state_of(&self, now: Instant, node: NodeId, peer: &Peer) -> PeerState {
        let silence = peer.silence(now);
        if silence < self.timing.silent_after {
            return PeerState::Live;
        }
        let members = self.peers.len() + 1;
        let dead = if members == 2 {
            silence >= self.timing.dead_after
        } else {
            let witnesses = self.peers.values().filter(|witness| {
                let hears = witness.hears(now, node, &self.timing);
                hears == Some(Hearing::Unheard)
            });
            2 * (1 + witnesses.count()) > members
        };
        if dead {
            PeerState::Dead
        } else {
            PeerState::Silent
        }
    }

    pub(super) fn show(&mut self, view: View) {
        if view != self.view {
            self.view = view;
            self.changed = true;
        }
    }
}

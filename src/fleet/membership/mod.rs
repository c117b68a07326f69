mod liveness;
mod peer;
mod report;
mod roster;
mod status;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use roster::{ConfigDigest, Member, Own, Roster, RosterError, Timing};
pub use status::{Finding, PeerStatus};

use self::peer::Peer;
use super::{
    Association, Counters, Epoch, Epochs, InstanceId, Keyring, NodeId, Outgoing, PairKeys, Party,
    PeerState, Refusal, View,
};
use crate::wire::{BootId, Challenge, EnvelopeError, Hearing, Heartbeat, Sealed};

/// Which peers live: heartbeats with all of them, and what follows from them and from what each says
/// of the others.
///
/// A peer is *silent* when it did not prove to be alive for the detection time, counted from this
/// process's start or the peer's joining if it never did. It is *dead* when more than half of the
/// configured members say so: this node and peers that are not silent themselves, in reports no older
/// than the detection time. In a fleet of two it is dead after a longer silence. One proof of life ends
/// either; new connections are handed to a peer only when it has been heard for a while.
///
/// State is bounded by the roster: nothing that arrives makes it grow.
#[derive(Debug)]
pub struct Membership {
    own: Own,
    timing: Timing,
    counters: Arc<Counters>,
    peers: BTreeMap<NodeId, Peer>,
    /// Former members. Their replay windows are kept in case they come back.
    departed: VecDeque<(NodeId, Peer)>,
    keys: Keys,
    /// Digest of what all members must have the same, members included.
    config: [u8; 32],
    siblings: Vec<InstanceId>,
    draining: bool,
    next_beat: Instant,
    /// Since when a peer is silent of which the others do not know yet.
    untold: Option<Instant>,
    view: View,
    changed: bool,
}

/// What an accepted heartbeat led to.
#[derive(Debug)]
pub struct Reaction {
    /// The peer that sent it.
    pub peer: NodeId,
    /// To be sent back to the peer at once.
    pub answer: Option<Vec<u8>>,
    /// How to seal for the peer from now on, if that changes.
    pub confirmed: Option<Arc<Outgoing>>,
}

/// The epochs of the keyring.
#[derive(Clone, Copy, Debug)]
struct Keys {
    epochs: Epochs,
    current: Epoch,
}

impl Membership {
    /// Starts listening.
    ///
    /// # Errors
    /// [`RosterError::NotAMember`].
    pub fn new(
        now: Instant,
        own: Own,
        roster: &Roster,
        keyring: &Keyring,
        timing: Timing,
    ) -> Result<Self, RosterError> {
        let mut membership = Self {
            own,
            timing,
            counters: Counters::new(),
            peers: BTreeMap::new(),
            departed: VecDeque::new(),
            keys: Keys::of(keyring),
            config: own.config.with(roster),
            siblings: Vec::new(),
            draining: false,
            next_beat: now,
            untold: None,
            view: View::new(own.identity, []),
            changed: true,
        };
        membership.update(now, roster, keyring)?;
        Ok(membership)
    }

    /// Follows other members and keys. Peers that stay keep their associations; gives how to seal from
    /// now on for each that is confirmed.
    ///
    /// # Errors
    /// [`RosterError::NotAMember`]; nothing has changed then.
    pub fn update(
        &mut self,
        now: Instant,
        roster: &Roster,
        keyring: &Keyring,
    ) -> Result<Vec<(NodeId, Arc<Outgoing>)>, RosterError> {
        let nodes: Vec<_> = roster.peers(self.own.node)?.collect();
        self.keys = Keys::of(keyring);
        self.config = self.own.config.with(roster);
        let gone = self.peers.extract_if(.., |node, _| !nodes.contains(node));
        self.departed.extend(gone);
        let excess = self.departed.len().saturating_sub(Roster::MAX_MEMBERS);
        self.departed.drain(..excess);
        let mut outgoing = Vec::new();
        for member in roster.members() {
            let node = member.node;
            if node == self.own.node {
                continue;
            }
            let keys = PairKeys::new(keyring, self.own.node, node);
            if let Some(peer) = self.peers.get_mut(&node) {
                peer.relocate(*member);
            } else {
                let peer = self.join(now, *member, keys.clone());
                self.peers.insert(node, peer);
            }
            let peer = self.peers.get_mut(&node);
            let sealing = peer.and_then(|peer| peer.association.rekey(keys));
            outgoing.extend(sealing.map(|sealing| (node, sealing)));
        }
        self.evaluate(now);
        Ok(outgoing)
    }

    /// Listens anew, as another boot, in a process that did not listen for a while because another one
    /// of its node had the sockets: peers that confirmed that one would refuse the boot before. Silence
    /// counts from here.
    pub fn resume(&mut self, now: Instant, boot: BootId) {
        self.own.boot = boot;
        for peer in self.peers.values_mut() {
            peer.association.reboot(boot);
            peer.listen(now);
        }
        for (_, peer) in &mut self.departed {
            peer.association.reboot(boot);
        }
        self.next_beat = now;
        self.evaluate(now);
    }

    /// Sends what is due: heartbeats in each interval, and at once when a peer has fallen silent, so
    /// that the others hear of it. Call it when [`Membership::next_tick`] has come.
    ///
    /// `wall` is the time since 1970. `random` fills what it gets with random bytes.
    pub fn tick(
        &mut self,
        now: Instant,
        wall: Duration,
        mut random: impl FnMut(&mut [u8]),
    ) -> Vec<(NodeId, Vec<u8>)> {
        self.evaluate(now);
        let due = now >= self.next_beat;
        if due {
            let regular = self.next_beat + self.timing.interval;
            // Ticks that were missed are not made up for.
            self.next_beat = if regular > now {
                regular
            } else {
                now + self.timing.interval
            };
            for peer in self.peers.values_mut() {
                let mut challenge = [0; 16];
                random(&mut challenge);
                peer.association.tick(Challenge(challenge));
            }
        } else if self.untold.is_none() {
            return Vec::new();
        }
        self.untold = None;
        let reachable = self.reachable(now);
        let mut messages = Vec::with_capacity(self.peers.len());
        for (node, peer) in &self.peers {
            let association = &peer.association;
            let digest = association.config_digest(&self.config, association.speaking().low_byte());
            let Some(digest) = digest else { continue };
            let report = self.report(wall, &reachable, digest);
            let mut write = |report| {
                let mut message = Vec::new();
                association.heartbeat(report, &mut message);
                messages.push((*node, message));
            };
            write(Some(&report));
            if due && !peer.reports(now, &self.timing) {
                write(None);
            }
        }
        messages
    }

    /// When to call [`Membership::tick`] next.
    pub fn next_tick(&self) -> Instant {
        let silent = |peer: &Peer| match peer.state {
            PeerState::Live => Some(peer.silent_at(self.timing.silent_after)),
            PeerState::Silent if self.peers.len() == 1 => {
                Some(peer.silent_at(self.timing.dead_after))
            }
            _ => None,
        };
        let silent = self.peers.values().filter_map(silent);
        let next = silent.chain(self.untold).chain([self.next_beat]);
        next.min().unwrap_or(self.next_beat)
    }

    /// Takes a heartbeat.
    ///
    /// # Errors
    /// [`Refusal`], to be counted; [`Membership::refused`] may be told.
    pub fn on_heartbeat(
        &mut self,
        now: Instant,
        wall: Duration,
        bytes: &[u8],
    ) -> Result<Reaction, Refusal> {
        let sealed = Heartbeat::parse(bytes)?;
        let (config, timing) = (self.config, self.timing);
        let peer = self.peer(sealed.heartbeat.sender.node)?;
        let heard = match peer.association.on_heartbeat(&sealed) {
            Ok(heard) => heard,
            Err(refusal) => {
                if refusal == Refusal::Replaced {
                    peer.suspect(now, wall, &timing, &sealed);
                }
                return Err(refusal);
            }
        };
        if heard.alive {
            peer.prove(now, &timing);
            if let Some(report) = &sealed.report {
                let low = sealed.heartbeat.sender.epoch;
                let digest = peer.association.config_digest(&config, low);
                peer.tell(now, wall, report, |told| digest.as_ref() == Some(told));
            }
        } else {
            peer.suspect(now, wall, &timing, &sealed);
        }
        let peer = peer.association.peer();
        self.evaluate(now);
        let answer = heard.answer_now.then(|| self.answer(now, wall, &sealed));
        Ok(Reaction {
            peer,
            answer,
            confirmed: heard.confirmed,
        })
    }

    /// Checks a datagram in an envelope; its payload may be used afterwards.
    ///
    /// # Errors
    /// [`Refusal`], to be counted.
    pub fn open(&mut self, sealed: &Sealed<'_>) -> Result<(), Refusal> {
        let peer = self.peer(sealed.envelope.sender.node)?;
        peer.association.open(sealed)
    }

    /// Notes that something was refused that came from a member's own relay address: if this goes on,
    /// it becomes a finding.
    pub fn refused(&mut self, now: Instant, from: NodeId, refusal: Refusal) {
        let finding = match refusal {
            Refusal::Tag => Finding::OtherKey,
            Refusal::Epoch => Finding::OtherEpoch,
            Refusal::Form(EnvelopeError::Version) => Finding::OtherVersion,
            Refusal::OwnNode => Finding::OwnNodeTaken,
            _ => return,
        };
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.note(now, finding);
        }
    }

    /// Says in heartbeats whether this node drains, from the next one on.
    pub fn set_draining(&mut self, draining: bool) {
        self.draining = draining;
    }

    /// Sets the other live processes of this node.
    pub fn set_siblings(&mut self, siblings: impl IntoIterator<Item = InstanceId>) {
        let view = self.view.clone().with_siblings(siblings);
        self.siblings = view.siblings().to_vec();
        self.show(view);
    }

    /// What this process believes now.
    pub fn view(&self) -> View {
        self.view.clone()
    }

    /// The view, if it is another than when this was last called.
    pub fn take_change(&mut self) -> Option<View> {
        std::mem::take(&mut self.changed).then(|| self.view.clone())
    }

    /// What an operator should put right, and at which peer.
    pub fn findings(&self, now: Instant) -> Vec<(NodeId, Finding)> {
        let of = |(node, peer): (&NodeId, &Peer)| {
            let findings = peer.findings(now, &self.timing).into_iter();
            findings.map(|finding| (*node, finding)).collect::<Vec<_>>()
        };
        self.peers.iter().flat_map(of).collect()
    }

    /// What is known of each peer, in ascending order.
    pub fn peers(&self, now: Instant) -> Vec<PeerStatus> {
        let timing = &self.timing;
        let mut all: Vec<_> = self
            .peers
            .values()
            .map(|peer| peer.status(now, timing))
            .collect();
        for status in &mut all {
            // What steering goes by, which follows with the next tick.
            status.welcomes = self.view.welcomes(status.node);
            for (witness, peer) in &self.peers {
                match peer.hears(now, status.node, timing) {
                    Some(Hearing::Heard) => status.heard_by.push(*witness),
                    Some(Hearing::Unheard) => status.unheard_by.push(*witness),
                    None => {}
                }
            }
        }
        all
    }

    fn peer(&mut self, sender: [u8; 3]) -> Result<&mut Peer, Refusal> {
        let node = NodeId::from_bytes(sender);
        if node == self.own.node {
            return Err(Refusal::OwnNode);
        }
        self.peers.get_mut(&node).ok_or(Refusal::UnknownNode)
    }

    fn join(&mut self, now: Instant, member: Member, keys: PairKeys) -> Peer {
        let before = self
            .departed
            .iter()
            .position(|(node, _)| *node == member.node);
        if let Some((_, mut peer)) = before.and_then(|at| self.departed.remove(at)) {
            peer.rejoin(now, member);
            return peer;
        }
        let own = Party {
            node: self.own.node,
            instance: self.own.instance,
            boot: self.own.boot,
        };
        let counters = Arc::clone(&self.counters);
        Peer::new(
            now,
            member,
            Association::new(own, member.node, keys, counters),
        )
    }
}

impl Keys {
    fn of(keyring: &Keyring) -> Self {
        Self {
            epochs: keyring.epochs(),
            current: keyring.current().epoch(),
        }
    }
}

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::fleet::{FleetKey, Identity};
use crate::wire::{BootId, Ecn, Envelope, Path};

/// A fleet in virtual time. What is sent arrives a moment later, unless the link is cut.
struct Fleet {
    nodes: BTreeMap<u32, Membership>,
    cut: Vec<(u32, u32)>,
    now: Instant,
    wall: Duration,
    drawn: u64,
    /// Everything that was sent: from, to, bytes.
    sent: Vec<(u32, u32, Vec<u8>)>,
}

#[expect(
    clippy::disallowed_methods,
    reason = "an Instant has no other beginning"
)]
fn start() -> Instant {
    Instant::now()
}

fn node(id: u32) -> NodeId {
    NodeId::new(id).unwrap()
}

fn ring(lowest: u32, current: u32, highest: u32) -> Keyring {
    let key = |epoch| FleetKey::new(Epoch(epoch), [u8::try_from(epoch).unwrap(); 32]);
    Keyring {
        previous: (lowest < current).then(|| key(lowest)),
        current: key(current),
        next: (current < highest).then(|| key(highest)),
    }
}

fn roster(ids: impl IntoIterator<Item = u32>) -> Roster {
    let member = |id| Member {
        node: node(id),
        relay: ([10, 0, 0, 1], 4434).into(),
    };
    Roster::new(ids.into_iter().map(member)).unwrap()
}

fn own(id: u32, boot: u8) -> Own {
    Own {
        identity: Identity::Node(node(id), InstanceId(boot)),
        node: node(id),
        instance: InstanceId(boot),
        boot: BootId([boot; 16]),
        config: ConfigDigest::new(b"the same"),
    }
}

const STEP: Duration = Duration::from_millis(10);

impl Fleet {
    /// Nodes 1 to `size`, each of which has boot and instance 100 + its ID.
    fn new(size: u32) -> Self {
        let mut fleet = Self {
            nodes: BTreeMap::new(),
            cut: Vec::new(),
            now: start(),
            wall: Duration::from_secs(1_700_000_000),
            drawn: 0,
            sent: Vec::new(),
        };
        for id in 1..=size {
            fleet.boot(id, 100 + u8::try_from(id).unwrap(), &roster(1..=size));
        }
        fleet
    }

    fn boot(&mut self, id: u32, boot: u8, roster: &Roster) {
        let keyring = ring(1, 1, 1);
        let own = own(id, boot);
        let membership =
            Membership::new(self.now, own, roster, &keyring, Timing::default()).unwrap();
        self.nodes.insert(id, membership);
    }

    fn kill(&mut self, id: u32) {
        self.nodes.remove(&id);
    }

    /// Cuts links in both directions.
    fn cut(&mut self, pairs: &[(u32, u32)]) {
        self.cut = pairs
            .iter()
            .flat_map(|(a, b)| [(*a, *b), (*b, *a)])
            .collect();
    }

    fn run(&mut self, time: Duration) {
        self.run_with(time, |_| {});
    }

    fn run_with(&mut self, time: Duration, mut each: impl FnMut(&mut Self)) {
        let end = self.now + time;
        while self.now < end {
            self.now += STEP;
            self.wall += STEP;
            let mut sent = Vec::new();
            let drawn = &mut self.drawn;
            for (id, membership) in &mut self.nodes {
                if membership.next_tick() > self.now {
                    continue;
                }
                let random = |bytes: &mut [u8]| {
                    *drawn += 1;
                    bytes[..8].copy_from_slice(&drawn.to_be_bytes());
                };
                let messages = membership.tick(self.now, self.wall, random);
                sent.extend(
                    messages
                        .into_iter()
                        .map(|(to, bytes)| (*id, to.get(), bytes)),
                );
            }
            self.deliver(sent);
            each(self);
        }
    }

    fn deliver(&mut self, mut sent: Vec<(u32, u32, Vec<u8>)>) {
        while !sent.is_empty() {
            let mut answers = Vec::new();
            for (from, to, bytes) in sent {
                self.sent.push((from, to, bytes.clone()));
                if self.cut.contains(&(from, to)) {
                    continue;
                }
                let Some(membership) = self.nodes.get_mut(&to) else {
                    continue;
                };
                let reaction = membership.on_heartbeat(self.now, self.wall, &bytes);
                let answer = reaction.ok().and_then(|reaction| reaction.answer);
                answers.extend(answer.map(|answer| (to, from, answer)));
            }
            sent = answers;
        }
    }

    fn state(&self, of: u32, at: u32) -> PeerState {
        let view = self.nodes[&at].view();
        let peer = view.peers().iter().find(|peer| peer.node == node(of));
        peer.unwrap().state
    }

    fn welcomes(&self, of: u32, at: u32) -> bool {
        let view = self.nodes[&at].view();
        let peer = view.peers().iter().find(|peer| peer.node == node(of));
        peer.unwrap().welcomes
    }

    fn status(&self, of: u32, at: u32) -> PeerStatus {
        let all = self.nodes[&at].peers(self.now);
        all.into_iter().find(|peer| peer.node == node(of)).unwrap()
    }
}

const SETTLE: Duration = Duration::from_secs(2);

#[test]
fn the_death_of_a_node_is_known_to_all_within_a_second() {
    for phase in 0..20 {
        let mut fleet = Fleet::new(3);
        fleet.run(SETTLE + phase * STEP);
        assert_eq!(fleet.state(3, 1), PeerState::Live);
        fleet.kill(3);
        fleet.run(Duration::from_secs(1));
        assert_eq!(fleet.state(3, 1), PeerState::Dead);
        assert_eq!(fleet.state(3, 2), PeerState::Dead);
        assert_eq!(fleet.state(2, 1), PeerState::Live);
        assert_eq!(fleet.status(3, 1).unheard_by, [node(2)]);
    }
}

#[test]
fn a_node_behind_a_broken_link_is_silent_to_one_and_dead_to_nobody() {
    let mut fleet = Fleet::new(3);
    fleet.run(SETTLE);
    fleet.cut(&[(1, 3)]);
    fleet.run(SETTLE);
    assert_eq!(fleet.state(3, 1), PeerState::Silent);
    assert_eq!(fleet.status(3, 1).heard_by, [node(2)]);
    assert_eq!(fleet.state(3, 2), PeerState::Live);
    fleet.cut(&[]);
    fleet.run(SETTLE);
    assert_eq!(fleet.state(3, 1), PeerState::Live);
}

#[test]
fn the_smaller_side_of_a_partition_declares_nobody_dead() {
    let mut fleet = Fleet::new(5);
    fleet.run(SETTLE);
    let sides: Vec<_> = [1, 2]
        .iter()
        .flat_map(|a| [3, 4, 5].map(|b| (*a, b)))
        .collect();
    fleet.cut(&sides);
    fleet.run(Duration::from_secs(30));
    for a in [1, 2] {
        for b in [3, 4, 5] {
            assert_eq!(fleet.state(b, a), PeerState::Silent);
            assert_eq!(fleet.state(a, b), PeerState::Dead);
        }
    }
}

#[test]
fn in_a_fleet_of_two_death_takes_dead_after() {
    let mut fleet = Fleet::new(2);
    fleet.run(SETTLE);
    fleet.kill(2);
    fleet.run(Duration::from_millis(9_700));
    assert_eq!(fleet.state(2, 1), PeerState::Silent);
    fleet.run(Duration::from_millis(400));
    assert_eq!(fleet.state(2, 1), PeerState::Dead);
}

#[test]
fn a_fleet_of_one_has_no_peers_and_sends_nothing() {
    let mut fleet = Fleet::new(1);
    fleet.run(SETTLE);
    assert!(fleet.sent.is_empty() && fleet.nodes[&1].view().peers().is_empty());
    assert_eq!(fleet.nodes[&1].minting(), Epoch(1));
}

#[test]
fn a_node_that_starts_into_a_fleet_with_a_dead_member_waits_its_own_detection_time() {
    let mut fleet = Fleet::new(3);
    fleet.kill(3);
    fleet.run(Duration::from_millis(700));
    assert_eq!(fleet.state(3, 1), PeerState::Live);
    fleet.run(Duration::from_millis(300));
    assert_eq!(fleet.state(3, 1), PeerState::Dead);
    fleet.boot(2, 202, &roster(1..=3));
    fleet.run(Duration::from_millis(700));
    assert_eq!(fleet.state(3, 2), PeerState::Live);
    assert_eq!(
        fleet.state(3, 1),
        PeerState::Silent,
        "the only witness began anew"
    );
    fleet.run(Duration::from_millis(300));
    assert_eq!(fleet.state(3, 1), PeerState::Dead);
}

#[test]
fn one_proof_of_life_ends_death_and_a_steady_peer_is_welcome() {
    let mut fleet = Fleet::new(3);
    fleet.run(SETTLE);
    assert!(fleet.welcomes(3, 1));
    fleet.kill(3);
    fleet.run(SETTLE);
    assert!(!fleet.welcomes(3, 1));
    fleet.boot(3, 203, &roster(1..=3));
    fleet.run(Duration::from_millis(300));
    assert_eq!(fleet.state(3, 1), PeerState::Live);
    assert!(!fleet.welcomes(3, 1));
    fleet.run(Duration::from_millis(800));
    assert!(fleet.welcomes(3, 1));
    let process = fleet.status(3, 1).process.unwrap();
    assert_eq!(
        (process.instance, process.boot),
        (InstanceId(203), BootId([203; 16]))
    );
}

#[test]
fn a_draining_peer_lives_and_is_not_welcome() {
    let mut fleet = Fleet::new(3);
    fleet.run(SETTLE);
    fleet.nodes.get_mut(&3).unwrap().set_draining(true);
    fleet.run(Duration::from_millis(300));
    assert_eq!(fleet.state(3, 1), PeerState::Live);
    assert!(!fleet.welcomes(3, 1) && fleet.status(3, 1).draining);
    fleet.nodes.get_mut(&3).unwrap().set_draining(false);
    fleet.run(Duration::from_millis(300));
    assert!(fleet.welcomes(3, 1));
}

#[test]
fn members_join_and_leave_and_those_that_stay_are_not_confirmed_anew() {
    let mut fleet = Fleet::new(3);
    fleet.run(SETTLE);
    let keyring = ring(1, 1, 1);
    let before = fleet.status(2, 1).process;
    fleet.boot(4, 104, &roster([1, 2, 4]));
    for id in [1, 2] {
        let now = fleet.now;
        let membership = fleet.nodes.get_mut(&id).unwrap();
        drop(membership.take_change());
        let sealing = membership
            .update(now, &roster([1, 2, 4]), &keyring)
            .unwrap();
        assert_eq!(sealing.len(), 1, "only the peer that stays is confirmed");
        assert!(membership.take_change().is_some());
    }
    fleet.run(SETTLE);
    assert_eq!(fleet.status(2, 1).process, before);
    assert_eq!(fleet.state(4, 1), PeerState::Live);
    assert!(fleet.welcomes(4, 1));
    let nodes: Vec<_> = fleet.nodes[&1]
        .view()
        .peers()
        .iter()
        .map(|peer| peer.node)
        .collect();
    assert_eq!(nodes, [node(2), node(4)]);
    let now = fleet.now;
    let left = fleet
        .nodes
        .get_mut(&1)
        .unwrap()
        .update(now, &roster([2, 4]), &keyring);
    assert_eq!(left.map(|_| ()), Err(RosterError::NotAMember(node(1))));
    assert_eq!(fleet.nodes[&1].view().peers().len(), 2);
}

#[test]
fn a_member_that_joins_only_in_one_file_is_not_voted_dead_by_those_without_it() {
    let mut fleet = Fleet::new(3);
    fleet.run(SETTLE);
    let now = fleet.now;
    let membership = fleet.nodes.get_mut(&1).unwrap();
    membership
        .update(now, &roster(1..=4), &ring(1, 1, 1))
        .unwrap();
    fleet.run(SETTLE);
    assert_eq!(fleet.state(4, 1), PeerState::Silent);
    assert!(fleet.status(2, 1).findings.contains(&Finding::OtherConfig));
}

#[test]
fn new_connection_ids_use_the_current_epoch_once_every_live_peer_has_it() {
    let mut fleet = Fleet::new(3);
    fleet.run(SETTLE);
    let rekey = |fleet: &mut Fleet, id: u32, keyring: &Keyring| {
        let now = fleet.now;
        let membership = fleet.nodes.get_mut(&id).unwrap();
        membership.update(now, &roster(1..=3), keyring).unwrap();
    };
    // The operator skips the step that brings the next key to every node.
    rekey(&mut fleet, 1, &ring(1, 2, 2));
    fleet.run(SETTLE);
    assert_eq!(fleet.nodes[&1].minting(), Epoch(1));
    assert_eq!(fleet.state(2, 1), PeerState::Live);
    rekey(&mut fleet, 2, &ring(1, 1, 2));
    fleet.run(SETTLE);
    assert_eq!(fleet.nodes[&1].minting(), Epoch(1));
    rekey(&mut fleet, 3, &ring(1, 1, 2));
    fleet.run(SETTLE);
    assert_eq!(fleet.nodes[&1].minting(), Epoch(2));
    assert_eq!(fleet.nodes[&3].minting(), Epoch(1));
    assert_eq!(fleet.status(1, 3).minting, Some(Epoch(2)));
    assert!(fleet.status(1, 3).findings.is_empty());
    // Who is gone has no say.
    rekey(&mut fleet, 1, &ring(2, 3, 3));
    fleet.run(SETTLE);
    assert_eq!(fleet.nodes[&1].minting(), Epoch(2));
    fleet.kill(2);
    fleet.kill(3);
    fleet.run(SETTLE);
    assert_eq!(fleet.nodes[&1].minting(), Epoch(3));
}

#[test]
fn a_peer_of_another_version_config_or_clock_is_named() {
    let mut fleet = Fleet::new(3);
    let mut other = own(3, 103);
    other.config = ConfigDigest::new(b"something else");
    let timing = Timing::default();
    let membership =
        Membership::new(fleet.now, other, &roster(1..=3), &ring(1, 1, 1), timing).unwrap();
    fleet.nodes.insert(3, membership);
    fleet.run(SETTLE);
    assert_eq!(fleet.status(3, 1).findings, [Finding::OtherConfig]);
    assert_eq!(fleet.status(2, 1).findings, []);
    fleet.run_with(Duration::from_secs(3), |fleet| {
        let membership = fleet.nodes.get_mut(&1).unwrap();
        let version = Refusal::Form(EnvelopeError::Version);
        for refusal in [Refusal::Tag, Refusal::Epoch, version] {
            membership.refused(fleet.now, node(2), refusal);
        }
        membership.refused(fleet.now, node(9), Refusal::Tag);
    });
    let named = [
        Finding::OtherKey,
        Finding::OtherEpoch,
        Finding::OtherVersion,
    ];
    assert_eq!(fleet.status(2, 1).findings, named);
    fleet.run(Duration::from_secs(31));
    assert_eq!(fleet.status(2, 1).findings, []);
}

#[test]
fn clocks_apart_are_named() {
    let mut fleet = Fleet::new(2);
    fleet.run(SETTLE);
    fleet.run_with(Duration::from_millis(400), |fleet| {
        let (now, wall) = (fleet.now, fleet.wall + Duration::from_secs(31));
        let late = fleet
            .sent
            .iter()
            .rev()
            .find(|(from, ..)| *from == 2)
            .unwrap();
        let bytes = late.2.clone();
        let membership = fleet.nodes.get_mut(&1).unwrap();
        drop(membership.on_heartbeat(now, wall, &bytes));
    });
    assert_eq!(fleet.status(2, 1).findings, [Finding::ClockApart]);
}

#[test]
fn a_second_process_under_one_node_id_is_named_and_a_restart_is_not() {
    let mut fleet = Fleet::new(3);
    fleet.run(SETTLE);
    fleet.boot(3, 203, &roster(1..=3));
    fleet.run(Duration::from_secs(5));
    assert_eq!(fleet.status(3, 1).findings, []);
    let (keyring, timing) = (ring(1, 1, 1), Timing::default());
    let mut second =
        Membership::new(fleet.now, own(3, 77), &roster(1..=3), &keyring, timing).unwrap();
    fleet.run_with(Duration::from_secs(5), |fleet| {
        if second.next_tick() > fleet.now {
            return;
        }
        for (to, bytes) in second.tick(fleet.now, fleet.wall, |bytes| bytes.fill(3)) {
            let membership = fleet.nodes.get_mut(&to.get()).unwrap();
            drop(membership.on_heartbeat(fleet.now, fleet.wall, &bytes));
        }
    });
    assert_eq!(fleet.status(3, 1).findings, [Finding::DuplicateNode]);
    assert_eq!(fleet.status(3, 1).process.unwrap().boot, BootId([203; 16]));
}

#[test]
fn a_process_that_gets_the_sockets_back_counts_anew_and_is_confirmed_as_another_boot() {
    let mut fleet = Fleet::new(2);
    fleet.run(SETTLE);
    let mut first = fleet.nodes.remove(&1).unwrap();
    fleet.boot(1, 201, &roster(1..=2));
    fleet.run(Duration::from_secs(20));
    assert_eq!(fleet.status(1, 2).process.unwrap().boot, BootId([201; 16]));
    first.resume(fleet.now, BootId([202; 16]));
    fleet.nodes.insert(1, first);
    assert_eq!(fleet.state(2, 1), PeerState::Live);
    fleet.run(Duration::from_millis(500));
    assert_eq!(fleet.status(1, 2).process.unwrap().boot, BootId([202; 16]));
    assert_eq!(fleet.state(2, 1), PeerState::Live);
    fleet.run(SETTLE);
    assert_eq!((fleet.welcomes(1, 2), fleet.welcomes(2, 1)), (true, true));
    assert_eq!(fleet.status(1, 2).findings, []);
}

/// Version 1 of heartbeat and envelope, as the version before this one wrote and read them.
mod version_1 {
    use super::*;
    use crate::fleet::PairKey;
    use crate::fleet::tunnel_key::TrafficKey;
    use crate::wire::TAG_LEN;

    pub(super) fn path() -> Path {
        Path {
            source: "192.0.2.1:4000".parse().unwrap(),
            destination: "198.51.100.2:443".parse().unwrap(),
        }
    }

    pub(super) struct Speaker {
        pub(super) own: Party,
        pub(super) pair: PairKey,
        pub(super) challenge: u8,
        pub(super) heard: ([u8; 16], [u8; 16]),
        pub(super) alive: bool,
    }

    /// The two ends of [`path`] in an envelope.
    const ENDS: [u8; 12] = [0x0f, 0xa0, 192, 0, 2, 1, 0x01, 0xbb, 198, 51, 100, 2];

    impl Speaker {
        pub(super) fn beat(&mut self) -> Vec<u8> {
            self.challenge += 1;
            let mut bytes = vec![0x12];
            bytes.extend_from_slice(&self.own.node.to_bytes());
            bytes.extend_from_slice(&[self.own.instance.0, 1]);
            bytes.extend_from_slice(&self.own.boot.0);
            bytes.extend_from_slice(&[self.challenge; 16]);
            bytes.extend_from_slice(&self.heard.0);
            bytes.extend_from_slice(&self.heard.1);
            let tag = self.pair.heartbeat_tag(&bytes);
            bytes.extend_from_slice(&tag);
            bytes
        }

        /// Says whether the bytes were of this version.
        pub(super) fn hear(&mut self, bytes: &[u8]) -> bool {
            if bytes[0] != 0x12 {
                return false;
            }
            assert_eq!(bytes.len(), 70 + TAG_LEN);
            assert_eq!(bytes[70..], self.pair.heartbeat_tag(&bytes[..70]));
            self.heard = (
                bytes[6..22].try_into().unwrap(),
                bytes[22..38].try_into().unwrap(),
            );
            self.alive = bytes[38..54] == self.own.boot.0 && bytes[54..70] == [self.challenge; 16];
            true
        }

        /// Takes an envelope with a datagram of 1200 bytes 0x42 from this boot.
        pub(super) fn open(&self, bytes: &[u8], from: BootId) {
            assert_eq!(bytes[..6], [0x11, 0, 0, 1, 101, 1]);
            assert_eq!(bytes[14], 0b10);
            assert_eq!(bytes[15..27], ENDS);
            assert_eq!(bytes[27..29], 1200_u16.to_be_bytes());
            let (header, rest) = bytes.split_at(29);
            let (tag, datagram) = rest.split_at(TAG_LEN);
            assert_eq!(datagram, [0x42; 1200]);
            let counter = u64::from_be_bytes(bytes[6..14].try_into().unwrap());
            let key = TrafficKey::derive(&self.pair, from, self.own.boot);
            let covered = [header, &datagram[..64]].concat();
            assert_eq!(tag, key.tag(counter, &covered));
        }

        /// Puts a datagram into an envelope for this boot.
        pub(super) fn seal(&self, datagram: &[u8], to: BootId) -> Vec<u8> {
            let counter = 1_u64;
            let mut bytes = vec![0x11];
            bytes.extend_from_slice(&self.own.node.to_bytes());
            bytes.extend_from_slice(&[self.own.instance.0, 1]);
            bytes.extend_from_slice(&counter.to_be_bytes());
            bytes.push(0b10);
            bytes.extend_from_slice(&ENDS);
            bytes.extend_from_slice(&u16::try_from(datagram.len()).unwrap().to_be_bytes());
            let key = TrafficKey::derive(&self.pair, self.own.boot, to);
            let tag = key.tag(counter, &[&bytes, &datagram[..64]].concat());
            bytes.extend_from_slice(&tag);
            bytes.extend_from_slice(datagram);
            bytes
        }
    }
}

#[test]
fn a_peer_of_the_version_before_is_heard_has_no_vote_and_hears_this_one() {
    let mut fleet = Fleet::new(3);
    fleet.kill(3);
    let secret = ring(1, 1, 1).current().pair_key(node(1), node(3));
    let mut old = version_1::Speaker {
        own: Party {
            node: node(3),
            instance: InstanceId(3),
            boot: BootId([3; 16]),
        },
        pair: crate::fleet::PairKey::new(secret.as_bytes()),
        challenge: 0,
        heard: ([0; 16], [0; 16]),
        alive: false,
    };
    let mut sealing = None;
    for _ in 0..20 {
        let beat = old.beat();
        let membership = fleet.nodes.get_mut(&1).unwrap();
        let reaction = membership
            .on_heartbeat(fleet.now, fleet.wall, &beat)
            .unwrap();
        if let Some(answer) = reaction.answer {
            assert!(old.hear(&answer));
        }
        sealing = sealing.or(reaction.confirmed);
        let before = fleet.sent.len();
        fleet.run(Duration::from_millis(200));
        let to_old = fleet.sent[before..].iter().filter(|(_, to, _)| *to == 3);
        let heard = to_old.filter(|(from, _, bytes)| *from == 1 && old.hear(bytes));
        assert!(heard.count() >= 1, "both versions go to a peer like this");
    }
    assert!(old.alive);
    let status = fleet.status(3, 1);
    assert_eq!((status.state, status.version), (PeerState::Live, Some(1)));
    assert_eq!(status.epochs, Some(Epochs::only(Epoch(1))));
    assert_eq!(status.findings, [Finding::OtherVersion]);
    assert_eq!(fleet.status(2, 1).heard_by, []);
    // What one seals the other opens, both ways.
    let mut sealed = Vec::new();
    sealing
        .unwrap()
        .seal(version_1::path(), Ecn::Ect0, &[0x42; 1200], &mut sealed)
        .unwrap();
    old.open(&sealed, BootId([101; 16]));
    let membership = fleet.nodes.get_mut(&1).unwrap();
    let sealed = old.seal(&[0x43; 1200], BootId([101; 16]));
    assert_eq!(membership.open(&Envelope::parse(&sealed).unwrap()), Ok(()));
    // Peers that are known to speak this version get no other one.
    let to_new = fleet
        .sent
        .iter()
        .rev()
        .take(40)
        .filter(|(_, to, _)| *to != 3);
    assert!(
        to_new
            .map(|(_, _, bytes)| bytes[0])
            .all(|first| first == 0x22)
    );
}

#[test]
fn replayed_heartbeats_prolong_life_by_no_more_than_the_answer_window() {
    let mut fleet = Fleet::new(3);
    fleet.run(SETTLE);
    fleet.kill(3);
    let timing = Timing::default();
    let window = timing.interval * u32::try_from(crate::fleet::association::ANSWERABLE).unwrap();
    let captured: Vec<_> = fleet
        .sent
        .iter()
        .filter(|(from, ..)| *from == 3)
        .cloned()
        .collect();
    fleet.run_with(window + timing.silent_after + timing.interval, |fleet| {
        for (_, to, bytes) in &captured {
            let membership = fleet.nodes.get_mut(to).unwrap();
            drop(membership.on_heartbeat(fleet.now, fleet.wall, bytes));
        }
    });
    assert_eq!(fleet.state(3, 1), PeerState::Dead);
    assert_eq!(fleet.state(3, 2), PeerState::Dead);
}

#[test]
fn a_flood_at_the_relay_address_grows_nothing_and_is_answered_once_a_tick() {
    let mut fleet = Fleet::new(3);
    fleet.run(SETTLE);
    let (now, wall) = (fleet.now, fleet.wall);
    let captured: Vec<_> = fleet
        .sent
        .iter()
        .filter(|(_, to, _)| *to == 1)
        .cloned()
        .collect();
    let membership = fleet.nodes.get_mut(&1).unwrap();
    let size = |membership: &Membership| format!("{membership:?}").len();
    let mut answers = 0;
    let mut once = || {
        for (_, _, bytes) in &captured {
            let reaction = membership.on_heartbeat(now, wall, bytes);
            answers += usize::from(reaction.is_ok_and(|reaction| reaction.answer.is_some()));
            for at in [0, 1, 4, 5, 20, 90, bytes.len() - 1] {
                let mut forged = bytes.clone();
                forged[at.min(bytes.len() - 1)] ^= 0x55;
                assert!(membership.on_heartbeat(now, wall, &forged).is_err());
            }
        }
        size(membership)
    };
    let first = once();
    for _ in 0..50 {
        let later = once();
        assert!(later.abs_diff(first) < 64, "{first} bytes became {later}");
    }
    assert!(answers <= 2, "{answers} answers");
}

#[test]
fn a_roster_is_bounded_and_has_each_node_once() {
    let member = |id| Member {
        node: node(id),
        relay: ([10, 0, 0, 1], 1).into(),
    };
    let most = u32::try_from(Roster::MAX_MEMBERS).unwrap();
    assert!(Roster::new((0..most).map(member)).is_ok());
    let error = Roster::new((0..=most).map(member)).unwrap_err();
    assert_eq!(error, RosterError::TooMany(Roster::MAX_MEMBERS + 1));
    let twice = Roster::new([member(1), member(2), member(1)]).unwrap_err();
    assert_eq!(twice, RosterError::Duplicate(node(1)));
}

/// Links that are cut for a while: from when, for how long (in steps of 100 ms), between whom.
fn cuts(size: u32) -> impl Strategy<Value = Vec<(u64, u64, u32, u32)>> {
    prop::collection::vec((0_u64..60, 1_u64..40, 1..=size, 1..=size), 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever links break: a node that more than half of the members have heard all along, for as
    /// long as a report can be old, is dead to nobody.
    #[test]
    fn no_views_kill_a_node_that_a_majority_hears(
        (size, cuts) in (3_u32..=5).prop_flat_map(|size| (Just(size), cuts(size))),
    ) {
        let mut fleet = Fleet::new(size);
        fleet.run(SETTLE);
        let mut steps = 0;
        let mut heard: BTreeMap<(u32, u32), u32> = BTreeMap::new();
        let mut failed = None;
        fleet.run_with(Duration::from_secs(10), |fleet| {
            steps += 1;
            let at = steps / 10;
            let active = cuts.iter().filter(|(from, long, ..)| (*from..from + long).contains(&at));
            let pairs: Vec<_> = active.map(|(_, _, a, b)| (*a, *b)).collect();
            fleet.cut(&pairs);
            for of in 1..=size {
                for by in (1..=size).filter(|by| *by != of) {
                    let live = fleet.state(of, by) == PeerState::Live;
                    let steady = heard.entry((of, by)).or_default();
                    *steady = if live { *steady + 1 } else { 0 };
                }
                // It hears itself.
                let hearing = 1 + (1..=size).filter(|by| heard.get(&(of, *by)) >= Some(&100)).count();
                let dead = (1..=size).any(|at| at != of && fleet.state(of, at) == PeerState::Dead);
                if dead && 2 * hearing > usize::try_from(size).unwrap() {
                    failed = Some((of, steps));
                }
            }
        });
        prop_assert_eq!(failed, None);
    }

    #[test]
    fn no_heartbeat_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), first in 0x10_u8..0x30) {
        let mut fleet = Fleet::new(2);
        let (now, wall) = (fleet.now, fleet.wall);
        let membership = fleet.nodes.get_mut(&1).unwrap();
        let framed = [&[first, 0, 0, 2], bytes.as_slice()].concat();
        prop_assert!(membership.on_heartbeat(now, wall, &framed).is_err());
    }
}

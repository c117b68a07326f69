use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::constant_time;

use super::NodeId;
use super::tunnel_key::{PairKey, TrafficKey};
use crate::wire::{
    AUTHENTICATED_PAYLOAD, BootId, Challenge, Ecn, Envelope, EnvelopeError, Heartbeat, Path,
    ReplayWindow, Sealed, SealedHeartbeat, Sender,
};

/// This process's side of the tunnel to one peer node.
///
/// Both sides send heartbeats. Each carries a new challenge and sends the other's last one back; a
/// peer whose heartbeat answers a recent challenge is alive now, and its boot ID is *confirmed*.
/// Traffic keys are derived from the pair's key and both boot IDs, so no datagram of an earlier
/// boot is ever accepted and no counter is used twice under one key, whoever restarts. A boot that gave
/// way to another is never confirmed again, because its keys would start over with used counters.
#[derive(Debug)]
pub struct Association {
    own: Sender,
    boot: BootId,
    peer: NodeId,
    pair: PairKey,
    issued: [Option<Challenge>; ANSWERABLE],
    heard: Option<(BootId, Challenge)>,
    /// Whether `heard` is of a live peer and not yet answered.
    owes_answer: bool,
    confirmed: Option<Confirmed>,
    replaced: VecDeque<BootId>,
    may_answer: bool,
}

/// Seals datagrams for one boot of a peer; shared by everything that forwards to it.
#[derive(Debug)]
pub struct Outgoing {
    key: TrafficKey,
    sender: Sender,
    next: AtomicU64,
}

/// What an accepted heartbeat calls for.
#[derive(Debug)]
pub struct Heard {
    /// Set when a boot of the peer was confirmed that was not before: how to seal for it.
    pub confirmed: Option<Arc<Outgoing>>,
    /// Whether the heartbeat proves that the peer is alive now.
    pub alive: bool,
    /// Whether [`Association::answer`] should not wait for the next tick; at most once a tick.
    pub answer_now: bool,
}

/// Why a tunnel datagram was refused. Each is counted under its [`Refusal::reason`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It does not have the form of a tunnel datagram.
    #[error(transparent)]
    Form(#[from] EnvelopeError),
    /// The sender is not a member.
    #[error("the sender is not a member of the fleet")]
    UnknownNode,
    /// The sender uses this node's own ID.
    #[error("the sender uses this node's own ID")]
    OwnNode,
    /// The sender uses another epoch of the fleet key.
    #[error("the sender uses another epoch of the fleet key")]
    Epoch,
    /// The tag does not verify: another key, or a forgery.
    #[error("the tag does not verify")]
    Tag,
    /// The sender's boot is not confirmed yet.
    #[error("the sender's boot is not confirmed")]
    Unconfirmed,
    /// The boot gave way to a later one of the same node.
    #[error("the boot gave way to a later one")]
    Replaced,
    /// The counter was used before or is too old.
    #[error("the datagram was seen before or is too old")]
    Replayed,
}

/// Every counter of this process under a traffic key was used; restarting gives a new key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the counters of this traffic key are used up")]
pub struct CountersExhausted;

struct Confirmed {
    boot: BootId,
    key: TrafficKey,
    lanes: Vec<ReplayWindow>,
}

impl Association {
    /// Starts with nothing heard. `own` is written into everything that is sent.
    pub fn new(own: Sender, boot: BootId, peer: NodeId, pair: PairKey) -> Self {
        Self {
            own,
            boot,
            peer,
            pair,
            issued: [None; ANSWERABLE],
            heard: None,
            owes_answer: false,
            confirmed: None,
            replaced: VecDeque::new(),
            may_answer: true,
        }
    }

    /// The peer node.
    pub fn peer(&self) -> NodeId {
        self.peer
    }

    /// Writes the heartbeat of a tick, which issues `challenge`: 16 new random bytes. The peer's answer
    /// counts while fewer than four more of these were written.
    pub fn heartbeat(&mut self, challenge: Challenge, out: &mut Vec<u8>) {
        self.issued.rotate_right(1);
        self.issued[0] = Some(challenge);
        self.may_answer = true;
        self.owes_answer = false;
        self.write(self.heard.unwrap_or((NO_BOOT, NO_CHALLENGE)), out);
    }

    /// Writes a heartbeat that answers one of the peer's between two ticks; it repeats the challenge
    /// of the last tick.
    pub fn answer(&self, heartbeat: &Heartbeat, out: &mut Vec<u8>) {
        self.write((heartbeat.boot, heartbeat.challenge), out);
    }

    fn write(&self, answer: (BootId, Challenge), out: &mut Vec<u8>) {
        let start = out.len();
        Heartbeat {
            sender: self.own,
            boot: self.boot,
            challenge: self.issued[0].unwrap_or(NO_CHALLENGE),
            answer,
        }
        .write_header(out);
        let tag = self.pair.heartbeat_tag(&out[start..]);
        out.extend_from_slice(&tag);
    }

    /// Takes a heartbeat of this peer.
    ///
    /// # Errors
    /// [`Refusal::Epoch`], [`Refusal::Tag`] and [`Refusal::Replaced`]; nothing has changed then.
    pub fn on_heartbeat(&mut self, sealed: &SealedHeartbeat<'_>) -> Result<Heard, Refusal> {
        if sealed.heartbeat.sender.epoch != self.own.epoch {
            return Err(Refusal::Epoch);
        }
        let tag = self.pair.heartbeat_tag(sealed.header);
        constant_time::verify_slices_are_equal(&tag, &sealed.tag).map_err(|_err| Refusal::Tag)?;

        let Heartbeat {
            boot,
            challenge,
            answer: (answered_boot, answered),
            ..
        } = sealed.heartbeat;
        if self.replaced.contains(&boot) {
            return Err(Refusal::Replaced);
        }
        let alive = answered_boot == self.boot && self.issued.contains(&Some(answered));
        let known = self
            .confirmed
            .as_ref()
            .is_some_and(|confirmed| confirmed.boot == boot);
        let answer_now = self.may_answer && (answered_boot != self.boot || !known);
        self.may_answer &= !answer_now;
        // A replayed heartbeat must not take the place of a live peer's.
        if alive || !self.owes_answer {
            self.heard = Some((boot, challenge));
            self.owes_answer = alive;
        }
        let confirmed = (alive && !known).then(|| self.confirm(boot));
        Ok(Heard {
            confirmed,
            alive,
            answer_now,
        })
    }

    /// Checks a datagram in an envelope of this peer; its payload may be used afterwards.
    ///
    /// # Errors
    /// [`Refusal::Epoch`], [`Refusal::Unconfirmed`], [`Refusal::Tag`] and [`Refusal::Replayed`].
    pub fn open(&mut self, sealed: &Sealed<'_>) -> Result<(), Refusal> {
        if sealed.envelope.sender.epoch != self.own.epoch {
            return Err(Refusal::Epoch);
        }
        let confirmed = self.confirmed.as_mut().ok_or(Refusal::Unconfirmed)?;
        let counter = sealed.envelope.counter;
        let lane = usize::from(counter.to_be_bytes()[0]);
        if confirmed
            .lanes
            .get(lane)
            .is_some_and(|window| !window.is_fresh(counter))
        {
            return Err(Refusal::Replayed);
        }
        confirmed.key.verify(sealed)?;
        if confirmed.lanes.len() <= lane {
            confirmed.lanes.resize_with(lane + 1, ReplayWindow::new);
        }
        if confirmed.lanes[lane].accept(counter) {
            Ok(())
        } else {
            Err(Refusal::Replayed)
        }
    }

    fn confirm(&mut self, boot: BootId) -> Arc<Outgoing> {
        let before = self.confirmed.replace(Confirmed {
            boot,
            key: TrafficKey::derive(&self.pair, boot, self.boot),
            lanes: Vec::new(),
        });
        if let Some(before) = before {
            self.replaced.truncate(REPLACED_BOOTS - 1);
            self.replaced.push_front(before.boot);
        }
        Arc::new(Outgoing {
            key: TrafficKey::derive(&self.pair, self.boot, boot),
            sender: self.own,
            next: AtomicU64::new(0),
        })
    }
}

impl Outgoing {
    /// Appends a client's datagram in an envelope to `out`.
    ///
    /// # Errors
    /// [`CountersExhausted`] after 2^56 datagrams; nothing is appended then.
    ///
    /// # Panics
    /// If the datagram is longer than 65535 bytes, which no UDP datagram is.
    pub fn seal(
        &self,
        path: Path,
        ecn: Ecn,
        datagram: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), CountersExhausted> {
        let counter = self.next.fetch_add(1, Ordering::Relaxed);
        if counter >= LANE_COUNTERS {
            self.next.store(LANE_COUNTERS, Ordering::Relaxed);
            return Err(CountersExhausted);
        }
        let len = u16::try_from(datagram.len()).expect("a UDP datagram is shorter than 64 KiB");
        let start = out.len();
        Envelope {
            sender: self.sender,
            counter,
            path,
            ecn,
        }
        .write_header(len, out);
        let header_len = out.len() - start;
        out.extend_from_slice(&datagram[..datagram.len().min(AUTHENTICATED_PAYLOAD)]);
        let tag = self.key.tag(counter, &out[start..]);
        out.truncate(start + header_len);
        out.extend_from_slice(&tag);
        out.extend_from_slice(datagram);
        Ok(())
    }
}

impl Refusal {
    /// The word under which it is counted.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Form(EnvelopeError::Length) => "length",
            Self::Form(EnvelopeError::Version) => "version",
            Self::Form(EnvelopeError::Kind) => "kind",
            Self::UnknownNode => "unknown_node",
            Self::OwnNode => "own_node",
            Self::Epoch => "epoch",
            Self::Tag => "tag",
            Self::Unconfirmed => "unconfirmed",
            Self::Replaced => "replaced",
            Self::Replayed => "replayed",
        }
    }
}

impl std::fmt::Debug for Confirmed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Confirmed")
            .field("boot", &self.boot)
            .finish_non_exhaustive()
    }
}

/// How many replaced boots of a peer are remembered. One that was forgotten could be confirmed again
/// only by a process that outlived as many others of its node.
const REPLACED_BOOTS: usize = 16;
/// What stands in an answer when nothing was heard, and in a challenge before the first tick; no
/// process draws either.
const NO_BOOT: BootId = BootId([0; 16]);
const NO_CHALLENGE: Challenge = Challenge([0; 16]);
/// How many of the last challenges a peer may answer: with heartbeats every 250 ms, one second.
const ANSWERABLE: usize = 4;
/// Counts within one worker's lane; the lane is the byte above.
const LANE_COUNTERS: u64 = 1 << 56;

#[cfg(test)]
mod tests {
    use super::*;

    const A: Sender = Sender {
        node: [0, 0, 1],
        instance: 1,
        epoch: 1,
    };
    const B: Sender = Sender {
        node: [0, 0, 2],
        instance: 1,
        epoch: 1,
    };
    const DATAGRAM: [u8; 1200] = [0x42; 1200];

    struct Pair {
        a: Association,
        b: Association,
        challenges: u8,
    }

    impl Pair {
        fn new(boot_a: u8, boot_b: u8) -> Self {
            let associate = |own, peer: Sender, boot: u8| {
                let peer = NodeId::from_bytes(peer.node);
                Association::new(own, BootId([boot; 16]), peer, PairKey::new(&[9; 32]))
            };
            Self {
                a: associate(A, B, boot_a),
                b: associate(B, A, boot_b),
                challenges: 0,
            }
        }

        fn beat(&mut self, from_a: bool) -> Vec<u8> {
            self.challenges += 1;
            let from = if from_a { &mut self.a } else { &mut self.b };
            let mut bytes = Vec::new();
            from.heartbeat(Challenge([self.challenges; 16]), &mut bytes);
            bytes
        }

        fn beat_b(&mut self) -> Heard {
            let bytes = self.beat(true);
            hear(&mut self.b, &bytes).unwrap()
        }

        fn beat_a(&mut self) -> Heard {
            let bytes = self.beat(false);
            hear(&mut self.a, &bytes).unwrap()
        }

        /// Lets B answer a heartbeat at once.
        fn answer_a(&mut self, heartbeat: &[u8]) -> Heard {
            let mut bytes = Vec::new();
            let heartbeat = Heartbeat::parse(heartbeat).unwrap().heartbeat;
            self.b.answer(&heartbeat, &mut bytes);
            hear(&mut self.a, &bytes).unwrap()
        }

        /// Exchanges heartbeats until both have confirmed each other; gives A's way to seal.
        fn confirm(&mut self) -> Arc<Outgoing> {
            let first = self.beat_b();
            let outgoing = self.beat_a().confirmed.expect("B answered A's challenge");
            let second = self.beat_b();
            assert!(first.confirmed.or(second.confirmed).is_some());
            outgoing
        }
    }

    fn hear(association: &mut Association, bytes: &[u8]) -> Result<Heard, Refusal> {
        association.on_heartbeat(&Heartbeat::parse(bytes).unwrap())
    }

    fn path() -> Path {
        Path {
            source: "192.0.2.1:4000".parse().unwrap(),
            destination: "[2001:db8::2]:443".parse().unwrap(),
        }
    }

    fn seal(outgoing: &Outgoing) -> Vec<u8> {
        let mut bytes = Vec::new();
        outgoing
            .seal(path(), Ecn::Ect0, &DATAGRAM, &mut bytes)
            .unwrap();
        bytes
    }

    fn open(association: &mut Association, bytes: &[u8]) -> Result<(), Refusal> {
        association.open(&Envelope::parse(bytes).unwrap())
    }

    #[test]
    fn a_datagram_passes_once_both_boots_are_confirmed() {
        let mut pair = Pair::new(1, 2);
        let outgoing = pair.confirm();
        let bytes = seal(&outgoing);
        assert_eq!(Envelope::parse(&bytes).unwrap().payload, DATAGRAM);
        assert_eq!(open(&mut pair.b, &bytes), Ok(()));
    }

    #[test]
    fn a_datagram_from_an_unconfirmed_boot_is_refused() {
        let mut pair = Pair::new(1, 2);
        pair.beat_b();
        let outgoing = pair.beat_a().confirmed.expect("B answered A's challenge");
        assert_eq!(
            open(&mut pair.b, &seal(&outgoing)),
            Err(Refusal::Unconfirmed)
        );
    }

    #[test]
    fn a_replayed_datagram_is_refused() {
        let mut pair = Pair::new(1, 2);
        let bytes = seal(&pair.confirm());
        assert_eq!(open(&mut pair.b, &bytes), Ok(()));
        assert_eq!(open(&mut pair.b, &bytes), Err(Refusal::Replayed));
    }

    #[test]
    fn a_datagram_of_an_earlier_boot_is_refused_after_a_restart() {
        let mut pair = Pair::new(1, 2);
        let captured = seal(&pair.confirm());
        let mut restarted = Pair::new(1, 3);
        restarted.confirm();
        assert_eq!(open(&mut restarted.b, &captured), Err(Refusal::Tag));
    }

    #[test]
    fn a_replayed_heartbeat_confirms_nothing() {
        let mut pair = Pair::new(1, 2);
        pair.beat_b();
        pair.beat_a();
        let captured = pair.beat(true);
        let mut restarted = Pair::new(1, 2);
        restarted.challenges = 100;
        restarted.beat(false);
        let heard = hear(&mut restarted.b, &captured).unwrap();
        assert!(heard.confirmed.is_none() && !heard.alive);
        assert_eq!(
            open(&mut restarted.b, &captured_datagram()),
            Err(Refusal::Unconfirmed)
        );
    }

    fn captured_datagram() -> Vec<u8> {
        seal(&Pair::new(1, 2).confirm())
    }

    #[test]
    fn an_answer_to_an_old_challenge_does_not_prove_life() {
        let mut pair = Pair::new(1, 2);
        pair.confirm();
        let late = pair.beat(true);
        for _ in 0..ANSWERABLE {
            pair.beat(false);
        }
        assert!(!hear(&mut pair.b, &late).unwrap().alive);
    }

    #[test]
    fn a_change_of_any_covered_byte_is_refused() {
        let mut pair = Pair::new(1, 2);
        let bytes = seal(&pair.confirm());
        let covered = bytes.len() - DATAGRAM.len() + AUTHENTICATED_PAYLOAD;
        for at in 0..covered {
            let mut forged = bytes.clone();
            forged[at] ^= 1;
            let opened =
                Envelope::parse(&forged).map_or(Err(Refusal::Tag), |sealed| pair.b.open(&sealed));
            assert!(opened.is_err(), "byte {at}");
        }
        assert_eq!(open(&mut pair.b, &bytes), Ok(()));
    }

    #[test]
    fn a_heartbeat_under_another_key_or_epoch_is_refused() {
        let mut pair = Pair::new(1, 2);
        let bytes = pair.beat(true);
        let mut forged = bytes.clone();
        forged[80] ^= 1;
        assert_eq!(hear(&mut pair.b, &forged).map(|_| ()), Err(Refusal::Tag));
        pair.b.own.epoch = 2;
        assert_eq!(hear(&mut pair.b, &bytes).map(|_| ()), Err(Refusal::Epoch));
    }

    #[test]
    fn a_flood_of_first_heartbeats_is_answered_once_a_tick() {
        let mut pair = Pair::new(1, 2);
        let bytes = pair.beat(true);
        for _ in 0..2 {
            pair.beat(false);
            let answers = (0..100).filter(|_| {
                let heard = hear(&mut pair.b, &bytes).unwrap();
                if heard.answer_now {
                    pair.answer_a(&bytes);
                }
                heard.answer_now
            });
            assert_eq!(answers.count(), 1);
        }
    }

    #[test]
    fn a_restarted_peer_is_answered_at_once_while_its_predecessor_is_owed_an_answer() {
        let mut pair = Pair::new(1, 2);
        pair.confirm();
        pair.beat_a();
        assert!(pair.beat_b().alive);
        pair.a = Pair::new(7, 2).a;
        let first = pair.beat(true);
        assert!(hear(&mut pair.b, &first).unwrap().answer_now);
        let answered = pair.answer_a(&first);
        assert!(answered.alive && answered.confirmed.is_some());
    }

    #[test]
    fn a_restarted_peer_is_confirmed_anew_and_its_counters_start_over() {
        let mut pair = Pair::new(1, 2);
        let before = seal(&pair.confirm());
        assert_eq!(open(&mut pair.b, &before), Ok(()));
        pair.a = Pair::new(7, 2).a;
        pair.beat_a();
        let after = seal(&pair.confirm());
        assert_eq!(open(&mut pair.b, &before), Err(Refusal::Tag));
        assert_eq!(open(&mut pair.b, &after), Ok(()));
    }

    #[test]
    fn a_boot_that_was_replaced_is_never_confirmed_again() {
        let mut pair = Pair::new(1, 2);
        pair.confirm();
        let delayed = pair.beat(true);
        let old = std::mem::replace(&mut pair.a, Pair::new(7, 2).a);
        pair.beat_a();
        pair.confirm();
        assert_eq!(
            hear(&mut pair.b, &delayed).map(|_| ()),
            Err(Refusal::Replaced)
        );
        pair.a = old;
        pair.beat_a();
        let alive = pair.beat(true);
        assert_eq!(
            hear(&mut pair.b, &alive).map(|_| ()),
            Err(Refusal::Replaced)
        );
    }

    #[test]
    fn replayed_heartbeats_do_not_keep_a_live_peer_from_its_answer() {
        let mut pair = Pair::new(1, 2);
        let captured = pair.beat(true);
        pair.confirm();
        for _ in 0..2 * ANSWERABLE {
            assert!(pair.beat_b().alive);
            hear(&mut pair.b, &captured).unwrap();
            assert!(pair.beat_a().alive);
        }
    }

    #[test]
    fn a_used_up_counter_seals_nothing() {
        let outgoing = Pair::new(1, 2).confirm();
        outgoing.next.store(LANE_COUNTERS, Ordering::Relaxed);
        let mut bytes = Vec::new();
        assert_eq!(
            outgoing.seal(path(), Ecn::NotEct, &DATAGRAM, &mut bytes),
            Err(CountersExhausted)
        );
        assert!(bytes.is_empty());
    }
}

use super::*;
use crate::fleet::{FleetKey, Keyring};
use crate::wire::{AUTHENTICATED_PAYLOAD, Ecn, Envelope, Path, Reachable};

const DATAGRAM: [u8; 1200] = [0x42; 1200];

struct Pair {
    a: Association,
    b: Association,
    challenges: u8,
}

/// A keyring of the epochs from `lowest` to `highest`; the secret of each follows from its number.
fn keyring(lowest: u32, current: u32, highest: u32) -> Keyring {
    let key = |epoch| FleetKey::new(Epoch(epoch), [u8::try_from(epoch).unwrap(); 32]);
    Keyring {
        previous: (lowest < current).then(|| key(lowest)),
        current: key(current),
        next: (current < highest).then(|| key(highest)),
    }
}

fn node(id: u32) -> NodeId {
    NodeId::new(id).unwrap()
}

fn associate(own: u32, peer: u32, boot: u8, keyring: &Keyring) -> Association {
    let party = Party {
        node: node(own),
        instance: InstanceId(1),
        boot: BootId([boot; 16]),
    };
    let keys = PairKeys::new(keyring, node(own), node(peer));
    Association::new(party, node(peer), keys, Counters::new())
}

impl Pair {
    fn new(boot_a: u8, boot_b: u8) -> Self {
        Self::with(boot_a, boot_b, &keyring(1, 1, 1), &keyring(1, 1, 1))
    }

    fn with(boot_a: u8, boot_b: u8, keyring_a: &Keyring, keyring_b: &Keyring) -> Self {
        Self {
            a: associate(1, 2, boot_a, keyring_a),
            b: associate(2, 1, boot_b, keyring_b),
            challenges: 0,
        }
    }

    fn beat(&mut self, from_a: bool) -> Vec<u8> {
        self.beat_with(from_a, None)
    }

    fn beat_with(&mut self, from_a: bool, report: Option<&Report<'_>>) -> Vec<u8> {
        self.challenges += 1;
        let from = if from_a { &mut self.a } else { &mut self.b };
        let mut bytes = Vec::new();
        from.tick(Challenge([self.challenges; 16]));
        from.heartbeat(report, &mut bytes);
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
        let heartbeat = Heartbeat::parse(heartbeat).unwrap();
        self.b.answer(&heartbeat, None, &mut bytes);
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

fn report(lowest: u32, highest: u32) -> Report<'static> {
    Report {
        draining: false,
        epochs: (lowest, highest),
        minting: lowest,
        config: [0; 8],
        wall: 0,
        reachable: Reachable::default(),
    }
}

fn hear(association: &mut Association, bytes: &[u8]) -> Result<Heard, Refusal> {
    association.on_heartbeat(&Heartbeat::parse(bytes).unwrap())
}

fn refusal(heard: Result<Heard, Refusal>) -> Option<Refusal> {
    heard.err()
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

fn epoch_of(bytes: &[u8]) -> u8 {
    Envelope::parse(bytes).unwrap().envelope.sender.epoch
}

#[test]
fn a_datagram_passes_once_both_boots_are_confirmed() {
    let mut pair = Pair::new(1, 2);
    let outgoing = pair.confirm();
    let bytes = seal(&outgoing);
    assert_eq!(Envelope::parse(&bytes).unwrap().payload, DATAGRAM);
    assert_eq!(open(&mut pair.b, &bytes), Ok(()));
    let process = pair.b.confirmed().unwrap();
    assert_eq!((process.node, process.boot), (node(1), BootId([1; 16])));
}

#[test]
fn a_datagram_from_an_unconfirmed_boot_is_refused() {
    let mut pair = Pair::new(1, 2);
    pair.beat_b();
    let outgoing = pair.beat_a().confirmed.expect("B answered A's challenge");
    let opened = open(&mut pair.b, &seal(&outgoing));
    assert_eq!(opened, Err(Refusal::Unconfirmed));
}

#[test]
fn a_replayed_datagram_is_refused() {
    let mut pair = Pair::new(1, 2);
    let bytes = seal(&pair.confirm());
    assert_eq!(open(&mut pair.b, &bytes), Ok(()));
    assert_eq!(open(&mut pair.b, &bytes), Err(Refusal::Replayed));
}

#[test]
fn each_lane_has_counters_and_a_window_of_its_own() {
    let mut pair = Pair::new(1, 2);
    let outgoing = pair.confirm();
    let in_lane = |worker| {
        let mut bytes = Vec::new();
        let lane = outgoing.lane(worker);
        lane.seal(path(), Ecn::Ect0, &DATAGRAM, &mut bytes).unwrap();
        bytes
    };
    let late = in_lane(0);
    for _ in 0..2 * crate::wire::WINDOW {
        let bytes = in_lane(7);
        assert_eq!(open(&mut pair.b, &bytes), Ok(()));
    }
    assert_eq!(open(&mut pair.b, &late), Ok(()));
    assert_eq!(open(&mut pair.b, &late), Err(Refusal::Replayed));
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
    let captured = seal(&Pair::new(1, 2).confirm());
    let opened = open(&mut restarted.b, &captured);
    assert_eq!(opened, Err(Refusal::Unconfirmed));
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
fn a_change_of_any_byte_of_a_heartbeat_is_refused() {
    let mut pair = Pair::new(1, 2);
    let mut entries = Vec::new();
    Reachable::push(&mut entries, [0, 0, 9], crate::wire::Hearing::Heard);
    let mut report = report(1, 1);
    report.reachable = Reachable::new(&entries);
    for report in [None, Some(&report)] {
        let bytes = pair.beat_with(true, report);
        for at in 0..bytes.len() {
            let mut forged = bytes.clone();
            forged[at] ^= 1;
            let heard = Heartbeat::parse(&forged)
                .map_or(true, |sealed| pair.b.on_heartbeat(&sealed).is_err());
            assert!(heard, "byte {at}");
        }
        assert!(hear(&mut pair.b, &bytes).is_ok());
    }
}

#[test]
fn a_heartbeat_under_another_key_or_epoch_is_refused() {
    let mut other = Pair::with(1, 2, &keyring(2, 2, 2), &keyring(1, 1, 1));
    let bytes = other.beat(true);
    assert_eq!(refusal(hear(&mut other.b, &bytes)), Some(Refusal::Epoch));
    let forged = Keyring::new(FleetKey::new(Epoch(1), [0x77; 32]));
    let mut other = Pair::with(1, 2, &forged, &keyring(1, 1, 1));
    let bytes = other.beat(true);
    assert_eq!(refusal(hear(&mut other.b, &bytes)), Some(Refusal::Tag));
}

#[test]
fn neighbours_by_one_epoch_confirm_each_other_whoever_is_ahead() {
    let rings = [
        keyring(4, 5, 5),
        keyring(4, 4, 5),
        keyring(5, 5, 6),
        keyring(5, 6, 6),
    ];
    for a in &rings {
        for b in &rings {
            let mut pair = Pair::with(1, 2, a, b);
            let outgoing = loop {
                let report_of = |ring: &Keyring| {
                    let epochs = ring.epochs();
                    report(epochs.lowest.0, epochs.highest.0)
                };
                let bytes = pair.beat_with(false, Some(&report_of(b)));
                let confirmed = hear(&mut pair.a, &bytes)
                    .ok()
                    .and_then(|heard| heard.confirmed);
                let bytes = pair.beat_with(true, Some(&report_of(a)));
                drop(hear(&mut pair.b, &bytes));
                assert!(
                    pair.challenges < 10,
                    "{:?} and {:?}",
                    a.epochs(),
                    b.epochs()
                );
                if let Some(outgoing) = confirmed.filter(|_| pair.b.confirmed().is_some()) {
                    break outgoing;
                }
            };
            let bytes = seal(&outgoing);
            assert_eq!(open(&mut pair.b, &bytes), Ok(()));
            let newest = a.epochs().highest.min(b.epochs().highest);
            assert_eq!(epoch_of(&bytes), newest.low_byte());
        }
    }
}

#[test]
fn a_rotation_keeps_the_tunnel_and_no_counter_comes_twice() {
    let mut pair = Pair::with(1, 2, &keyring(1, 1, 1), &keyring(1, 1, 1));
    let before = pair.confirm();
    let first = seal(&before);
    assert_eq!(open(&mut pair.b, &first), Ok(()));

    let pair_keys = |ring: &Keyring| PairKeys::new(ring, node(1), node(2));
    let ahead = keyring(1, 1, 2);
    assert!(pair.b.rekey(pair_keys(&ahead)).is_some());
    let still = pair.a.rekey(pair_keys(&ahead)).unwrap();
    assert_eq!(epoch_of(&seal(&still)), 1, "B is not known to have epoch 2");
    assert_eq!(open(&mut pair.b, &first), Err(Refusal::Replayed));

    let bytes = pair.beat_with(false, Some(&report(1, 2)));
    let switched = hear(&mut pair.a, &bytes).unwrap().confirmed.unwrap();
    let second = seal(&switched);
    assert_eq!(epoch_of(&second), 2);
    assert_eq!(open(&mut pair.b, &second), Ok(()));
    assert_eq!(open(&mut pair.b, &seal(&before)), Ok(()), "on its way yet");

    // Somebody puts the old file back, and then the new one again.
    for ring in [keyring(1, 1, 1), ahead] {
        pair.a.rekey(pair_keys(&ring));
    }
    let again = seal(&pair.a.rekey(pair_keys(&keyring(1, 1, 2))).unwrap());
    let counter = |bytes: &[u8]| Envelope::parse(bytes).unwrap().envelope.counter;
    assert!(counter(&again) > counter(&second));
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
        refusal(hear(&mut pair.b, &delayed)),
        Some(Refusal::Replaced)
    );
    pair.a = old;
    pair.beat_a();
    let alive = pair.beat(true);
    assert_eq!(refusal(hear(&mut pair.b, &alive)), Some(Refusal::Replaced));
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

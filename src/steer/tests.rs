use std::num::NonZeroU16;

use super::*;
use crate::cid::{Cid, CidConfig, ConfigId, FirstOctet, Key, Nonce, WorkerHash};
use crate::fleet::{Identity, Keyring, PeerState, PeerView, server_id};
use crate::session::SessionKeys;

const OWN: u32 = 1;
const PEER: u32 = 2;
const STRANGER: u32 = 3;
const INSTANCE: u8 = 7;
const SIBLING: u8 = 20;
const LONG: usize = 1200;

fn node(id: u32) -> NodeId {
    NodeId::new(id).unwrap()
}

fn config() -> CidConfig {
    let key = Key::from_bytes([1; 16]);
    CidConfig::new(ConfigId::default(), 4, 12, FirstOctet::Random, Some(&key)).unwrap()
}

fn slots() -> Slots {
    let hash = WorkerHash::new([3; 8]);
    let count = |number| NonZeroU16::new(number).unwrap();
    Slots::new(hash, 17, count(2), count(4)).unwrap()
}

fn own() -> Identity {
    Identity::Node(node(OWN), InstanceId(INSTANCE))
}

fn steer_with(view: View) -> Steer {
    Steer::new(ConfigSet::from_iter([config()]), view, slots())
}

fn steer() -> Steer {
    let peers = [OWN, PEER].map(|id| PeerView::live(node(id)));
    steer_with(View::new(own(), peers).with_siblings([InstanceId(SIBLING)]))
}

/// The peer is in this state, and the node drains or not.
fn steer_beside(state: PeerState, intake: Intake) -> Steer {
    let mut peer = PeerView::live(node(PEER));
    peer.state = state;
    peer.welcomes = state == PeerState::Live;
    steer_with(View::new(own(), [peer])).with_intake(intake)
}

fn tables() -> Tables {
    Tables::new(1)
}

fn inbound(datagram: &[u8], arrival: Arrival) -> Inbound<'_> {
    Inbound {
        datagram,
        source: ([192, 0, 2, 1], 5000).into(),
        arrival,
    }
}

fn decide(steer: &Steer, tables: &mut Tables, datagram: &[u8], arrival: Arrival) -> Verdict {
    steer.handle(start(), &inbound(datagram, arrival), || tables)
}

fn cid(owner: u32, instance: u8) -> Cid {
    let id = server_id(node(owner), InstanceId(instance));
    config()
        .encode(&id, &Nonce::new(&[9; 12]).unwrap(), 0)
        .unwrap()
}

fn short(cid: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x41];
    bytes.extend_from_slice(cid);
    bytes.resize(60, 0);
    bytes
}

fn long(kind: u8, version: u32, destination: &[u8], len: usize) -> Vec<u8> {
    let mut bytes = vec![0xc0 | kind << 4];
    bytes.extend_from_slice(&version.to_be_bytes());
    bytes.push(u8::try_from(destination.len()).unwrap());
    bytes.extend_from_slice(destination);
    bytes.resize(len, 0);
    bytes
}

const INITIAL: u8 = 0;
const ZERO_RTT: u8 = 1;
const HANDSHAKE: u8 = 2;
const RETRY: u8 = 3;
const CHOSEN: [u8; 8] = [0x5a; 8];

fn direct(datagram: &[u8]) -> Verdict {
    decide(&steer(), &mut tables(), datagram, Arrival::Direct)
}

fn tunnelled(datagram: &[u8]) -> Verdict {
    decide(&steer(), &mut tables(), datagram, Arrival::Tunnel)
}

fn from_sibling(datagram: &[u8]) -> Verdict {
    decide(&steer(), &mut tables(), datagram, Arrival::Sibling)
}

fn local(cid: &[u8]) -> Verdict {
    Verdict::Local(slots().slot_of(cid))
}

fn accept(cid: &[u8]) -> Verdict {
    Verdict::Accept(slots().worker_of(cid))
}

#[test]
fn a_datagram_goes_to_the_process_that_issued_its_cid() {
    let own = cid(OWN, INSTANCE);
    assert_eq!(direct(&short(&own)), local(&own));
    assert_eq!(direct(&short(&cid(PEER, 0))), Verdict::Forward(node(PEER)));
    let sibling = cid(OWN, SIBLING);
    for kind in [INITIAL, ZERO_RTT, HANDSHAKE] {
        assert_eq!(
            direct(&long(kind, 1, &cid(PEER, 3), LONG)),
            Verdict::Forward(node(PEER))
        );
        assert_eq!(direct(&long(kind, 1, &own, LONG)), local(&own));
        for verdict in [direct, tunnelled] {
            assert_eq!(
                verdict(&long(kind, 1, &sibling, LONG)),
                Verdict::Sibling(InstanceId(SIBLING))
            );
        }
    }
}

#[test]
fn what_was_passed_on_once_is_never_passed_on_again() {
    let own = cid(OWN, INSTANCE);
    for verdict in [tunnelled, from_sibling] {
        assert_eq!(verdict(&short(&own)), local(&own));
        for datagram in [short(&cid(PEER, 0)), long(INITIAL, 1, &cid(PEER, 0), LONG)] {
            assert_eq!(verdict(&datagram), Verdict::Drop(DropReason::HopLimit));
        }
        assert_eq!(
            verdict(&long(INITIAL, 9, &CHOSEN, LONG)),
            Verdict::Drop(DropReason::HopLimit)
        );
    }
    assert_eq!(
        from_sibling(&short(&cid(OWN, SIBLING))),
        Verdict::Drop(DropReason::HopLimit)
    );
}

#[test]
fn a_connection_that_a_peer_hands_over_is_accepted_even_while_draining() {
    let initial = long(INITIAL, 1, &CHOSEN, LONG);
    assert_eq!(tunnelled(&initial), accept(&CHOSEN));
    let draining = steer_beside(PeerState::Live, Intake::HandOver);
    let verdict = decide(&draining, &mut tables(), &initial, Arrival::Tunnel);
    assert_eq!(verdict, accept(&CHOSEN));
}

#[test]
fn what_belongs_to_a_gone_process_is_reset_or_begins_anew() {
    for gone in [cid(OWN, INSTANCE + 1), cid(PEER, 3)] {
        let steer = steer_beside(PeerState::Dead, Intake::Open);
        let direct = |datagram: &[u8]| decide(&steer, &mut tables(), datagram, Arrival::Direct);
        assert_eq!(direct(&short(&gone)), Verdict::Reset);
        assert_eq!(
            direct(&short(&gone)[..21]),
            Verdict::Drop(DropReason::ResetTooShort)
        );
        for kind in [ZERO_RTT, HANDSHAKE] {
            assert_eq!(
                direct(&long(kind, 1, &gone, LONG)),
                Verdict::Drop(DropReason::OwnerGone)
            );
        }
        assert_eq!(direct(&long(INITIAL, 1, &gone, LONG)), accept(&gone));
    }
}

#[test]
fn a_peer_forwards_to_the_node_of_a_gone_process_and_that_node_resets() {
    assert_eq!(tunnelled(&short(&cid(OWN, INSTANCE + 1))), Verdict::Reset);
}

#[test]
fn a_silent_owner_is_never_reset() {
    let steer = steer_beside(PeerState::Silent, Intake::Open);
    let owned = cid(PEER, 3);
    for datagram in [
        short(&owned),
        long(INITIAL, 1, &owned, LONG),
        long(HANDSHAKE, 1, &owned, LONG),
    ] {
        assert_eq!(
            decide(&steer, &mut tables(), &datagram, Arrival::Direct),
            Verdict::Drop(DropReason::OwnerSilent)
        );
    }
}

#[test]
fn resets_beyond_the_allowance_of_a_source_are_dropped() {
    let (steer, mut tables) = (steer(), tables());
    let (now, gone) = (start(), short(&cid(OWN, INSTANCE + 1)));
    let verdicts: Vec<_> = (0..=RESETS.per_source)
        .map(|_| steer.handle(now, &inbound(&gone, Arrival::Direct), || &mut tables))
        .collect();
    let (last, before) = verdicts.split_last().unwrap();
    assert!(before.iter().all(|verdict| *verdict == Verdict::Reset));
    assert_eq!(*last, Verdict::Drop(DropReason::ResetLimit));
}

#[test]
fn an_unknown_owner_drops_all_but_an_initial() {
    let unknown = cid(STRANGER, 0);
    assert_eq!(
        direct(&short(&unknown)),
        Verdict::Drop(DropReason::UnknownOwner)
    );
    assert_eq!(
        direct(&long(ZERO_RTT, 1, &unknown, LONG)),
        Verdict::Drop(DropReason::UnknownOwner)
    );
    assert_eq!(direct(&long(INITIAL, 1, &unknown, LONG)), accept(&unknown));
}

#[test]
fn a_new_connection_is_accepted_with_any_chosen_cid() {
    for len in [8, 16, 17, 18, 20] {
        let chosen = vec![0xff; len];
        for kind in [INITIAL, ZERO_RTT] {
            let verdict = direct(&long(kind, 1, &chosen, LONG));
            assert_eq!(verdict, accept(&chosen), "{len} bytes");
        }
    }
    assert_eq!(
        direct(&long(HANDSHAKE, 1, &CHOSEN, LONG)),
        Verdict::Drop(DropReason::NoOwner)
    );
}

#[test]
fn a_draining_node_hands_new_connections_over_and_keeps_those_that_began_here() {
    let initial = long(INITIAL, 1, &CHOSEN, LONG);
    let other = long(INITIAL, 1, &[0x33; 8], LONG);
    let mut tables = tables();
    let open = steer_beside(PeerState::Live, Intake::Open);
    assert_eq!(
        decide(&open, &mut tables, &initial, Arrival::Direct),
        accept(&CHOSEN)
    );
    let draining = steer_beside(PeerState::Live, Intake::HandOver);
    assert_eq!(
        decide(&draining, &mut tables, &initial, Arrival::Direct),
        accept(&CHOSEN)
    );
    for steer in [&draining, &open] {
        // What was handed over stays with the peer when the drain is called off.
        assert_eq!(
            decide(steer, &mut tables, &other, Arrival::Direct),
            Verdict::Forward(node(PEER))
        );
    }
}

#[test]
fn a_flood_at_a_draining_node_reaches_its_peers_within_the_allowance() {
    let (now, mut tables) = (start(), tables());
    let draining = steer_beside(PeerState::Live, Intake::HandOver);
    let mut forwarded = 0;
    for number in 0..20_000_u32 {
        let initial = long(INITIAL, 1, &[number.to_be_bytes(); 2].concat(), LONG);
        let mut inbound = inbound(&initial, Arrival::Direct);
        inbound.source = (number.to_be_bytes(), 5000).into();
        match draining.handle(now, &inbound, || &mut tables) {
            Verdict::Forward(_) => forwarded += 1,
            verdict => assert_eq!(verdict, Verdict::Drop(DropReason::HandOverLimit)),
        }
    }
    assert_eq!(forwarded, HAND_OVERS_PER_PEER);
}

#[test]
fn a_flood_of_random_ids_adds_nothing_to_a_peer() {
    let steer = steer();
    let (mut state, mut forwarded) = (1_u64, 0);
    let mut tables = tables();
    for _ in 0..100_000 {
        let mut datagram = short(&[]);
        for byte in &mut datagram[1..18] {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            *byte = (state >> 56) as u8;
        }
        let verdict = decide(&steer, &mut tables, &datagram, Arrival::Direct);
        forwarded += u32::from(matches!(verdict, Verdict::Forward(_)));
    }
    assert_eq!(forwarded, 0);
}

#[test]
fn a_draining_node_with_nobody_to_hand_over_to_accepts() {
    let draining = steer_beside(PeerState::Silent, Intake::HandOver);
    let initial = long(INITIAL, 1, &CHOSEN, LONG);
    assert_eq!(
        decide(&draining, &mut tables(), &initial, Arrival::Direct),
        accept(&CHOSEN)
    );
}

#[test]
fn a_handed_over_connection_comes_back_when_the_peer_dies() {
    let initial = long(INITIAL, 1, &CHOSEN, LONG);
    let mut tables = tables();
    let draining = steer_beside(PeerState::Live, Intake::HandOver);
    assert_eq!(
        decide(&draining, &mut tables, &initial, Arrival::Direct),
        Verdict::Forward(node(PEER))
    );
    let alone = steer_beside(PeerState::Dead, Intake::HandOver);
    assert_eq!(
        decide(&alone, &mut tables, &initial, Arrival::Direct),
        accept(&CHOSEN)
    );
}

#[test]
fn the_first_packets_of_a_flow_are_forgotten_after_their_lifetime() {
    let initial = long(INITIAL, 1, &CHOSEN, LONG);
    let (now, mut tables) = (start(), tables());
    let open = steer_beside(PeerState::Live, Intake::Open);
    let inbound = inbound(&initial, Arrival::Direct);
    assert_eq!(open.handle(now, &inbound, || &mut tables), accept(&CHOSEN));
    let draining = steer_beside(PeerState::Live, Intake::HandOver);
    let end = now + EarlyTable::LIFETIME;
    let before = now + EarlyTable::LIFETIME / 2;
    assert_eq!(
        draining.handle(before, &inbound, || &mut tables),
        accept(&CHOSEN)
    );
    assert_eq!(
        draining.handle(end, &inbound, || &mut tables),
        Verdict::Forward(node(PEER))
    );
}

#[test]
fn an_unknown_version_is_answered_only_at_full_size_and_after_routing() {
    assert_eq!(direct(&long(INITIAL, 9, &CHOSEN, LONG)), Verdict::Negotiate);
    assert_eq!(
        direct(&long(INITIAL, 9, &CHOSEN, LONG - 1)),
        Verdict::Drop(DropReason::UnknownVersion)
    );
    assert_eq!(
        direct(&long(INITIAL, 9, &cid(PEER, 0), 100)),
        Verdict::Forward(node(PEER))
    );
}

#[test]
fn packets_that_only_servers_send_are_dropped() {
    let negotiation = long(INITIAL, 0, &CHOSEN, LONG);
    assert_eq!(
        direct(&negotiation),
        Verdict::Drop(DropReason::ServerPacket)
    );
    let retry = long(RETRY, 1, &CHOSEN, LONG);
    assert_eq!(direct(&retry), Verdict::Drop(DropReason::ServerPacket));
}

#[test]
fn what_is_no_quic_packet_is_dropped() {
    for datagram in [&b""[..], &[0x40; 20], &[0xc0, 0, 0], b"GET / HTTP/1.1\r\n"] {
        assert_eq!(
            direct(datagram),
            Verdict::Drop(DropReason::NotQuic),
            "{datagram:?}"
        );
    }
    let foreign = short(&[0xff; 17]);
    assert_eq!(direct(&foreign), Verdict::Drop(DropReason::UndecodableCid));
}

#[test]
fn an_opaque_server_id_owns_only_what_matches_it() {
    let own = ServerId::new(&[5; 8]).unwrap();
    let config = CidConfig::new(ConfigId::default(), 8, 7, FirstOctet::Length, None).unwrap();
    let view = View::new(Identity::Opaque(own), []);
    let steer = Steer::new(ConfigSet::from_iter([config.clone()]), view, slots());
    let cid = |id: [u8; 8]| {
        let (id, nonce) = (ServerId::new(&id).unwrap(), Nonce::new(&[0; 7]).unwrap());
        config.encode(&id, &nonce, 0).unwrap()
    };
    let direct = |cid: Cid| decide(&steer, &mut tables(), &short(&cid), Arrival::Direct);
    assert!(matches!(direct(cid([5; 8])), Verdict::Local(_)));
    assert_eq!(direct(cid([6; 8])), Verdict::Drop(DropReason::UnknownOwner));
}

proptest::proptest! {
    #[test]
    fn any_bytes_get_a_verdict(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..1500)) {
        let (direct, tunnelled) = (direct(&bytes), tunnelled(&bytes));
        proptest::prop_assert!(!matches!(tunnelled, Verdict::Forward(_) | Verdict::Negotiate));
        proptest::prop_assert!(!matches!(direct, Verdict::Drop(DropReason::HopLimit)));
    }
}

fn tokens(epoch: u8) -> TokenKeys {
    SessionKeys::new(&Keyring::testing(epoch)).tokens
}

/// An Initial whose token was made in an epoch and names a process.
fn returning(epoch: u8, owner: u32) -> Vec<u8> {
    let owner = server_id(node(owner), InstanceId(INSTANCE));
    let random = [4; TokenKeys::RANDOM_LEN];
    let mut token = tokens(epoch).seal(b"content", Some(&owner), &random);
    token.extend_from_slice(&random);
    let mut bytes = vec![0xc0, 0, 0, 0, 1, 8];
    bytes.extend_from_slice(&CHOSEN);
    bytes.push(0);
    bytes.push(u8::try_from(token.len()).unwrap());
    bytes.extend_from_slice(&token);
    bytes.resize(LONG, 0);
    bytes
}

fn early(state: PeerState) -> Steer {
    steer_beside(state, Intake::Open).with_owners(tokens(5))
}

#[test]
fn a_returning_client_reaches_the_owner_that_its_token_names_with_all_that_follows() {
    let (steer, mut tables) = (early(PeerState::Live), tables());
    let zero_rtt = long(ZERO_RTT, 1, &CHOSEN, LONG);
    let mut decide = |datagram: &[u8]| decide(&steer, &mut tables, datagram, Arrival::Direct);
    assert_eq!(decide(&zero_rtt), Verdict::Wait);
    for datagram in [returning(6, PEER), zero_rtt] {
        assert_eq!(decide(&datagram), Verdict::Forward(node(PEER)));
    }
}

#[test]
fn a_token_of_this_process_of_nobody_or_of_another_epoch_leads_here() {
    for initial in [
        returning(5, OWN),
        returning(5, STRANGER),
        returning(7, PEER),
        long(INITIAL, 1, &CHOSEN, LONG),
    ] {
        let (steer, mut tables) = (early(PeerState::Live), tables());
        let zero_rtt = long(ZERO_RTT, 1, &CHOSEN, LONG);
        for datagram in [initial, zero_rtt] {
            let verdict = decide(&steer, &mut tables, &datagram, Arrival::Direct);
            assert_eq!(verdict, accept(&CHOSEN));
        }
    }
}

#[test]
fn a_returning_client_whose_owner_is_gone_or_drains_begins_anew_here() {
    for state in [PeerState::Silent, PeerState::Dead] {
        let verdict = decide(
            &early(state),
            &mut tables(),
            &returning(5, PEER),
            Arrival::Direct,
        );
        assert_eq!(verdict, accept(&CHOSEN));
    }
    let mut peer = PeerView::live(node(PEER));
    peer.welcomes = false;
    let steer = steer_with(View::new(own(), [peer])).with_owners(tokens(5));
    let initial = returning(5, PEER);
    let verdict = decide(&steer, &mut tables(), &initial, Arrival::Direct);
    assert_eq!(verdict, accept(&CHOSEN));
}

#[test]
fn a_draining_node_hands_a_returning_client_to_the_owner_that_its_token_names() {
    let peers = [PEER, STRANGER].map(|id| PeerView::live(node(id)));
    let draining = steer_with(View::new(own(), peers))
        .with_intake(Intake::HandOver)
        .with_owners(tokens(5));
    let decide = |initial: &[u8]| decide(&draining, &mut tables(), initial, Arrival::Direct);
    for owner in [PEER, STRANGER] {
        assert_eq!(decide(&returning(5, owner)), Verdict::Forward(node(owner)));
    }
    let successor = draining.view().successor(&CHOSEN).unwrap();
    assert_eq!(decide(&returning(5, OWN)), Verdict::Forward(successor));
}

#[test]
fn a_flood_with_tokens_of_one_owner_leaves_the_others_theirs() {
    let (now, mut tables) = (start(), tables());
    let peers = [PEER, STRANGER].map(|id| PeerView::live(node(id)));
    let steer = steer_with(View::new(own(), peers)).with_owners(tokens(5));
    let mut first = |number: u32, owner: u32| {
        let initial = returning(5, owner);
        let mut inbound = inbound(&initial, Arrival::Direct);
        inbound.source = (number.to_be_bytes(), 5000).into();
        steer.handle(now, &inbound, || &mut tables)
    };
    let last = (0..3000).map(|number| first(number, PEER)).last();
    assert_eq!(last, Some(accept(&CHOSEN)));
    assert_eq!(first(3000, STRANGER), Verdict::Forward(node(STRANGER)));
}

#[test]
fn early_data_that_a_peer_passed_on_is_accepted_and_never_passed_on() {
    let (steer, mut tables) = (early(PeerState::Live), tables());
    for datagram in [long(ZERO_RTT, 1, &CHOSEN, LONG), returning(5, PEER)] {
        let verdict = decide(&steer, &mut tables, &datagram, Arrival::Tunnel);
        assert_eq!(verdict, accept(&CHOSEN));
    }
}

#[test]
fn a_flood_with_one_token_reaches_its_owner_within_the_allowance() {
    let (steer, mut tables, now) = (early(PeerState::Live), tables(), start());
    let initial = returning(5, PEER);
    let mut forwarded = 0;
    for number in 0..20_000_u32 {
        let mut inbound = inbound(&initial, Arrival::Direct);
        inbound.source = (number.to_be_bytes(), 5000).into();
        match steer.handle(now, &inbound, || &mut tables) {
            Verdict::Forward(_) => forwarded += 1,
            verdict => assert_eq!(verdict, accept(&CHOSEN)),
        }
    }
    assert_eq!(forwarded, HAND_OVERS_PER_PEER);
}

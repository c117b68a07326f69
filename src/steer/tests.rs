use super::*;
use crate::cid::{Cid, CidConfig, ConfigId, FirstOctet, Key, Nonce};
use crate::fleet::{Identity, InstanceId, server_id};

const OWN: u32 = 1;
const PEER: u32 = 2;
const STRANGER: u32 = 3;
const INSTANCE: u8 = 7;
const LONG: usize = 1200;

fn node(id: u32) -> NodeId {
    NodeId::new(id).unwrap()
}

fn config() -> CidConfig {
    let key = Key::from_bytes([1; 16]);
    CidConfig::new(ConfigId::default(), 4, 12, FirstOctet::Random, Some(&key)).unwrap()
}

fn steer() -> Steer {
    let mut configs = ConfigSet::default();
    assert!(configs.insert(config()).is_none());
    let own = Identity::Node(node(OWN), InstanceId(INSTANCE));
    Steer::new(configs, View::new(own, [node(OWN), node(PEER)]))
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
    steer().handle(datagram, Arrival::Direct)
}

fn tunnelled(datagram: &[u8]) -> Verdict {
    steer().handle(datagram, Arrival::Tunnel)
}

#[test]
fn a_datagram_goes_to_the_process_that_issued_its_cid() {
    assert_eq!(direct(&short(&cid(OWN, INSTANCE))), Verdict::Local);
    assert_eq!(direct(&short(&cid(PEER, 0))), Verdict::Forward(node(PEER)));
    for kind in [INITIAL, ZERO_RTT, HANDSHAKE] {
        assert_eq!(
            direct(&long(kind, 1, &cid(PEER, 3), LONG)),
            Verdict::Forward(node(PEER))
        );
        assert_eq!(
            direct(&long(kind, 1, &cid(OWN, INSTANCE), LONG)),
            Verdict::Local
        );
    }
}

#[test]
fn a_tunnelled_datagram_is_never_forwarded_again() {
    assert_eq!(tunnelled(&short(&cid(OWN, INSTANCE))), Verdict::Local);
    for datagram in [short(&cid(PEER, 0)), long(INITIAL, 1, &cid(PEER, 0), LONG)] {
        assert_eq!(tunnelled(&datagram), Verdict::Drop(DropReason::HopLimit));
    }
    assert_eq!(
        tunnelled(&long(INITIAL, 1, &CHOSEN, LONG)),
        Verdict::Drop(DropReason::HopLimit)
    );
}

#[test]
fn a_gone_instance_drops_its_connections_but_takes_new_ones() {
    let gone = cid(OWN, INSTANCE + 1);
    assert_eq!(
        direct(&short(&gone)),
        Verdict::Drop(DropReason::GoneInstance)
    );
    assert_eq!(
        direct(&long(HANDSHAKE, 1, &gone, LONG)),
        Verdict::Drop(DropReason::GoneInstance)
    );
    assert_eq!(direct(&long(INITIAL, 1, &gone, LONG)), Verdict::Local);
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
    assert_eq!(direct(&long(INITIAL, 1, &unknown, LONG)), Verdict::Local);
}

#[test]
fn a_new_connection_is_local_with_any_chosen_cid() {
    for len in [8, 16, 17, 18, 20] {
        let chosen = vec![0xff; len];
        assert_eq!(
            direct(&long(INITIAL, 1, &chosen, LONG)),
            Verdict::Local,
            "{len} bytes"
        );
        assert_eq!(
            direct(&long(ZERO_RTT, 1, &chosen, LONG)),
            Verdict::Local,
            "{len} bytes"
        );
    }
    assert_eq!(
        direct(&long(HANDSHAKE, 1, &CHOSEN, LONG)),
        Verdict::Drop(DropReason::NoOwner)
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
    assert_eq!(
        tunnelled(&long(INITIAL, 9, &CHOSEN, LONG)),
        Verdict::Drop(DropReason::HopLimit)
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
    let mut configs = ConfigSet::default();
    assert!(configs.insert(config.clone()).is_none());
    let steer = Steer::new(configs, View::new(Identity::Opaque(own), []));
    let cid = |id: [u8; 8]| {
        config
            .encode(
                &ServerId::new(&id).unwrap(),
                &Nonce::new(&[0; 7]).unwrap(),
                0,
            )
            .unwrap()
    };
    assert_eq!(
        steer.handle(&short(&cid([5; 8])), Arrival::Direct),
        Verdict::Local
    );
    assert_eq!(
        steer.handle(&short(&cid([6; 8])), Arrival::Direct),
        Verdict::Drop(DropReason::UnknownOwner)
    );
}

proptest::proptest! {
    #[test]
    fn any_bytes_get_a_verdict(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..1500)) {
        let (direct, tunnelled) = (direct(&bytes), tunnelled(&bytes));
        proptest::prop_assert!(!matches!(tunnelled, Verdict::Forward(_) | Verdict::Negotiate));
        proptest::prop_assert!(!matches!(direct, Verdict::Drop(DropReason::HopLimit)));
    }
}

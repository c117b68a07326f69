//! The fleet's keys: what is derived, how it is written down, and who can make which reset token.

use std::fmt::Write;

use wayhold::cid::{Cid, CidConfig, ConfigId, ConfigSet, FirstOctet, Key, Nonce, ServerId};
use wayhold::fleet::{
    Epoch, FleetKey, InstanceId, Keyring, KeyringError, NodeId, ResetKeys, server_id,
};

/// The expected values come from another implementation of HKDF and HMAC: a node that derives
/// others cannot join a fleet of this version.
#[test]
fn derived_keys_never_change() {
    let key = fleet_key(7);
    assert_eq!(
        hex(key.token_key().as_bytes()),
        "a14da5ae4cb173b2e7bbf77a860a2bd551fbc20d05f0895ece420369ca3bc90b"
    );
    assert_eq!(
        hex(key.ticket_key().as_bytes()),
        "8c79c1b7c8c806b03b249c3ed039b08adba5a65fff205da2c06d7dfd0698b60e"
    );
    assert_eq!(
        hex(key.pair_key(node(1), node(512)).as_bytes()),
        "b84ce0df3d17fc7852ea2226d8ad5b30262f8d111dee58793f8524790fd4f3ce"
    );
    let cid_key = "0bd4b0452c60103080261428027ec315".parse().unwrap();
    let derived = cid_under(&key.cid_key(config_id(3)), server(1, 9));
    assert_eq!(derived, cid_under(&cid_key, server(1, 9)));
    let cid = (0..17).collect::<Vec<u8>>();
    let reset_key = key.reset_key(config_id(3), &server(1, 9));
    assert_eq!(
        hex(&reset_key.token(&cid)),
        "8e0e15085400e39edd7c287e64957f82"
    );
}

#[test]
fn another_purpose_epoch_or_pair_has_another_key() {
    let (key, later) = (fleet_key(7), fleet_key(8));
    let pair = |a, b| hex(key.pair_key(node(a), node(b)).as_bytes());
    let keys = [
        hex(key.token_key().as_bytes()),
        hex(later.token_key().as_bytes()),
        hex(key.ticket_key().as_bytes()),
        hex(later.ticket_key().as_bytes()),
        hex(later.pair_key(node(1), node(2)).as_bytes()),
        pair(1, 2),
        pair(1, 3),
        pair(2, 3),
    ];
    for (index, key) in keys.iter().enumerate() {
        assert!(!keys[index + 1..].contains(key));
    }
}

#[test]
fn both_nodes_of_a_pair_derive_the_same_key() {
    let key = fleet_key(0);
    let (one, other) = (node(5), node(0x00ff_ffff));
    assert_eq!(
        key.pair_key(one, other).as_bytes(),
        key.pair_key(other, one).as_bytes()
    );
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let key = fleet_key(7);
    assert_eq!(format!("{key:?}"), "FleetKey { epoch: Epoch(7), .. }");
    assert_eq!(format!("{:?}", key.token_key()), "DerivedKey(..)");
    let keyring = format!("{:?}", Keyring::new(key));
    assert!(!keyring.contains("secret"), "{keyring}");
}

#[test]
fn a_keyring_comes_back_from_its_text() {
    for text in [
        "wayhold-fleet-key v1\nepoch = 7\nsecret = ",
        "wayhold-fleet-key v1\r\n# comment\r\n\r\n  epoch=7\r\n\tsecret =",
    ] {
        let keyring = Keyring::from_text(&format!("{text}{}", secret(7))).unwrap();
        assert_eq!(keyring.current().epoch(), Epoch(7));
        assert_eq!(keyring.iter().count(), 1);
        let again = Keyring::from_text(&keyring.to_text()).unwrap();
        assert_same(again.current(), &fleet_key(7));
    }
}

#[test]
fn a_keyring_holds_the_epochs_before_and_after() {
    let text = format!(
        "wayhold-fleet-key v1\nnext = {}\nepoch = 7\nprevious = {}\nsecret = {}\n",
        secret(8),
        secret(6),
        secret(7)
    );
    let keyring = Keyring::from_text(&text).unwrap();
    let again = Keyring::from_text(&keyring.to_text()).unwrap();
    for keyring in [keyring, again] {
        assert_eq!(keyring.current().epoch(), Epoch(7));
        for epoch in 6..=8 {
            assert_same(keyring.get(Epoch(epoch)).unwrap(), &fleet_key(epoch));
        }
        assert!(keyring.get(Epoch(5)).is_none());
        assert!(keyring.get(Epoch(9)).is_none());
    }
}

#[test]
fn texts_that_are_no_keyring_are_refused_by_line() {
    let secret = secret(1);
    let cases = [
        (String::new(), KeyringError::Header),
        ("wayhold-fleet-key v2".into(), KeyringError::Header),
        (text("secret = 00"), KeyringError::SecretLen(2, 1)),
        (
            text(&format!("secret = {secret}00")),
            KeyringError::SecretLen(2, 33),
        ),
        (text("epoch = 1"), KeyringError::Missing("secret")),
        (
            text(&format!("secret = {secret}")),
            KeyringError::Missing("epoch"),
        ),
        (text("epoch = -1"), KeyringError::Epoch(2)),
        (text("\n\nepoch = 4294967296"), KeyringError::Epoch(4)),
        (text("epoch = 1\nepoch = 1"), KeyringError::Repeated(3)),
        (text("epoch 1"), KeyringError::Line(2)),
        (text("key = 1"), KeyringError::Line(2)),
        (
            text(&format!(
                "epoch = 0\nsecret = {secret}\nprevious = {secret}"
            )),
            KeyringError::NoSuchEpoch(Epoch(0), "previous"),
        ),
        (
            text(&format!(
                "epoch = 4294967295\nsecret = {secret}\nnext = {secret}"
            )),
            KeyringError::NoSuchEpoch(Epoch(u32::MAX), "next"),
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(Keyring::from_text(&text).unwrap_err(), expected);
    }
    let error = Keyring::from_text(&text("secret = 0z")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 2: character 2 is not a hexadecimal digit"
    );
}

#[test]
fn every_node_makes_the_token_that_the_owner_made() {
    let (one, other) = (reset_keys(server(1, 1)), reset_keys(server(2, 1)));
    let cid = cid_of(server(1, 1));
    assert_eq!(one.token(&cid), other.token(&cid));
    let direct = fleet_key(7).reset_key(config_id(3), &server(1, 1));
    assert_eq!(one.token(&cid), direct.token(&cid));
}

#[test]
fn tokens_differ_by_cid_server_id_and_configuration() {
    let key = fleet_key(7);
    let cid = cid_of(server(1, 1));
    let token = key.reset_key(config_id(3), &server(1, 1)).token(&cid);
    let others = [
        key.reset_key(config_id(3), &server(1, 2)).token(&cid),
        key.reset_key(config_id(4), &server(1, 1)).token(&cid),
        fleet_key(8)
            .reset_key(config_id(3), &server(1, 1))
            .token(&cid),
        key.reset_key(config_id(3), &server(1, 1))
            .token(&cid_of(server(1, 2))),
    ];
    assert!(!others.contains(&token));
}

#[test]
fn a_cid_that_does_not_decode_has_a_token_only_at_its_node() {
    let (one, other) = (reset_keys(server(1, 1)), reset_keys(server(2, 1)));
    for cid in [
        Cid::unroutable(&[9; 17]).unwrap(),
        Cid::new(&[0; 8]).unwrap(),
    ] {
        assert_eq!(one.token(&cid), one.token(&cid));
        assert_ne!(one.token(&cid), other.token(&cid));
    }
}

fn reset_keys(own: ServerId) -> ResetKeys {
    let key = fleet_key(7);
    let configs = [config(&key.cid_key(config_id(3)))];
    ResetKeys::new(key, configs.into_iter().collect::<ConfigSet>(), own)
}

fn cid_of(server_id: ServerId) -> Cid {
    cid_under(&fleet_key(7).cid_key(config_id(3)), server_id)
}

fn cid_under(key: &Key, server_id: ServerId) -> Cid {
    let nonce = Nonce::new(&[4; 12]).unwrap();
    config(key).encode(&server_id, &nonce, 0).unwrap()
}

fn config(key: &Key) -> CidConfig {
    CidConfig::new(config_id(3), 4, 12, FirstOctet::Random, Some(key)).unwrap()
}

fn assert_same(one: &FleetKey, other: &FleetKey) {
    assert_eq!(one.epoch(), other.epoch());
    assert_eq!(one.token_key().as_bytes(), other.token_key().as_bytes());
}

/// A key whose secret is 0, 1, 2 .. 31, with another first byte in epochs other than 7.
fn fleet_key(epoch: u32) -> FleetKey {
    let mut secret = std::array::from_fn(|index| index.try_into().unwrap());
    secret[0] = u8::try_from(epoch).unwrap() ^ 7;
    FleetKey::new(Epoch(epoch), secret)
}

fn secret(epoch: u8) -> String {
    let mut bytes = (0..32).collect::<Vec<u8>>();
    bytes[0] = epoch ^ 7;
    hex(&bytes)
}

fn text(lines: &str) -> String {
    format!("wayhold-fleet-key v1\n{lines}\n")
}

fn node(id: u32) -> NodeId {
    NodeId::new(id).unwrap()
}

fn server(id: u32, instance: u8) -> ServerId {
    server_id(node(id), InstanceId(instance))
}

fn config_id(id: u8) -> ConfigId {
    ConfigId::new(id).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

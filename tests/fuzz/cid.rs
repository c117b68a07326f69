//! Connection IDs (draft-ietf-quic-load-balancers-21): every legal configuration and any bytes, and where
//! packets with them go.

use wayhold::cid::{
    Cid, CidConfig, ConfigId, ConfigSet, DecodeError, FirstOctet, Key, Lane, Minter, Nonce,
    ServerId,
};
use wayhold::fleet::{
    Identity, InstanceId, NodeId, Owner, PeerView, View, server_id, split_server_id,
};
use wayhold::steer::{Slots, Steer};

use super::input::Input;

pub(crate) fn target(input: &[u8]) {
    let mut input = Input::new(input);
    match input.below(3) {
        0 => round_trip(&mut input),
        1 => set(&mut input),
        _ => fleet(&mut input),
    }
}

fn round_trip(input: &mut Input<'_>) {
    let Some(config) = config(input) else {
        return;
    };
    let server_id: [u8; ServerId::MAX_LEN] = input.array();
    let server_id = ServerId::new(&server_id[..config.server_id_len()]).expect("a legal length");
    let nonce: [u8; Nonce::MAX_LEN] = input.array();
    let nonce = Nonce::new(&nonce[..config.nonce_len()]).expect("a legal length");
    let bits = input.byte();
    let cid = config
        .encode(&server_id, &nonce, bits)
        .expect("the lengths fit");
    assert_eq!(cid.len(), config.cid_len());
    let low = match config.first_octet() {
        FirstOctet::Random => bits & 0x1f,
        FirstOctet::Length => u8::try_from(cid.len() - 1).expect("at most 19"),
    };
    assert_eq!(cid[0], config.id().get() << 5 | low);
    let decoded = config.decode(&cid).expect("it was just made");
    assert_eq!(
        (decoded.config_id, decoded.server_id, decoded.nonce),
        (config.id(), server_id, nonce)
    );
    assert_eq!(cid.to_string().parse(), Ok(cid));
    if !config.is_encrypted() {
        assert_eq!(cid[1..], [&server_id[..], &nonce[..]].concat());
    }
    let longer = [&cid[..], input.bytes(20)].concat();
    assert_eq!(config.decode_prefix(&longer), Ok(decoded));
    assert!(config.decode(&cid[..cid.len() - 1]).is_err());
    // It is a permutation: another connection ID says something else.
    let mut other = cid.to_vec();
    let at = 1 + input.below(other.len() - 1);
    other[at] ^= input.byte().max(1);
    let other = config
        .decode(&other)
        .expect("any bytes of its length are one");
    assert_ne!((other.server_id, other.nonce), (server_id, nonce));
    // What decodes encodes to the same bytes.
    let again = config
        .encode(&other.server_id, &other.nonce, cid[0])
        .expect("the lengths fit");
    assert_eq!(config.decode(&again), Ok(other));
}

/// Any bytes are read under the configuration that their first octet names, and under no other.
fn set(input: &mut Input<'_>) {
    let set: ConfigSet = (0..input.below(6)).filter_map(|_| config(input)).collect();
    let bytes = input.rest();
    let named = bytes.first().map(|first| first >> 5);
    for decoded in [set.decode(bytes), set.decode_prefix(bytes)] {
        match decoded {
            Ok(decoded) => {
                assert_eq!(Some(decoded.config_id.get()), named);
                let config = set.get(decoded.config_id).expect("it is in the set");
                let cid = &bytes[..config.cid_len()];
                let again = config.encode(&decoded.server_id, &decoded.nonce, cid[0]);
                assert_eq!(again.as_deref(), Ok(cid));
            }
            Err(DecodeError::Unroutable) => assert_eq!(named, Some(7)),
            Err(DecodeError::UnknownConfig(id)) => {
                assert!(Some(id.get()) == named && set.get(id).is_none());
            }
            Err(_) => assert!(bytes.len() != 17 || named.is_some()),
        }
    }
    if let Ok(cid) = Cid::unroutable(bytes) {
        assert_eq!(set.decode(&cid), Err(DecodeError::Unroutable));
    }
}

/// What a node of the fleet issues leads to that node; anything else leads to whom it names.
fn fleet(input: &mut Input<'_>) {
    let key = Key::from_bytes(input.array());
    let id = ConfigId::new(input.byte() % 7).expect("below 7");
    let nonce = input.pick(&[8, 10, 12, 15]);
    let key = (!input.one_in(4)).then_some(&key);
    let config = CidConfig::new(id, 4, nonce, FirstOctet::Random, key).expect("a legal form");
    let node = |id: u32| NodeId::new(id).expect("it is small");
    let own = Identity::Node(node(1), InstanceId(3));
    let view = View::new(own, [2, 3, 4].map(|peer| PeerView::live(node(peer))));
    let configs = [config.clone()].into_iter().collect();
    let steer = Steer::new(configs, view, Slots::single(config.cid_len()));

    let issuer = 1 + u32::try_from(input.below(6)).expect("below 6");
    let instance = InstanceId(input.byte());
    let issued = server_id(node(issuer), instance);
    let mut minter = Minter::new(config, issued, Lane::ONLY, input.u64().into()).expect("it fits");
    let cid = minter
        .mint(|out| out.fill(input.byte()))
        .expect("there are nonces");
    assert!(minter.owns(&cid));
    let location = steer.locate(&cid).expect("it is of the fleet");
    assert_eq!(location.server_id, issued);
    match location.owner {
        Owner::Own => assert!(issuer == 1 && instance == InstanceId(3)),
        Owner::GoneInstance(_) => assert!(issuer == 1 && instance != InstanceId(3)),
        Owner::Peer(peer) => assert!(peer == node(issuer) && (2..=4).contains(&issuer)),
        owner => assert!(owner == Owner::Unknown && issuer > 4, "{owner:?}"),
    }
    assert_eq!(location.owner == Owner::Unknown, issuer > 4);

    let Ok(foreign) = Cid::new(input.rest()) else {
        return;
    };
    if let Ok(location) = steer.locate(&foreign) {
        let named = split_server_id(&location.server_id).map(|(node, _)| node);
        let led = match location.owner {
            Owner::Own | Owner::GoneInstance(_) => Some(node(1)),
            Owner::Peer(peer) => Some(peer),
            _ => None,
        };
        assert!(
            led.is_none() || led == named,
            "nobody gets what does not name it"
        );
        assert_eq!(minter.owns(&foreign), location.server_id == issued);
    }
}

fn config(input: &mut Input<'_>) -> Option<CidConfig> {
    let id = ConfigId::new(input.byte() % 7).expect("below 7");
    let server_id_len = 1 + input.below(15);
    let nonce_len = 4 + input.below(15);
    let first_octet = input.pick(&[FirstOctet::Random, FirstOctet::Length]);
    let key = input.one_in(2).then(|| Key::from_bytes(input.array()));
    let made = CidConfig::new(id, server_id_len, nonce_len, first_octet, key.as_ref());
    assert_eq!(
        made.is_ok(),
        server_id_len + nonce_len <= CidConfig::MAX_LEN
    );
    made.ok()
}

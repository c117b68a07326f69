//! The tunnel between two nodes: what is sealed is opened once, and nothing else ever is.

use std::collections::BTreeMap;
use std::sync::Arc;

use wayhold::fleet::{
    Association, Counters, Epoch, FleetKey, InstanceId, Keyring, NodeId, Outgoing, PairKeys, Party,
};
use wayhold::wire::{AUTHENTICATED_PAYLOAD, BootId, Challenge, Ecn, Envelope, Heartbeat, Path};

use super::input::Input;

pub(crate) fn target(input: &[u8]) {
    let mut input = Input::new(input);
    let [mut own, mut peer] = [(1, 2), (2, 1)].map(|(own, other)| associate(own, other));
    let outgoing = confirm(&mut own, &mut peer);
    // What was sealed, and whether it was opened.
    let mut sealed: BTreeMap<Vec<u8>, bool> = BTreeMap::new();
    let mut sent: Vec<Vec<u8>> = Vec::new();
    while !input.is_empty() {
        match input.below(8) {
            0..3 => {
                let mut bytes = Vec::new();
                let payload = input.bytes(40);
                let way = outgoing.lane(input.pick(&[0, 0, 1, 300]));
                way.seal(
                    path(&mut input),
                    Ecn::from_bits(input.byte()),
                    payload,
                    &mut bytes,
                )
                .expect("there are counters left");
                sealed.insert(bytes.clone(), false);
                sent.push(bytes);
            }
            3 => {
                let bytes = input.bytes(120);
                open(&mut peer, bytes, &mut sealed);
                hear(&mut own, bytes);
            }
            4 => hear(&mut peer, input.bytes(120)),
            5 | 6 if !sent.is_empty() => {
                let mut bytes = sent[input.below(sent.len().min(256))].clone();
                for _ in 0..input.below(4) / 2 {
                    let at = usize::from(input.u16()) % bytes.len();
                    bytes[at] ^= input.byte();
                }
                open(&mut peer, &bytes, &mut sealed);
            }
            _ => {
                if let Some(bytes) = sent.last() {
                    open(&mut peer, bytes, &mut sealed);
                }
            }
        }
    }
}

/// Opens what comes. It opens exactly if it was sealed, but for what the tag does not cover, and not
/// opened before.
fn open(peer: &mut Association, bytes: &[u8], sealed: &mut BTreeMap<Vec<u8>, bool>) {
    let Ok(envelope) = Envelope::parse(bytes) else {
        return;
    };
    let opened = peer.open(&envelope).is_ok();
    let covered =
        bytes.len() - envelope.payload.len() + envelope.payload.len().min(AUTHENTICATED_PAYLOAD);
    let known = sealed
        .iter_mut()
        .find(|(known, _)| known.len() == bytes.len() && known[..covered] == bytes[..covered]);
    let fresh = known.is_some_and(|(_, used)| !std::mem::replace(used, true));
    assert_eq!(opened, fresh, "{bytes:x?}");
}

/// Heartbeats that nobody sealed change nothing.
fn hear(association: &mut Association, bytes: &[u8]) {
    let before = association.confirmed();
    if let Ok(heartbeat) = Heartbeat::parse(bytes) {
        assert!(association.on_heartbeat(&heartbeat).is_err());
    }
    assert_eq!(association.confirmed(), before);
}

fn associate(own: u32, peer: u32) -> Association {
    let node = |id| NodeId::new(id).expect("it is small");
    let keyring = Keyring::new(FleetKey::new(Epoch(1), [1; FleetKey::LEN]));
    let party = Party {
        node: node(own),
        instance: InstanceId(1),
        boot: BootId([u8::try_from(own).expect("it is small"); 16]),
    };
    let keys = PairKeys::new(&keyring, node(own), node(peer));
    Association::new(party, node(peer), keys, Counters::new())
}

/// Exchanges heartbeats until both have heard each other live; gives the first one's way to seal.
fn confirm(own: &mut Association, peer: &mut Association) -> Arc<Outgoing> {
    let mut way = None;
    for turn in 0..2 {
        own.tick(Challenge([turn; 16]));
        let mut bytes = Vec::new();
        own.heartbeat(None, &mut bytes);
        peer.on_heartbeat(&Heartbeat::parse(&bytes).expect("written"))
            .expect("sealed");
        peer.tick(Challenge([100 + turn; 16]));
        bytes.clear();
        peer.heartbeat(None, &mut bytes);
        let heard = own
            .on_heartbeat(&Heartbeat::parse(&bytes).expect("written"))
            .expect("sealed");
        way = heard.confirmed.or(way);
    }
    assert!(peer.confirmed().is_some());
    way.expect("the peer answered")
}

fn path(input: &mut Input<'_>) -> Path {
    Path {
        source: ([192, 0, 2, input.byte()], 4000).into(),
        destination: (input.array::<16>(), 443).into(),
    }
}

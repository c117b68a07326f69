//! What a datagram costs before QUIC sees it: its header, the verdict, the tunnel to its owner, and
//! the heartbeats that keep the tunnel up.
//!
//! Run it with `cargo bench --bench datagram`. Nothing here is sent: a system call costs more than
//! all of it. docs/bench.md says how to read the numbers.

use std::cell::RefCell;
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use criterion::measurement::WallTime;
use criterion::{
    BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main,
};
use wayhold::cid::{CidConfig, ConfigId, ConfigSet, FirstOctet, Key, Nonce, ServerId};
use wayhold::fleet::{
    Association, Counters, Epoch, FleetKey, Heard, Identity, InstanceId, Keyring, NodeId, Outgoing,
    PairKeys, Party, PeerView, View, server_id,
};
use wayhold::steer::{Arrival, DropReason, Inbound, Slot, Slots, Steer, Tables, Verdict};
use wayhold::wire::{
    BootId, Challenge, Datagram, Ecn, Envelope, Heartbeat, Path, ReplayWindow, WINDOW,
};

criterion_group!(benches, header, verdict, tunnel, heartbeat, replay);
criterion_main!(benches);

fn header(criterion: &mut Criterion) {
    let mut group = per_datagram(criterion, "header");
    let datagrams = [
        ("short", short(&[0x5a; 17])),
        ("initial", initial(&CHOSEN)),
        ("cut short", initial(&CHOSEN)[..12].to_vec()),
    ];
    for (name, datagram) in datagrams {
        group.bench_function(name, |bencher| {
            bencher.iter(|| Datagram::parse(black_box(&datagram)).is_ok());
        });
    }
}

fn verdict(criterion: &mut Criterion) {
    let mut group = per_datagram(criterion, "verdict");
    let key = Key::from_bytes([0x5a; 16]);
    for (profile, config) in [
        ("single pass", config(12, Some(&key))),
        ("four pass", config(13, Some(&key))),
        ("plaintext", config(12, None)),
    ] {
        let steer = steer(config.clone());
        let cid = |node| {
            config
                .encode(&owner(node), &nonce(&config), 0)
                .expect("fits")
        };
        let unknown = Verdict::Drop(DropReason::UnknownOwner);
        for (name, datagram, expected) in [
            ("own", short(&cid(OWN)), Verdict::Local(Slot(0))),
            ("peer", short(&cid(PEER)), Verdict::Forward(node(PEER))),
            ("unknown owner", short(&cid(STRANGER)), unknown),
        ] {
            decide(
                &mut group,
                &format!("{profile}, {name}"),
                (&steer, datagram),
                expected,
            );
        }
    }
    let steer = steer(config(12, Some(&key)));
    let undecodable = Verdict::Drop(DropReason::UndecodableCid);
    for (name, datagram, expected) in [
        ("new connection", initial(&CHOSEN), Verdict::Accept(0)),
        ("garbage, short header", short(&[0xff; 17]), undecodable),
        (
            "garbage, too short",
            vec![0x5a; 16],
            Verdict::Drop(DropReason::NotQuic),
        ),
    ] {
        decide(&mut group, name, (&steer, datagram), expected);
    }
}

fn decide(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    (steer, datagram): (&Steer, Vec<u8>),
    expected: Verdict,
) {
    let (now, tables) = (now(), RefCell::new(Tables::new(0)));
    let verdict = |datagram: &[u8]| {
        let inbound = Inbound {
            datagram,
            source: ([192, 0, 2, 1], 5000).into(),
            arrival: Arrival::Direct,
        };
        steer.handle(now, &inbound, || tables.borrow_mut())
    };
    assert_eq!(verdict(&datagram), expected, "{name}");
    group.bench_function(name, |bencher| {
        bencher.iter(|| verdict(black_box(&datagram)));
    });
}

fn tunnel(criterion: &mut Criterion) {
    let mut group = per_datagram(criterion, "tunnel");
    for len in [100, 1200] {
        let (outgoing, mut owner) = confirmed();
        let datagram = vec![0x5a; len];
        let mut out = Vec::with_capacity(2048);
        group.bench_function(format!("seal {len} bytes"), |bencher| {
            bencher.iter(|| {
                out.clear();
                outgoing.seal(path(), Ecn::Ect0, black_box(&datagram), &mut out)
            });
        });
        group.bench_function(format!("open {len} bytes"), |bencher| {
            let seal = || {
                let mut out = Vec::with_capacity(2048);
                let sealed = outgoing.seal(path(), Ecn::Ect0, &datagram, &mut out);
                sealed.expect("2^56 counters do not run out");
                out
            };
            // Each can be opened only once. A batch is as long as the kernel's largest.
            bencher.iter_batched_ref(
                seal,
                |bytes| {
                    let sealed = Envelope::parse(bytes).expect("it was just sealed");
                    owner.open(&sealed).expect("it is opened once");
                },
                BatchSize::NumIterations(64),
            );
        });
    }
    let (_, mut owner) = confirmed();
    let (foreign, _) = confirmed_with([1; 16]);
    let mut forged = Vec::new();
    let sealed = foreign.seal(path(), Ecn::Ect0, &[0x5a; 1200], &mut forged);
    sealed.expect("it is the first");
    group.bench_function("refuse a forged tag", |bencher| {
        bencher.iter(|| {
            let sealed = Envelope::parse(black_box(&forged)).expect("its form is right");
            owner.open(&sealed).is_err()
        });
    });
}

fn heartbeat(criterion: &mut Criterion) {
    let mut group = per_datagram(criterion, "heartbeat");
    let (mut a, mut b) = (association(1, 2, [1; 16]), association(2, 1, [2; 16]));
    let mut out = Vec::with_capacity(128);
    group.bench_function("write", |bencher| {
        bencher.iter(|| {
            out.clear();
            a.tick(black_box(Challenge([3; 16])));
            a.heartbeat(None, &mut out);
        });
    });
    for challenge in [1, 3] {
        beat(&mut a, &mut b, challenge);
        beat(&mut b, &mut a, challenge + 1);
    }
    out.clear();
    a.tick(Challenge([5; 16]));
    a.heartbeat(None, &mut out);
    group.bench_function("take", |bencher| {
        bencher.iter(|| {
            let sealed = Heartbeat::parse(black_box(&out)).expect("it was just written");
            b.on_heartbeat(&sealed).is_ok()
        });
    });
}

fn replay(criterion: &mut Criterion) {
    let mut group = per_datagram(criterion, "replay window");
    let mut window = ReplayWindow::new();
    let mut next = 0;
    group.bench_function("in order", |bencher| {
        bencher.iter(|| {
            next += 1;
            window.accept(black_box(next))
        });
    });
    let mut window = ReplayWindow::new();
    let mut next = 0;
    group.bench_function("neighbours swapped", |bencher| {
        bencher.iter(|| {
            next += 1;
            window.accept(black_box(next ^ 1))
        });
    });
    let mut window = ReplayWindow::new();
    assert!(window.accept(WINDOW * 2));
    group.bench_function("too old", |bencher| {
        bencher.iter(|| window.is_fresh(black_box(7)));
    });
}

fn per_datagram<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(1));
    group
}

fn steer(config: CidConfig) -> Steer {
    let own = Identity::Node(node(OWN), INSTANCE);
    let peers = (OWN..=FLEET).map(|id| PeerView::live(node(id)));
    let slots = Slots::single(config.cid_len());
    Steer::new(ConfigSet::from_iter([config]), View::new(own, peers), slots)
}

#[expect(
    clippy::disallowed_methods,
    reason = "verdicts need some time, and it stands still"
)]
fn now() -> Instant {
    Instant::now()
}

fn config(nonce_len: usize, key: Option<&Key>) -> CidConfig {
    let id = ConfigId::default();
    CidConfig::new(id, 4, nonce_len, FirstOctet::Random, key).expect("legal lengths")
}

fn nonce(config: &CidConfig) -> Nonce {
    Nonce::new(&[0x5a; 13][..config.nonce_len()]).expect("a legal length")
}

fn node(id: u32) -> NodeId {
    NodeId::new(id).expect("a small number")
}

fn owner(id: u32) -> ServerId {
    server_id(node(id), INSTANCE)
}

fn short(cid: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x41];
    bytes.extend_from_slice(cid);
    bytes.resize(1200, 0x5a);
    bytes
}

/// An Initial without a token (RFC 9000, section 17.2.2).
fn initial(destination: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xc3, 0, 0, 0, 1];
    bytes.push(u8::try_from(destination.len()).expect("at most 20"));
    bytes.extend_from_slice(destination);
    bytes.extend_from_slice(&[0, 0]);
    bytes.resize(1200, 0x5a);
    bytes
}

fn path() -> Path {
    Path {
        source: SocketAddr::from(([192, 0, 2, 1], 50_000)),
        destination: SocketAddr::from(([203, 0, 113, 1], 443)),
    }
}

/// The two ends of a tunnel: how one node seals, and the association by which its peer opens.
fn confirmed() -> (Arc<Outgoing>, Association) {
    confirmed_with([2; 16])
}

fn confirmed_with(boot: [u8; 16]) -> (Arc<Outgoing>, Association) {
    let (mut a, mut b) = (association(1, 2, [7; 16]), association(2, 1, boot));
    beat(&mut a, &mut b, 1);
    let heard = beat(&mut b, &mut a, 2);
    beat(&mut a, &mut b, 3);
    (heard.confirmed.expect("its challenge was answered"), b)
}

fn association(own: u32, peer: u32, boot: [u8; 16]) -> Association {
    let keyring = Keyring::new(FleetKey::new(Epoch(0), [9; FleetKey::LEN]));
    let keys = PairKeys::new(&keyring, node(own), node(peer));
    let own = Party {
        node: node(own),
        instance: InstanceId(0),
        boot: BootId(boot),
    };
    Association::new(own, node(peer), keys, Counters::new())
}

fn beat(from: &mut Association, to: &mut Association, challenge: u8) -> Heard {
    let mut bytes = Vec::new();
    from.tick(Challenge([challenge; 16]));
    from.heartbeat(None, &mut bytes);
    let sealed = Heartbeat::parse(&bytes).expect("it was just written");
    to.on_heartbeat(&sealed).expect("both have the pair's key")
}

const OWN: u32 = 1;
const PEER: u32 = 2;
const STRANGER: u32 = 999;
/// Nodes in the view.
const FLEET: u32 = 16;
const INSTANCE: InstanceId = InstanceId(7);
const CHOSEN: [u8; 8] = [0x5a; 8];

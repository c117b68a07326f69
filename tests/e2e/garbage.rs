//! Claims about datagrams that no honest client sends.

use std::net::UdpSocket;
use std::time::Duration;

use quinn::{ConnectionError, Endpoint, EndpointConfig, TokioRuntime};
use wayhold::bridge::Origin;
use wayhold::cid::Nonce;
use wayhold::fleet::{InstanceId, NodeId, server_id};
use wayhold::telemetry::{PathChange, Reason};

use crate::initial;
use crate::proxy::Proxy;
use crate::raw::quic_config;
use crate::stage::{INSTANCE, Node, PATIENCE, Solo, Stage, cid_form, target, until};
use crate::transfer::{Download, Upload, connect, text};

/// A generator (`SplitMix64`), so that a failure repeats.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 27)
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next().to_le_bytes()[3]).collect()
    }
}

/// Sends from an address of its own, no faster than the node takes it.
struct Attacker<'a> {
    socket: UdpSocket,
    node: &'a Node,
    before: u64,
    sent: u64,
}

impl<'a> Attacker<'a> {
    fn of(node: &'a Node) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        Self {
            socket,
            node,
            before: node.metrics.datagrams_received.get(),
            sent: 0,
        }
    }

    async fn send(&mut self, datagram: &[u8]) {
        self.socket.send_to(datagram, self.node.address).unwrap();
        self.sent += 1;
        if self.sent.is_multiple_of(64) {
            self.settle().await;
        }
    }

    /// Waits until the node has received everything.
    async fn settle(&self) {
        let received = &self.node.metrics.datagrams_received;
        until(|| received.get() >= self.before + self.sent).await;
    }

    /// Everything that came back so far.
    fn answers(&self) -> Vec<Vec<u8>> {
        let mut buffer = [0; 2000];
        let mut answers = Vec::new();
        while let Ok(len) = self.socket.recv(&mut buffer) {
            answers.push(buffer[..len].to_vec());
        }
        answers
    }
}

/// Every datagram that a node received is counted once as taken, sent on, answered or dropped.
fn accounts_balance(node: &Node) -> bool {
    let metrics = &node.metrics;
    let dropped: u64 = DROPS.iter().map(|reason| node.dropped(reason)).sum();
    metrics.datagrams_received.get() + metrics.datagrams_tunnelled.get()
        == metrics.datagrams_local.get()
            + metrics.datagrams_forwarded.get()
            + metrics.version_negotiations.get()
            + metrics.resets.get()
            + dropped
}

const DROPS: [&str; 13] = [
    "not_quic",
    "undecodable_cid",
    "owner_gone",
    "reset_too_short",
    "hand_over_limit",
    "unknown_owner",
    "hop_limit",
    "server_packet",
    "unknown_version",
    "no_owner",
    "peer_unconfirmed",
    "tunnel_full",
    "tunnel_error",
];

/// A short header whose ID names this process, with nothing behind it.
fn short_header(random: &mut Random, node: u32, instance: u8) -> Vec<u8> {
    let id = server_id(NodeId::new(node).unwrap(), InstanceId(instance));
    let nonce = Nonce::new(&random.bytes(12)).unwrap();
    let cid = cid_form().encode(&id, &nonce, 0x1f).unwrap();
    [&[0x40], &cid[..], &random.bytes(40)].concat()
}

/// What the first datagrams between two nodes have counted.
struct Confirmed {
    forwarded: u64,
    tunnelled: u64,
}

/// Waits until one node forwards to another and that one accepts it, which begins when both have
/// confirmed each other. The other one resets what it accepts.
async fn until_confirmed(node: &Node, id: u32, other: &Node) -> Confirmed {
    let mut random = Random(0x5eed_0013);
    let mut attacker = Attacker::of(node);
    let forwarded = &node.metrics.datagrams_forwarded;
    let tunnelled = &other.metrics.datagrams_tunnelled;
    while tunnelled.get() == 0 {
        let stray = short_header(&mut random, id, INSTANCE + 1);
        attacker.send(&stray).await;
        attacker.settle().await;
        let decided = || forwarded.get() + node.dropped("peer_unconfirmed");
        until(|| decided() == attacker.sent).await;
        let refused = &other.metrics.tunnel_refused;
        let early = || {
            refused
                .get_or_create(&Reason {
                    reason: "unconfirmed",
                })
                .get()
        };
        until(|| tunnelled.get() + early() == forwarded.get()).await;
    }
    until(|| other.metrics.resets.get() == tunnelled.get()).await;
    Confirmed {
        forwarded: forwarded.get(),
        tunnelled: tunnelled.get(),
    }
}

/// A node under attack serves another client all the while: it downloads and uploads, and is whole.
async fn unharmed(stage: &Stage, attack: impl AsyncFnOnce()) {
    let client = connect(&stage.directory, &stage.target()).await;
    let mut download = Download::begin(&client, 31, 3_000_000).await;
    let mut upload = Upload::begin(&client, 32);
    upload.send(300_000).await;
    attack().await;
    tokio::join!(download.read_to(1_000_000), upload.send(300_000));
    tokio::join!(download.finish(), upload.finish());
    for node in &stage.nodes {
        assert_eq!(node.metrics.panics.get(), 0);
    }
    assert_eq!(stage.nodes[0].open(), 1);
    client.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_bytes_of_every_length_are_counted_and_harm_nobody() {
    let stage = Stage::start(2).await;
    unharmed(&stage, async || {
        let mut random = Random(0x5eed_0010);
        let mut attacker = Attacker::of(&stage.nodes[0]);
        for round in 0..3000 {
            let len = round % 1500;
            let bytes = random.bytes(len);
            attacker.send(&bytes).await;
        }
        attacker.settle().await;
    })
    .await;
    assert!(
        stage.nodes[0].dropped("not_quic") >= 21,
        "the shortest ones"
    );
    until(|| stage.nodes.iter().all(accounts_balance)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_prefix_of_an_initial_is_counted_and_opens_nothing() {
    let stage = Stage::start(1).await;
    let initial = initial::capture(&stage.directory).await;
    let token = 7 + usize::from(initial[5]) + usize::from(initial[6 + usize::from(initial[5])]);
    unharmed(&stage, async || {
        let node = &stage.nodes[0];
        let mut attacker = Attacker::of(node);
        for len in 0..initial.len() {
            attacker.send(&initial[..len]).await;
        }
        attacker.settle().await;
        let headless = u64::try_from(token).unwrap() + 1;
        until(|| node.dropped("not_quic") == headless).await;
        assert_eq!(attacker.answers(), Vec::<Vec<u8>>::new());
    })
    .await;
    until(|| accounts_balance(&stage.nodes[0])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_version_is_negotiated_unless_the_datagram_is_short() {
    let solo = Solo::start("", Origin::new()).await;
    let mut initial = initial::capture(&solo.directory).await;
    initial[1..5].copy_from_slice(&[0x1a, 0x2a, 0x3a, 0x4a]);
    let mut attacker = Attacker::of(&solo.node);
    attacker.send(&initial[..1199]).await;
    attacker.send(&initial).await;
    attacker.settle().await;
    until(|| solo.node.metrics.version_negotiations.get() == 1).await;
    assert_eq!(solo.node.dropped("unknown_version"), 1);

    let mut endpoint = EndpointConfig::default();
    endpoint.supported_versions(vec![DRAFT_29]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let client = Endpoint::new(endpoint, None, socket, std::sync::Arc::new(TokioRuntime)).unwrap();
    let mut config = quic_config(&solo.directory);
    config.version(DRAFT_29);
    let connecting = client.connect_with(config, solo.node.address, "localhost");
    let refused = tokio::time::timeout(PATIENCE, connecting.unwrap()).await;
    assert!(matches!(
        refused.unwrap(),
        Err(ConnectionError::VersionMismatch)
    ));
    let answers = attacker.answers();
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0][1..5], [0; 4], "{answers:?}");
}

/// A version that quinn can ask for and the gateway does not speak.
const DRAFT_29: u32 = 0xff00_001d;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_headers_are_dropped_or_sent_on_by_what_their_id_says() {
    let stage = Stage::start(2).await;
    let mut random = Random(0x5eed_0011);
    let mut of = |node, instance| short_header(&mut random, node, instance);
    let asked = of(0, INSTANCE).len();
    let (own, other) = (&stage.nodes[0], &stage.nodes[1]);
    let before = until_confirmed(own, 1, other).await;
    unharmed(&stage, async || {
        let mut attacker = Attacker::of(own);
        for _ in 0..100 {
            attacker.send(&of(0, INSTANCE + 1)).await;
            attacker.send(&of(1, INSTANCE)).await;
            attacker.send(&of(1, INSTANCE + 1)).await;
            attacker.send(&of(7, INSTANCE)).await;
        }
        attacker.settle().await;
        until(|| own.metrics.resets.get() == 100).await;
        until(|| own.dropped("unknown_owner") == 100).await;
        until(|| own.metrics.datagrams_forwarded.get() == before.forwarded + 200).await;
        until(|| other.metrics.datagrams_tunnelled.get() == before.tunnelled + 200).await;
        until(|| other.metrics.resets.get() == before.tunnelled + 100).await;
        // Resets are shorter than what they answer.
        let resets = attacker.answers();
        let fit = |reset: &Vec<u8>| (21..asked).contains(&reset.len());
        assert!(resets.len() <= 300 && resets.iter().all(fit), "{resets:?}");

        let mut undecodable = of(0, INSTANCE);
        for rotation in (0..=7).filter(|rotation| *rotation != cid_form().id().get()) {
            undecodable[1] = undecodable[1] & 0x1f | rotation << 5;
            attacker.send(&undecodable).await;
        }
        attacker.settle().await;
        until(|| own.dropped("undecodable_cid") == 7).await;
    })
    .await;
    until(|| stage.nodes.iter().all(accounts_balance)).await;
}

/// A packet with a long header and a connection ID, and nothing that anybody could open.
fn long_header(first: u8, version: u32, cid: &[u8], len: usize) -> Vec<u8> {
    let mut bytes = vec![first];
    bytes.extend_from_slice(&version.to_be_bytes());
    bytes.push(u8::try_from(cid.len()).unwrap());
    bytes.extend_from_slice(cid);
    bytes.resize(len, 0);
    bytes
}

const INITIAL: u8 = 0xc0;
const ZERO_RTT: u8 = 0xd0;
const HANDSHAKE: u8 = 0xe0;
const RETRY: u8 = 0xf0;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_servers_send_or_nobody_owns_is_counted_and_not_answered() {
    let stage = Stage::start(1).await;
    let mut random = Random(0x5eed_0015);
    let chosen = random.bytes(8);
    let gone = short_header(&mut random, 0, INSTANCE + 1);
    let gone_cid = gone[1..18].to_vec();
    unharmed(&stage, async || {
        let mut attacker = Attacker::of(&stage.nodes[0]);
        for (datagram, reason) in [
            (long_header(INITIAL, 0, &chosen, 1200), "server_packet"),
            (long_header(RETRY, 1, &chosen, 1200), "server_packet"),
            (long_header(HANDSHAKE, 1, &chosen, 1200), "no_owner"),
            (long_header(HANDSHAKE, 1, &gone_cid, 1200), "owner_gone"),
            (long_header(ZERO_RTT, 1, &gone_cid, 1200), "owner_gone"),
            (gone[..21].to_vec(), "reset_too_short"),
        ] {
            let before = stage.nodes[0].dropped(reason);
            attacker.send(&datagram).await;
            attacker.settle().await;
            until(|| stage.nodes[0].dropped(reason) == before + 1).await;
        }
        assert_eq!(attacker.answers(), Vec::<Vec<u8>>::new());
    })
    .await;
    until(|| accounts_balance(&stage.nodes[0])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_new_connections_at_a_draining_node_is_handed_over_within_an_allowance() {
    let stage = Stage::start(2).await;
    stage.until_welcome().await;
    let (draining, peer) = (&stage.nodes[0], &stage.nodes[1]);
    draining.handle.drain().await.unwrap();
    let mut random = Random(0x5eed_0016);
    let mut attacker = Attacker::of(draining);
    // More than one source may hand over in a second, and some more for the time that it takes.
    while draining.dropped("hand_over_limit") == 0 && attacker.sent < 20_000 {
        let chosen = random.bytes(8);
        attacker.send(&long_header(INITIAL, 1, &chosen, 1200)).await;
    }
    attacker.settle().await;
    let limited = || draining.dropped("hand_over_limit");
    until(|| limited() > 0).await;
    let forwarded = || draining.metrics.datagrams_forwarded.get();
    until(|| forwarded() + limited() == attacker.sent).await;
    assert!(forwarded() >= 100, "a source has so many at once");
    until(|| peer.metrics.datagrams_tunnelled.get() == forwarded()).await;
    assert_eq!(draining.metrics.datagrams_local.get(), 0);
    until(|| stage.nodes.iter().all(accounts_balance)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_random_ids_and_of_resets_adds_no_hundredth_of_it_to_a_peer() {
    let stage = Stage::start(2).await;
    let (own, other) = (&stage.nodes[0], &stage.nodes[1]);
    let before = until_confirmed(own, 1, other).await;
    unharmed(&stage, async || {
        let mut random = Random(0x5eed_0014);
        let mut attacker = Attacker::of(own);
        for round in 0..FLOOD {
            // A stateless reset looks like the shortest of them.
            let len = if round % 2 == 0 { 21 } else { 60 };
            let mut bytes = random.bytes(len);
            bytes[0] = 0x40 | bytes[0] & 0x3f;
            // The ID names the configuration in use, or else it would not even be decrypted.
            bytes[1] = bytes[1] & 0x1f | cid_form().id().get() << 5;
            attacker.send(&bytes).await;
        }
        attacker.settle().await;
        until(|| own.dropped("unknown_owner") >= FLOOD * 99 / 100).await;
        assert!(own.metrics.resets.get() <= FLOOD / 100);
    })
    .await;
    until(|| stage.nodes.iter().all(accounts_balance)).await;
    let added = other.metrics.datagrams_tunnelled.get() - before.tunnelled;
    assert!(added <= FLOOD / 100, "{added} of {FLOOD}");
}

const FLOOD: u64 = 10_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replayed_datagrams_reach_their_owner_and_change_nothing() {
    let stage = Stage::start(2).await;
    let (owner, other) = (&stage.nodes[0], &stage.nodes[1]);
    let before = until_confirmed(other, 0, owner).await;
    let proxy = Proxy::start(owner.address).await;
    let client = connect(&stage.directory, &target(proxy.address)).await;
    text(&client, "/").await;
    let mut upload = Upload::begin(&client, 41);
    upload.send(200_000).await;
    let short = || {
        let mut recorded = proxy.recorded();
        recorded.retain(|datagram| datagram[0] & 0x80 == 0);
        recorded
    };
    until(|| short().len() > 20).await;
    let short = short();

    let mut attacker = Attacker::of(other);
    for datagram in &short {
        attacker.send(datagram).await;
    }
    attacker.settle().await;
    let replayed = u64::try_from(short.len()).unwrap();
    until(|| owner.metrics.datagrams_tunnelled.get() == before.tunnelled + replayed).await;
    assert_eq!(
        other.metrics.datagrams_forwarded.get(),
        before.forwarded + replayed
    );

    upload.send(200_000).await;
    upload.finish().await;
    assert_eq!(
        owner.moves(PathChange::PORT) + owner.moves(PathChange::ADDRESS),
        0
    );
    assert_eq!((owner.open(), other.open()), (1, 0));
    client.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replayed_initials_hold_no_more_than_half_open_connections() {
    let more = "limits.handshakes = 8\ntimeouts.handshake = \"500ms\"";
    let solo = Solo::start(more, Origin::new()).await;
    let initial = initial::capture(&solo.directory).await;
    let mut random = Random(0x5eed_0012);
    let mut attacker = Attacker::of(&solo.node);
    for _ in 0..200 {
        // Another destination ID is another connection, whose packet cannot be opened.
        let mut replayed = initial.clone();
        replayed[6..14].copy_from_slice(&random.bytes(8));
        attacker.send(&replayed).await;
    }
    attacker.settle().await;
    until(|| {
        // While the others fill every place, this one is refused as well.
        attacker
            .socket
            .send_to(&initial, solo.node.address)
            .unwrap();
        solo.node.refused("handshake_timeout") >= 1
    })
    .await;
    assert_eq!(solo.node.open(), 0);
    let client = connect(&solo.directory, &target(solo.node.address)).await;
    text(&client, "/").await;
    assert_eq!(solo.node.metrics.panics.get(), 0);
    tokio::time::timeout(Duration::from_secs(5), client.close())
        .await
        .unwrap();
}

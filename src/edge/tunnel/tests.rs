use std::io::IoSliceMut;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;

use super::*;
use crate::cid::{self, Nonce};
use crate::config::Cid;
use crate::control::{Source, StaticFiles};
use crate::edge::cid_keys::SharedCidKeys;
use crate::edge::endpoints::Endpoints;
use crate::edge::session_keys::SharedSessionKeys;
use crate::edge::socket::udp::{AsyncUdpSocket, RecvMeta};
use crate::edge::socket::{Injected, InjectedQueue, SocketParts, SteeredSocket};
use crate::fleet::{
    ConfigDigest, Epoch, Finding, Identity, InstanceId, Keyring, Member, NodeId, Own, PeerState,
    Roster, Timing, View, server_id,
};
use crate::steer::{Slots, Steer};
use crate::telemetry::{PeerLife, Reason};
use crate::wire::{BootId, Ecn, Path};

const INSTANCE: InstanceId = InstanceId(1);
const PATIENCE: Duration = Duration::from_secs(10);

/// No peer falls silent because the machine has other work for a second.
const TIMING: Timing = Timing {
    silent_after: Duration::from_secs(3),
    dead_after: PATIENCE,
    ..Timing::DEFAULT
};

struct Node {
    steering: Arc<Steering>,
    metrics: Metrics,
    registry: Registry,
    relay: SocketAddr,
    arrived: InjectedQueue,
    files: StaticFiles,
    cids: SharedCidKeys,
    driver: Arc<FleetDriver>,
}

struct Fleet {
    nodes: Vec<Node>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

fn id(index: usize) -> NodeId {
    NodeId::new(u32::try_from(index).unwrap() + 1).unwrap()
}

fn keyring(epoch: u8) -> Keyring {
    Keyring::testing(epoch)
}

fn cid(owner: usize, nonce: u8) -> cid::Cid {
    let id = server_id(id(owner), INSTANCE);
    let form = Cid::default().form(|| Ok::<_, cid::ConfigError>(keyring(0).current().clone()));
    let nonce = Nonce::new(&[nonce; 12]).unwrap();
    form.unwrap().encode(&id, &nonce, 0).unwrap()
}

fn short(owner: usize, nonce: u8, len: usize) -> Vec<u8> {
    let mut datagram = vec![0x40];
    datagram.extend_from_slice(&cid(owner, nonce));
    datagram.resize(len, nonce);
    datagram
}

fn path() -> Path {
    Path {
        source: "192.0.2.7:4000".parse().unwrap(),
        destination: "[2001:db8::1]:443".parse().unwrap(),
    }
}

impl Fleet {
    /// Starts a fleet whose nodes hold up to `queue` datagrams for their endpoint.
    fn start(size: usize, queue: usize) -> Self {
        let sockets: Vec<_> = (0..size)
            .map(|_| UdpSocket::bind("127.0.0.1:0").unwrap())
            .collect();
        let members = sockets.iter().enumerate().map(|(index, socket)| Member {
            node: id(index),
            relay: socket.local_addr().unwrap(),
        });
        let snapshot = Snapshot {
            roster: Roster::new(members).unwrap(),
            keyring: keyring(0),
            link_mtu: 1500,
        };
        let mut fleet = Self {
            nodes: Vec::new(),
            stop: CancellationToken::new(),
            tasks: JoinSet::new(),
        };
        for (own, socket) in sockets.into_iter().enumerate() {
            socket.set_nonblocking(true).unwrap();
            fleet.add(own, socket, &snapshot, queue);
        }
        fleet
    }

    fn add(&mut self, own: usize, socket: UdpSocket, snapshot: &Snapshot, queue: usize) {
        let identity = Identity::Node(id(own), INSTANCE);
        let form = Cid::default();
        let keys = form.keys(&snapshot.keyring, identity.server_id()).unwrap();
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let view = View::new(identity, []);
        let steer = Steer::new(keys.configs().clone(), view, Slots::single(17));
        let steering = Steering::testing(steer, &metrics);
        let process = Own {
            identity,
            node: id(own),
            instance: INSTANCE,
            boot: BootId([u8::try_from(own).unwrap() + 1; 16]),
            config: ConfigDigest::default(),
        };
        let Snapshot {
            roster, keyring, ..
        } = snapshot;
        let now = crate::request::clock::now().into_std();
        let membership = Membership::new(now, process, roster, keyring, TIMING);
        let followers = Followers {
            steering: Arc::clone(&steering),
            cids: SharedCidKeys::new(keys, keyring.current().epoch()),
            sessions: SharedSessionKeys::new(keyring),
            form,
            own: identity.server_id(),
            node: id(own),
            max_udp_payload: 1400,
        };
        let cids = followers.cids.clone();
        let relay = socket.local_addr().unwrap();
        let files = StaticFiles::new(snapshot.clone());
        let snapshots = (snapshot, files.watch());
        let membership = membership.unwrap();
        let tunnel =
            Tunnel::new(socket, membership, snapshots, followers, metrics.clone()).unwrap();
        steering.connect(tunnel.forwarder());
        let driver = tunnel.driver();
        let (endpoints, arrived) = Endpoints::testing(Slots::single(17), queue);
        steering.serve(endpoints);
        let serve = tunnel.serve(Arc::clone(&steering), self.stop.clone());
        self.tasks.spawn(serve);
        self.nodes.push(Node {
            steering,
            metrics,
            registry,
            relay,
            arrived,
            files,
            cids,
            driver,
        });
    }

    /// Waits until something holds.
    async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let reached = async {
            while !holds(self) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.unwrap();
    }

    /// Waits until two nodes have confirmed each other.
    async fn confirm(&self, one: usize, other: usize) {
        let knows = |from: usize, to: usize| {
            self.nodes[from]
                .steering
                .forwarder()
                .unwrap()
                .outgoing(id(to))
                .is_some()
        };
        let confirmed = async {
            while !(knows(one, other) && knows(other, one)) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, confirmed).await.unwrap();
    }

    async fn arrived(&mut self, at: usize) -> Injected {
        let arrived = self.nodes[at].arrived.next();
        let arrived = tokio::time::timeout(PATIENCE, arrived).await;
        arrived.unwrap_or_else(|_elapsed| {
            let mut text = String::new();
            for node in &self.nodes {
                encode(&mut text, &node.registry).unwrap();
            }
            panic!("nothing arrived:\n{text}")
        })
    }

    async fn count(&self, at: usize, counter: impl Fn(&Metrics) -> u64, expected: u64) {
        let reached = async {
            while counter(&self.nodes[at].metrics) < expected {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.unwrap();
        assert_eq!(counter(&self.nodes[at].metrics), expected);
    }
}

fn refused(reason: &'static str) -> impl Fn(&Metrics) -> u64 {
    move |metrics| {
        metrics
            .tunnel_refused
            .get_or_create(&Reason { reason })
            .get()
    }
}

fn dropped(reason: &'static str) -> impl Fn(&Metrics) -> u64 {
    move |metrics| {
        metrics
            .datagrams_dropped
            .get_or_create(&Reason { reason })
            .get()
    }
}

#[tokio::test]
async fn a_batch_reaches_its_owner_in_order_with_the_clients_path_and_mark() {
    let mut fleet = Fleet::start(2, 256);
    fleet.confirm(0, 1).await;
    let batch: Vec<u8> = (1..=60)
        .flat_map(|nonce| short(1, nonce, 1200))
        .chain(short(1, 61, 300))
        .collect();
    fleet.nodes[0]
        .steering
        .forward(id(1), batch.chunks(1200), path(), Ecn::Ect0);
    for nonce in 1..=61 {
        let injected = fleet.arrived(1).await;
        assert_eq!(
            (injected.origin.path, injected.origin.ecn),
            (path(), Ecn::Ect0)
        );
        assert_eq!(
            injected.bytes,
            short(1, nonce, if nonce == 61 { 300 } else { 1200 })
        );
    }
}

#[tokio::test]
async fn an_ipv4_client_of_a_dual_stack_socket_keeps_its_address_through_the_tunnel() {
    let mut fleet = Fleet::start(2, 16);
    fleet.confirm(0, 1).await;
    let node = &fleet.nodes[0];
    let parts = SocketParts::testing("[::]:0", 1);
    let port = parts.socket.local_addr().unwrap().port();
    let service = SocketAddr::new([127, 0, 0, 1].into(), port);
    let steering = Arc::clone(&node.steering);
    let (ingress, _endpoint) = SteeredSocket::new(parts, steering, node.metrics.clone()).unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(&short(1, 1, 100), service).unwrap();
    let mut buffer = [0; 2048];
    let receive = std::future::poll_fn(|cx| {
        let mut meta = [RecvMeta::default()];
        ingress.poll_recv(cx, &mut [IoSliceMut::new(&mut buffer)], &mut meta)
    });
    let mut receive = std::pin::pin!(receive);
    let arrived = tokio::select! {
        received = &mut receive => unreachable!("{received:?} is not for this node"),
        arrived = fleet.nodes[1].arrived.next() => arrived,
    };
    assert_eq!(arrived.origin.path.source, client.local_addr().unwrap());
    assert_eq!(arrived.origin.path.destination, service);
}

#[tokio::test]
async fn a_datagram_for_a_third_node_is_dropped_at_the_hop_limit() {
    let fleet = Fleet::start(3, 16);
    fleet.confirm(0, 1).await;
    let foreign = short(2, 1, 100);
    fleet.nodes[0]
        .steering
        .forward(id(1), foreign.chunks(100), path(), Ecn::NotEct);
    fleet.count(1, dropped("hop_limit"), 1).await;
    assert_eq!(fleet.nodes[1].metrics.datagrams_forwarded.get(), 0);
}

#[tokio::test]
async fn a_full_queue_drops_and_counts() {
    let fleet = Fleet::start(2, 1);
    fleet.confirm(0, 1).await;
    let batch: Vec<u8> = (1..=5).flat_map(|nonce| short(1, nonce, 100)).collect();
    fleet.nodes[0]
        .steering
        .forward(id(1), batch.chunks(100), path(), Ecn::NotEct);
    fleet.count(1, dropped("queue_full"), 4).await;
}

#[tokio::test]
async fn before_a_peer_is_confirmed_datagrams_for_it_are_dropped_and_counted() {
    let fleet = Fleet::start(2, 1);
    let datagram = short(1, 1, 100);
    fleet.nodes[0]
        .steering
        .forward(id(1), datagram.chunks(100), path(), Ecn::NotEct);
    assert_eq!(dropped("peer_unconfirmed")(&fleet.nodes[0].metrics), 1);
    let stranger = NodeId::new(99).unwrap();
    fleet.nodes[0]
        .steering
        .forward(stranger, datagram.chunks(100), path(), Ecn::NotEct);
    assert_eq!(dropped("unknown_peer")(&fleet.nodes[0].metrics), 1);
}

#[tokio::test]
async fn garbage_forgeries_and_strangers_are_refused_and_the_tunnel_goes_on() {
    let mut fleet = Fleet::start(2, 16);
    fleet.confirm(0, 1).await;
    let attacker = UdpSocket::bind("127.0.0.1:0").unwrap();
    let relay = fleet.nodes[1].relay;
    let send = |bytes: &[u8]| attacker.send_to(bytes, relay).unwrap();
    let forged = |node: usize| {
        let mut bytes = vec![0x11];
        bytes.extend_from_slice(&id(node).to_bytes());
        bytes.extend_from_slice(&[INSTANCE.0, 0]);
        bytes.extend_from_slice(&1_000_u64.to_be_bytes());
        bytes.extend_from_slice(&[0; 13]);
        bytes.extend_from_slice(&60_u16.to_be_bytes());
        bytes.extend_from_slice(&[0; 16]);
        bytes.extend_from_slice(&short(1, 1, 60));
        bytes
    };
    send(b"");
    send(b"garbage");
    send(&[0x31; 100]);
    send(&[0x1f; 100]);
    send(&[0x11; 30]);
    send(&forged(0));
    send(&forged(1));
    send(&forged(8));
    fleet.count(1, refused("tag"), 1).await;
    fleet.count(1, refused("own_node"), 1).await;
    fleet.count(1, refused("unknown_node"), 1).await;
    fleet.count(1, refused("kind"), 1).await;
    fleet.count(1, refused("length"), 1).await;
    fleet.count(1, refused("version"), 2).await;
    let datagram = short(1, 1, 100);
    fleet.nodes[0]
        .steering
        .forward(id(1), datagram.chunks(100), path(), Ecn::NotEct);
    assert_eq!(fleet.arrived(1).await.bytes, datagram);
}

#[tokio::test]
async fn a_replayed_datagram_is_delivered_once() {
    let mut fleet = Fleet::start(2, 16);
    fleet.confirm(0, 1).await;
    let eavesdropper = UdpSocket::bind("127.0.0.1:0").unwrap();
    eavesdropper.set_read_timeout(Some(PATIENCE)).unwrap();
    let outgoing = fleet.nodes[0]
        .steering
        .forwarder()
        .unwrap()
        .outgoing(id(1))
        .unwrap();
    let mut captured = Vec::new();
    outgoing
        .seal(path(), Ecn::NotEct, &short(1, 9, 100), &mut captured)
        .unwrap();
    for _ in 0..3 {
        eavesdropper
            .send_to(&captured, fleet.nodes[1].relay)
            .unwrap();
    }
    assert_eq!(fleet.arrived(1).await.bytes, short(1, 9, 100));
    fleet.count(1, refused("replayed"), 2).await;
    assert!(fleet.nodes[1].arrived.is_empty());
}

#[tokio::test]
async fn members_leave_and_keys_rotate_while_datagrams_go_on() {
    let mut fleet = Fleet::start(3, 64);
    fleet.confirm(0, 1).await;
    let publish = |fleet: &Fleet, at: usize, epoch: u8, members: usize| {
        let relays = fleet.nodes.iter().take(members).map(|node| node.relay);
        let members = relays.enumerate().map(|(index, relay)| Member {
            node: id(index),
            relay,
        });
        fleet.nodes[at].files.publish(Snapshot {
            roster: Roster::new(members).unwrap(),
            keyring: keyring(epoch),
            link_mtu: 1500,
        });
    };
    let minting = |epoch| {
        move |fleet: &Fleet| {
            let epochs = fleet
                .nodes
                .iter()
                .take(2)
                .map(|node| node.driver.status().minting);
            epochs.into_iter().all(|minting| minting == Epoch(epoch))
        }
    };
    publish(&fleet, 0, 1, 2);
    fleet
        .until(|fleet| fleet.nodes[0].driver.status().peers.len() == 1)
        .await;
    publish(&fleet, 1, 1, 2);
    fleet.until(minting(1)).await;
    assert_eq!(fleet.nodes[0].cids.load().minting, Epoch(1));

    // An ID of the epoch before still leads to its owner.
    let datagram = short(1, 1, 100);
    fleet.nodes[0]
        .steering
        .forward(id(1), datagram.chunks(100), path(), Ecn::NotEct);
    assert_eq!(fleet.arrived(1).await.bytes, datagram);
    fleet.nodes[0]
        .steering
        .forward(id(2), datagram.chunks(100), path(), Ecn::NotEct);
    assert_eq!(dropped("unknown_peer")(&fleet.nodes[0].metrics), 1);
    fleet.count(1, dropped("undecodable_cid"), 0).await;

    // Nobody has heard of the former member, which is refused and changes nothing.
    fleet
        .until(|fleet| refused("unknown_node")(&fleet.nodes[0].metrics) > 0)
        .await;
    fleet.nodes[0].files.publish(Snapshot {
        roster: Roster::new([]).unwrap(),
        keyring: keyring(2),
        link_mtu: 1500,
    });
    tokio::task::yield_now().await;
    assert_eq!(fleet.nodes[0].driver.status().minting, Epoch(1));
}

#[tokio::test]
async fn a_peer_with_another_key_is_named_and_silent() {
    let fleet = Fleet::start(2, 1);
    fleet.confirm(0, 1).await;
    let members = fleet.nodes.iter().enumerate().map(|(index, node)| Member {
        node: id(index),
        relay: node.relay,
    });
    let forged = crate::fleet::FleetKey::new(Epoch(0), [0x77; 32]);
    fleet.nodes[1].files.publish(Snapshot {
        roster: Roster::new(members).unwrap(),
        keyring: Keyring::new(forged),
        link_mtu: 1500,
    });
    let named = |fleet: &Fleet| {
        let status = fleet.nodes[0].driver.status();
        status.peers[0].findings == [Finding::OtherKey]
            && status.peers[0].state == PeerState::Silent
    };
    fleet.until(named).await;
    let (_, silent) = PeerLife::ALL[1];
    assert_eq!(
        fleet.nodes[0]
            .metrics
            .fleet_peers
            .get_or_create(&silent)
            .get(),
        1
    );
}

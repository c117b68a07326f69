//! Each planned event meets requests in each of their phases, and none of them notices.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::{RecvStream, SendStream, TransportConfig};
use tokio::sync::SemaphorePermit;
use tokio::time::timeout;
use wayhold::config::Config;
use wayhold::control::{read_key_record, replace_key_file, write_key_file};
use wayhold::fleet::{FleetKey, Keyring};
use wayhold::testbed::{Honesty, Move, Relay, RelayConfig};
use wayhold::{Gateway, Sockets};

use crate::raw::{
    CONTROL, DATA, Ended, HEADERS, Raw, ended, frame, head, quic_config, split_frame, status,
    trailers,
};
use crate::stage::{Directory, Node, PATIENCE, fleet_key, turn, until};
use crate::wild::Wild;

/// How far a request is when the event happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Its connection is open, and it is not sent.
    Before,
    /// Its header section has reached the backend.
    HeadersSent,
    /// Half of both bodies has arrived.
    MidBody,
    /// Everything but the trailers and the end has arrived.
    Trailers,
}

impl Phase {
    const ALL: [Self; 4] = [
        Self::Before,
        Self::HeadersSent,
        Self::MidBody,
        Self::Trailers,
    ];
}

/// Three nodes behind a relay that also knows where a fourth will be. All clients are the first's.
struct Fleet {
    relay: Relay,
    directory: Directory,
    nodes: Vec<Node>,
    /// What the fourth node will be made of.
    guest: Option<(UdpSocket, UdpSocket, TcpListener)>,
    tunnels: Vec<SocketAddr>,
    wild: Wild,
    _turn: SemaphorePermit<'static>,
}

impl Fleet {
    async fn start() -> Self {
        let turn = turn().await;
        let directory = Directory::new();
        directory.certify();
        let key = Keyring::new(fleet_key());
        write_key_file(&directory.file("fleet.key"), &key).unwrap();
        let bound = || UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut tunnels: Vec<_> = (0..=MEMBERS).map(|_| bound()).collect();
        let service = bound();
        let tcp = TcpListener::bind(service.local_addr().unwrap()).unwrap();
        let addresses: Vec<_> = tunnels
            .iter()
            .map(|tunnel| tunnel.local_addr().unwrap())
            .collect();
        let guest = (tunnels.pop().unwrap(), service, tcp);
        let wild = Wild::default();
        let start = |(id, tunnel)| {
            let config = config(&directory, &addresses[..MEMBERS], id);
            let gateway = Gateway::builder().config(config).relay_socket(tunnel);
            Node::start(gateway.handler(wild.clone()).bind().unwrap())
        };
        let nodes: Vec<_> = tunnels.into_iter().enumerate().map(start).collect();
        let listening = nodes.iter().map(|node| node.address);
        let relay = Relay::start(RelayConfig {
            nodes: listening.chain(guest.1.local_addr()).collect(),
            delay: Duration::from_millis(1),
            honesty: Honesty::Honest,
        });
        let fleet = Self {
            relay: relay.await.unwrap(),
            tunnels: addresses,
            guest: Some(guest),
            directory,
            nodes,
            wild,
            _turn: turn,
        };
        fleet.relay.withdraw(MEMBERS).await.unwrap();
        fleet.until_known(MEMBERS).await;
        fleet
    }

    /// The configuration of a node in a fleet of so many.
    fn config(&self, id: usize, members: usize) -> Config {
        config(&self.directory, &self.tunnels[..members], id)
    }

    /// Waits until each node hears all its peers.
    async fn until_known(&self, members: usize) {
        let knows = |node: &Node| {
            node.peers().count() == members - 1 && node.peers().all(|peer| peer["welcomes"] == true)
        };
        until(|| self.nodes[..members].iter().all(knows)).await;
    }

    /// Has the first nodes follow a fleet of so many, by files read again.
    fn follow(&self, members: usize) {
        let fleet = self.config(0, members).fleet.unwrap();
        for node in self.nodes.iter().take(members) {
            let handle = node.fleet.as_ref().unwrap();
            handle.commit(handle.prepare(&fleet).unwrap());
        }
    }

    async fn flip(&self) {
        self.relay.make(Move::Flip).await.unwrap();
    }

    /// Flips again and again.
    async fn flap(&self) {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        for _ in 0..FLAPS {
            ticks.tick().await;
            self.flip().await;
        }
    }

    async fn rebind(&self) {
        self.relay.make(Move::Rebind).await.unwrap();
    }

    async fn readdress(&self) {
        self.relay.make(Move::Address).await.unwrap();
    }

    async fn drain(&self) {
        self.relay.withdraw(0).await.unwrap();
        self.nodes[0].handle.drain().await.unwrap();
    }

    fn upgrade(&mut self) {
        let hand_over = self.nodes[0].handle.hand_over().unwrap();
        let gateway = Gateway::builder()
            .config(self.config(0, MEMBERS))
            .handler(self.wild.clone())
            .inherited(hand_over.sockets().unwrap())
            .bind()
            .unwrap();
        hand_over.pause();
        gateway.take_over();
        hand_over.complete();
        self.nodes.push(Node::start(gateway));
    }

    /// Other limits and another certificate.
    async fn reload(&self) {
        self.directory.certify();
        let mut config = self.config(0, MEMBERS);
        config.limits.streams = 7;
        let applied = self.nodes[0].handle.reload(config).await.unwrap();
        assert_eq!(applied.sections, ["limits"]);
    }

    fn rotate(&self) {
        let file = self.directory.file("fleet.key");
        for _step in ["announce", "activate"] {
            let mut record = read_key_record(&file).unwrap();
            let now = Duration::from_secs(1_700_000_000);
            let secret = [2; FleetKey::LEN];
            record.rotate(now, secret, Duration::ZERO).unwrap();
            replace_key_file(&file, &record).unwrap();
            self.follow(MEMBERS);
        }
    }

    /// A fourth node joins, and the route leads to it.
    async fn join(&mut self) {
        self.follow(MEMBERS + 1);
        let (tunnel, udp, tcp) = self.guest.take().unwrap();
        let gateway = Gateway::builder()
            .config(self.config(MEMBERS, MEMBERS + 1))
            .handler(self.wild.clone())
            .relay_socket(tunnel)
            .sockets(Sockets {
                udp: vec![udp],
                tcp: Some(tcp),
            });
        self.nodes.push(Node::start(gateway.bind().unwrap()));
        self.until_known(MEMBERS + 1).await;
        self.relay.announce(MEMBERS).await.unwrap();
        self.relay.route_to(MEMBERS).await.unwrap();
    }

    /// The node to which the route led leaves.
    async fn leave(&mut self) {
        self.relay.withdraw(MEMBERS).await.unwrap();
        self.nodes[MEMBERS].handle.drain().await.unwrap();
        self.follow(MEMBERS);
        self.nodes.pop().unwrap().end().await.unwrap();
    }

    async fn connect(&self) -> Raw {
        let mut transport = TransportConfig::default();
        transport.keep_alive_interval(Some(Duration::from_millis(20)));
        let mut config = quic_config(&self.directory);
        config.transport_config(Arc::new(transport));
        let raw = Raw::connect_as(config, self.relay.address()).await.unwrap();
        raw.one_way(&CONTROL).await;
        // The response confirms the handshake, before which a client must not move.
        assert_eq!(status(raw.send(&head("GET", "/", &[])).await).await, 200);
        raw
    }

    /// One client for each phase, each with a request that has come as far as that.
    async fn held(&self) -> Vec<Held> {
        let mut all = Vec::new();
        for phase in Phase::ALL {
            let begun = self.wild.begun();
            let mut held = Held::new(self.connect().await, phase).await;
            if phase != Phase::Before {
                until(|| self.wild.begun() == begun + 2).await;
                held.advance_to(phase).await;
            }
            all.push(held);
        }
        all
    }

    /// Lets every request go on to its end, over the connection on which it began. One that was not
    /// begun may be sent away once, unprocessed, and then has its answer on another connection.
    async fn finish(&self, all: Vec<Held>) {
        for mut held in all {
            if held.phase == Phase::Before {
                let response = held.raw.send(&head("GET", "/bytes/10", &[])).await;
                match ended(response).await {
                    Ended::Cleanly(_) => {}
                    Ended::Reset(H3_REQUEST_REJECTED) => {
                        let other = self.connect().await;
                        let response = other.send(&head("GET", "/bytes/10", &[])).await;
                        assert_eq!(status(response).await, 200);
                    }
                    Ended::Reset(code) => panic!("reset with {code:#x}"),
                }
            } else {
                held.advance_to(Phase::Trailers).await;
                held.end().await;
            }
            assert_eq!(held.raw.connection.close_reason(), None, "{:?}", held.phase);
            held.raw.close().await;
        }
    }
}

/// A request to a backend that sends back what it gets, which stops until the test goes on.
struct Held {
    raw: Raw,
    phase: Phase,
    stream: Option<(SendStream, RecvStream)>,
    sent: usize,
    received: Vec<u8>,
}

impl Held {
    async fn new(raw: Raw, phase: Phase) -> Self {
        let stream = match phase {
            Phase::Before => None,
            _ => Some(
                raw.begin(&head("POST", "/echo", &[("te", "trailers")]))
                    .await,
            ),
        };
        Self {
            raw,
            phase,
            stream,
            sent: 0,
            received: Vec::new(),
        }
    }

    /// Sends and receives as much of the bodies as belongs before a phase.
    async fn advance_to(&mut self, phase: Phase) {
        let end = match phase {
            Phase::Before | Phase::HeadersSent => 0,
            Phase::MidBody => BODY / 2,
            Phase::Trailers => BODY,
        };
        let (send, receive) = self.stream.as_mut().unwrap();
        if end > self.sent {
            let piece: Vec<_> = (self.sent..end).map(byte).collect();
            send.write_all(&frame(DATA, &piece)).await.unwrap();
            self.sent = end;
        }
        while body(&self.received).0.len() < self.sent {
            let piece = timeout(PATIENCE, receive.read_chunk(1 << 16, true)).await;
            let piece = piece.unwrap().unwrap().expect("more of the body");
            self.received.extend_from_slice(&piece.bytes);
        }
    }

    /// Sends the trailers, and compares everything that came back.
    async fn end(&mut self) {
        let (mut send, receive) = self.stream.take().unwrap();
        send.write_all(&trailers(&[("x-last", "yes")]))
            .await
            .unwrap();
        send.finish().unwrap();
        let Ended::Cleanly(rest) = ended(receive).await else {
            panic!("{:?} was cut short", self.phase);
        };
        self.received.extend(rest);
        let (body, sections) = body(&self.received);
        assert!(body.into_iter().eq((0..BODY).map(byte)), "{:?}", self.phase);
        assert_eq!(sections, 2, "{:?}: header section and trailers", self.phase);
    }
}

/// The body in a response stream as far as it has come, and how many field sections.
fn body(mut frames: &[u8]) -> (Vec<u8>, usize) {
    let (mut body, mut sections) = (Vec::new(), 0);
    while frames.len() >= LONGEST_FRAME_HEADER || is_whole(frames) {
        let (kind, len, rest) = split_frame(frames);
        let len = usize::try_from(len).unwrap().min(rest.len());
        match kind {
            DATA => body.extend_from_slice(&rest[..len]),
            HEADERS => sections += 1,
            other => panic!("a frame of type {other}"),
        }
        frames = &rest[len..];
    }
    (body, sections)
}

/// Whether a few last bytes are a frame.
fn is_whole(bytes: &[u8]) -> bool {
    let number = |at: usize| bytes.get(at).map(|first| 1_usize << (first >> 6));
    let header = number(0).and_then(|kind| Some(kind + number(kind)?));
    header.is_some_and(|header| bytes.len() >= header)
}

fn byte(index: usize) -> u8 {
    u8::try_from(index % 251).unwrap()
}

fn config(directory: &Directory, tunnels: &[SocketAddr], id: usize) -> Config {
    let members: Vec<_> = tunnels
        .iter()
        .enumerate()
        .map(|(id, tunnel)| format!("{{ id = {id}, relay = \"{tunnel}\" }}"))
        .collect();
    directory.config(&format!(
        "node.id = {id}\nworkers = 1\nruntime_dir = \"run-{id}\"\n\
         fleet = {{ key_file = \"fleet.key\", heartbeat = \"50ms\", silent_after = \"10s\", \
         member = [{}] }}",
        members.join(", ")
    ))
}

/// Members without the one that joins.
const MEMBERS: usize = 3;
const BODY: usize = 96 << 10;
const FLAPS: usize = 12;
const LONGEST_FRAME_HEADER: usize = 16;
const H3_REQUEST_REJECTED: u64 = 0x10b;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flip_in_any_phase_is_not_noticed() {
    let fleet = Fleet::start().await;
    let held = fleet.held().await;
    fleet.flip().await;
    fleet.finish(held).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_that_flaps_in_any_phase_is_not_noticed() {
    let fleet = Fleet::start().await;
    let held = fleet.held().await;
    tokio::join!(fleet.flap(), fleet.finish(held));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_address_in_any_phase_is_not_noticed() {
    let fleet = Fleet::start().await;
    let held = fleet.held().await;
    fleet.readdress().await;
    fleet.finish(held).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebind_in_any_phase_is_not_noticed() {
    let fleet = Fleet::start().await;
    let held = fleet.held().await;
    fleet.rebind().await;
    fleet.finish(held).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_in_any_phase_loses_nothing() {
    let fleet = Fleet::start().await;
    let held = fleet.held().await;
    fleet.drain().await;
    fleet.finish(held).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_in_any_phase_is_not_noticed() {
    let mut fleet = Fleet::start().await;
    let held = fleet.held().await;
    fleet.upgrade();
    fleet.finish(held).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_in_any_phase_is_not_noticed() {
    let fleet = Fleet::start().await;
    let held = fleet.held().await;
    fleet.reload().await;
    fleet.finish(held).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_in_any_phase_is_not_noticed() {
    let fleet = Fleet::start().await;
    let held = fleet.held().await;
    fleet.rotate();
    fleet.flip().await;
    fleet.finish(held).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_joins_in_any_phase_is_not_noticed() {
    let mut fleet = Fleet::start().await;
    let held = fleet.held().await;
    fleet.join().await;
    fleet.finish(held).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_leaves_in_any_phase_is_not_noticed() {
    let mut fleet = Fleet::start().await;
    let held = fleet.held().await;
    fleet.join().await;
    fleet.leave().await;
    fleet.finish(held).await;
}

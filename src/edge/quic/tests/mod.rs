use std::net::{Ipv4Addr, UdpSocket};

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, TransportConfig};
use tokio::sync::watch;

use super::*;
use crate::bridge::Origin;
use crate::cid::{CidConfig, ConfigId, ConfigSet, FirstOctet, Lane, Minter, MinterError, ServerId};
use crate::config::{Forwarded, Quic, Timeouts, Trace};
use crate::edge::cid_keys::SharedCidKeys;
use crate::edge::http3::{Http3, Rules as Http3Rules};
use crate::edge::pace::PaceTerms;
use crate::edge::service::{Policy, Provenance, Rules, Service};
use crate::edge::session_keys::SharedSessionKeys;
use crate::edge::socket::SocketParts;
use crate::edge::steering::Steering;
use crate::edge::tls::testing::{identity_and_client, server};
use crate::edge::tls::{self, FleetTicketer, ServerTls, TlsConfig};
use crate::fleet::{CidKeys, Epoch, Identity, Keyring, View};
use crate::request::SharedHandler;
use crate::steer::{Slots, Steer};
use crate::telemetry::AccessLog;

mod retry;

const LOCALHOST: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const PATIENCE: Duration = Duration::from_secs(20);

struct Edge {
    address: SocketAddr,
    metrics: Metrics,
    client: ClientConfig,
    phase: watch::Sender<Phase>,
    tasks: JoinSet<usize>,
}

impl Edge {
    fn start(limits: &Limits) -> Self {
        let (identity, client) = identity_and_client(&[Protocol::Http3]);
        let crypto = QuicClientConfig::try_from(client.config()).unwrap();
        let quic = Quic::default();
        let node = Node::new(&identity, keys(1));
        Self::of(&node, ClientConfig::new(Arc::new(crypto)), limits, &quic)
    }

    fn of(node: &Node, client: ClientConfig, limits: &Limits, quic: &Quic) -> Self {
        let metrics = node.metrics.clone();
        let socket = Arc::clone(&node.socket);
        let endpoint = endpoint(Arc::clone(&socket), node.parts(limits, quic)).unwrap();
        let timeouts = Timeouts::default();
        let http3 = Http3 {
            service: Arc::new(Service::new(
                Policy {
                    handler: SharedHandler::new(Origin),
                    rules: Rules::new(limits, &timeouts, None),
                    provenance: Provenance::new(&Forwarded::default(), &Trace::default()),
                    access: AccessLog::Off,
                },
                metrics.clone(),
            )),
            rules: Http3Rules {
                limits: crate::http3::Limits::default(),
                header_timeout: timeouts.header,
                send_window: quic.send_window,
                body_idle: timeouts.body_idle,
                body_rate: PaceTerms {
                    rate: limits.body_rate,
                    window: timeouts.body_idle,
                },
                idle: timeouts.idle,
                datagrams: None,
                linger: Duration::from_secs(1),
            },
            metrics: metrics.clone(),
        };
        let parts = QuicParts {
            terms: QuicTerms {
                served: Served::Http3(Box::new(http3)),
                handshake: timeouts.handshake,
                retry: quic.retry,
                early_data: quic.early_data,
            },
            issuer: node.issuer.clone(),
            metrics: metrics.clone(),
            node: NodeId::default(),
            places: QuicPlaces::new(limits),
        };
        let address = endpoint.0.local_addr().unwrap();
        let edge = QuicEdge::new(endpoint, socket, parts).unwrap();
        let phase = watch::Sender::new(Phase::Ready);
        let mut tasks = JoinSet::new();
        tasks.spawn(edge.serve(Course::of(&phase)));
        Self {
            address,
            metrics,
            client,
            phase,
            tasks,
        }
    }

    async fn connect(&self) -> (Endpoint, Result<quinn::Connection, quinn::ConnectionError>) {
        let endpoint = Endpoint::client(LOCALHOST).unwrap();
        let connecting = endpoint.connect_with(self.client.clone(), self.address, "localhost");
        let connected = tokio::time::timeout(PATIENCE, connecting.unwrap()).await;
        (endpoint, connected.unwrap())
    }

    /// Sends the first datagram of a client that then says nothing more, and gives the first byte
    /// of the answer.
    async fn first_answer(&self) -> u8 {
        let mute = UdpSocket::bind(LOCALHOST).unwrap();
        mute.set_nonblocking(true).unwrap();
        let mute = tokio::net::UdpSocket::from_std(mute).unwrap();
        let endpoint = Endpoint::client(LOCALHOST).unwrap();
        let (client, to) = (self.client.clone(), mute.local_addr().unwrap());
        let _connecting = endpoint.connect_with(client, to, "localhost").unwrap();
        let mut buffer = [0; 2048];
        let exchange = async {
            let len = mute.recv(&mut buffer).await.unwrap();
            mute.send_to(&buffer[..len], self.address).await.unwrap();
            while mute.recv_from(&mut buffer).await.unwrap().1 != self.address {}
            buffer[0]
        };
        tokio::time::timeout(PATIENCE, exchange).await.unwrap()
    }

    fn refused(&self, reason: &'static str) -> u64 {
        let refused = &self.metrics.connections_refused;
        refused.get_or_create(&Reason { reason }).get()
    }
}

/// What a node of the test's fleet is made of.
struct Node {
    tls: ServerTls,
    socket: Arc<SteeredSocket>,
    issuer: Issuer,
    metrics: Metrics,
}

impl Node {
    fn new(identity: &tls::Identity, keys: SharedSessionKeys) -> Self {
        let tickets = FleetTicketer::new(keys.clone());
        let metrics = Metrics::default();
        let (socket, issuer) = socket_and_issuer(&metrics, keys);
        Self {
            tls: server(identity, &tickets),
            socket,
            issuer,
            metrics,
        }
    }

    fn parts<'a>(&self, limits: &'a Limits, quic: &'a Quic) -> EndpointParts<'a> {
        EndpointParts {
            tls: Arc::clone(&self.tls.quic),
            issuer: self.issuer.clone(),
            application: None,
            quic,
            limits,
            datagram_bytes: None,
            max_udp_payload: 1400,
            qlog: None,
        }
    }
}

/// Asks for packets that no tunnel carries and a silence that no way back outlives.
struct Greedy;

impl Application for Greedy {
    async fn serve(&self, _accepted: Accepted) {}

    fn transport(&self, transport: &mut TransportConfig) {
        transport
            .max_idle_timeout(None)
            .initial_mtu(9000)
            .min_mtu(9000)
            .mtu_discovery_config(None);
    }
}

#[tokio::test]
async fn an_application_changes_nothing_that_steering_relies_on() {
    let (identity, _client) = identity_and_client(&[Protocol::Http3]);
    let node = Node::new(&identity, keys(1));
    let limits = Limits::default();
    let quic = Quic {
        // HTTP/3 begins with no more than this, whatever is configured.
        send_window: 512 << 10,
        ..Quic::default()
    };
    let parts = node.parts(&limits, &quic);
    let plain = format!("{:?}", settings::transport(&parts).unwrap());
    assert!(plain.contains("max_idle_timeout: Some"), "{plain}");
    let tls = TlsConfig::clone(&node.tls.quic);
    let greedy = SharedApplication::new(tls, Greedy);
    let parts = EndpointParts {
        application: Some(&greedy),
        ..parts
    };
    let changed = settings::transport(&parts).unwrap();
    assert_eq!(format!("{changed:?}"), plain);
}

fn keys(epoch: u8) -> SharedSessionKeys {
    SharedSessionKeys::new(&Keyring::testing(epoch))
}

fn socket_and_issuer(metrics: &Metrics, keys: SharedSessionKeys) -> (Arc<SteeredSocket>, Issuer) {
    let own = ServerId::new(&[5; 8]).unwrap();
    let config = CidConfig::new(ConfigId::default(), 8, 7, FirstOctet::Random, None).unwrap();
    let configs: ConfigSet = [config.clone()].into_iter().collect();
    let steer = Steer::new(
        configs,
        View::new(Identity::Opaque(own), []),
        Slots::single(16),
    );
    let steering = Steering::testing(steer, metrics);
    let parts = SocketParts::testing("127.0.0.1:0", 16);
    let socket = SteeredSocket::new(parts, Arc::clone(&steering), metrics.clone());
    let keyring = Keyring::testing(1);
    let cids = CidKeys::new(&keyring, own, |_key| Ok::<_, MinterError>(config.clone()));
    let cids = SharedCidKeys::new(cids.unwrap(), Epoch(1));
    let make = Make::new(move |config, start| Minter::new(config, own, Lane::ONLY, start));
    let minters = Minters::new(cids, make).unwrap();
    let tokens = AddressTokens::new(keys, metrics.clone());
    let lifetime = Duration::from_secs(300);
    let issuer = Issuer::new(minters, steering, tokens, lifetime);
    (Arc::new(socket.unwrap().0), issuer)
}

fn is_retry(first: u8) -> bool {
    first & 0xf0 == 0xf0
}

#[tokio::test]
async fn forged_addresses_leave_places_to_those_who_prove_theirs() {
    let edge = Edge::start(&Limits {
        handshakes: 3,
        ..Limits::default()
    });
    for _ in 0..2 {
        assert!(!is_retry(edge.first_answer().await));
    }
    for _ in 0..5 {
        assert!(is_retry(edge.first_answer().await));
    }
    assert_eq!(edge.metrics.retries.get(), 5);
    let (_endpoint, connected) = edge.connect().await;
    connected.unwrap();
    assert_eq!(edge.refused("handshake_limit"), 0);
}

#[tokio::test]
async fn a_complete_handshake_gives_its_place_back() {
    let edge = Edge::start(&Limits {
        handshakes: 1,
        connections: 2,
        ..Limits::default()
    });
    let (_first_endpoint, first) = edge.connect().await;
    let (_second_endpoint, second) = edge.connect().await;
    let (_open, _also_open) = (first.unwrap(), second.unwrap());
    let (_third_endpoint, third) = edge.connect().await;
    assert!(third.is_err());
    assert_eq!(edge.refused("connection_limit"), 1);
}

#[tokio::test]
async fn an_ending_edge_ends_idle_connections_and_returns() {
    let mut edge = Edge::start(&Limits::default());
    let (_endpoint, connected) = edge.connect().await;
    let connection = connected.unwrap();
    edge.phase.send_replace(Phase::Ending);
    let ended = tokio::time::timeout(PATIENCE, edge.tasks.join_next()).await;
    ended.unwrap().unwrap().unwrap();
    tokio::time::timeout(PATIENCE, connection.closed())
        .await
        .unwrap();
}

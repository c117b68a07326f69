//! Address tokens that one node makes and another opens.

use std::time::SystemTime;

use quinn_proto::{DatagramEvent, TimeSource};

use super::*;
use crate::edge::quic::settings;

/// A clock that stands.
struct Clock(SystemTime);

impl TimeSource for Clock {
    fn now(&self) -> SystemTime {
        self.0
    }
}

/// An endpoint without a socket, as a node of the fleet would have it.
struct Server(quinn_proto::Endpoint);

/// What a server does with a first packet.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Validated,
    Unvalidated,
    Refused,
}

const CLIENT: ([u8; 4], u16) = ([192, 0, 2, 1], 1000);
const SERVICE: ([u8; 4], u16) = ([192, 0, 2, 2], 443);

impl Server {
    fn new(node: &Node, clock: SystemTime, quic: &Quic) -> Self {
        let limits = Limits::default();
        let mut server = settings::server(&node.parts(&limits, quic)).unwrap();
        server.time_source(Arc::new(Clock(clock)));
        let config = quinn_proto::EndpointConfig::new(node.issuer.reset_key());
        Self(quinn_proto::Endpoint::new(
            Arc::new(config),
            Some(Arc::new(server)),
            false,
            None,
        ))
    }

    fn receive(&mut self, packet: &[u8]) -> Option<DatagramEvent> {
        let client = SocketAddr::from(CLIENT);
        let mut answer = Vec::new();
        self.0
            .handle(now(), client, None, None, packet.into(), &mut answer)
    }

    fn retry(&mut self, packet: &[u8]) -> Vec<u8> {
        let Some(DatagramEvent::NewConnection(incoming)) = self.receive(packet) else {
            panic!("no new connection");
        };
        let mut retry = Vec::new();
        drop(self.0.retry(incoming, &mut retry).unwrap());
        retry
    }

    fn outcome(&mut self, packet: &[u8]) -> Outcome {
        match self.receive(packet) {
            Some(DatagramEvent::NewConnection(incoming)) => {
                let validated = incoming.remote_address_validated();
                self.0.ignore(incoming);
                if validated {
                    Outcome::Validated
                } else {
                    Outcome::Unvalidated
                }
            }
            _ => Outcome::Refused,
        }
    }
}

/// Has a client answer the Retry of one server, and shows its answer to another.
fn carried(config: &ClientConfig, from: &mut Server, to: &mut Server) -> Outcome {
    let endpoint = Arc::new(quinn_proto::EndpointConfig::default());
    let mut endpoint = quinn_proto::Endpoint::new(endpoint, None, false, None);
    let now = now();
    let service = SocketAddr::from(SERVICE);
    let (_, mut client) = endpoint
        .connect(now, config.clone(), service, "localhost")
        .unwrap();
    let sent = |client: &mut quinn_proto::Connection| {
        let mut packet = Vec::new();
        drop(client.poll_transmit(now, 1, &mut packet).unwrap());
        packet
    };
    let retry = from.retry(&sent(&mut client));
    let event = endpoint.handle(now, service, None, None, retry[..].into(), &mut Vec::new());
    let Some(DatagramEvent::ConnectionEvent(_, event)) = event else {
        panic!("the client does not know the Retry");
    };
    client.handle_event(event);
    to.outcome(&sent(&mut client))
}

struct Fleet {
    identity: tls::Identity,
    client: ClientConfig,
}

impl Fleet {
    fn new() -> Self {
        let (identity, client) = identity_and_client(&[Protocol::Http3]);
        let crypto = QuicClientConfig::try_from(client.config()).unwrap();
        Self {
            identity,
            client: ClientConfig::new(Arc::new(crypto)),
        }
    }

    fn server(&self, epoch: u8, clock: u64, quic: &Quic) -> Server {
        let clock = SystemTime::UNIX_EPOCH + Duration::from_secs(clock);
        Server::new(&Node::new(&self.identity, keys(epoch)), clock, quic)
    }
}

const NOON: u64 = 1_800_000_000;

#[tokio::test]
async fn a_retry_of_any_node_is_good_on_every_node_whose_clock_is_a_minute_apart() {
    let fleet = Fleet::new();
    let quic = Quic {
        retry_token_lifetime: Duration::from_secs(1),
        ..Quic::default()
    };
    for (made, opened, outcome) in [
        (NOON, NOON, Outcome::Validated),
        (NOON, NOON - 60, Outcome::Validated),
        (NOON, NOON + 60, Outcome::Validated),
        (NOON, NOON + 60 + 1, Outcome::Validated),
        (NOON, NOON + 60 + 2, Outcome::Refused),
    ] {
        let mut from = fleet.server(1, made, &quic);
        let mut to = fleet.server(1, opened, &quic);
        let carried = carried(&fleet.client, &mut from, &mut to);
        assert_eq!(carried, outcome, "made at {made}, opened at {opened}");
    }
}

#[tokio::test]
async fn a_retry_is_good_in_the_neighbouring_epochs_only() {
    let fleet = Fleet::new();
    let quic = Quic::default();
    for (made, opened, outcome) in [
        (5, 5, Outcome::Validated),
        (5, 6, Outcome::Validated),
        (6, 5, Outcome::Validated),
        (5, 7, Outcome::Unvalidated),
    ] {
        let mut from = fleet.server(made, NOON, &quic);
        let mut to = fleet.server(opened, NOON, &quic);
        let carried = carried(&fleet.client, &mut from, &mut to);
        assert_eq!(carried, outcome, "made in {made}, opened in {opened}");
    }
}

/// A node that demands a Retry of every client without a token does not of one with a token.
#[tokio::test]
async fn a_token_for_a_later_connection_is_good_on_every_node_and_across_one_rotation() {
    let fleet = Fleet::new();
    for (epoch, retries) in [(5, 0), (6, 0), (4, 0), (7, 1)] {
        // A client that keeps nothing but what it gets in this round.
        let mut client = fleet.client.clone();
        client.token_store(Arc::new(quinn_proto::TokenMemoryCache::default()));
        let quic = Quic {
            retry: true,
            ..Quic::default()
        };
        let edge = |epoch| {
            let node = Node::new(&fleet.identity, keys(epoch));
            Edge::of(&node, client.clone(), &Limits::default(), &quic)
        };
        let (first, second) = (edge(5), edge(epoch));
        for _ in 0..2 {
            let (_endpoint, connected) = first.connect().await;
            connected.unwrap().close(0_u32.into(), b"");
        }
        assert_eq!(first.metrics.retries.get(), 1, "it takes its own token");
        let (_endpoint, connected) = second.connect().await;
        connected.unwrap();
        assert_eq!(second.metrics.retries.get(), retries, "epoch {epoch}");
    }
}

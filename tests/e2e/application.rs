//! Claims about a protocol of an embedder's own, in place of HTTP/3.

use std::net::{SocketAddr, UdpSocket};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, MtuDiscoveryConfig, RecvStream,
    SendStream, TransportConfig,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::TLS13;
use tokio::sync::mpsc;
use tokio::time::timeout;
use wayhold::admin::Phase;
use wayhold::client::{Trust, tls_config};
use wayhold::control::{Snapshot, StaticFiles};
use wayhold::fleet::{Keyring, Member, NodeId, Roster};
use wayhold::testbed::{Honesty, Move, Relay, RelayConfig};
use wayhold::{Accepted, Application, Gateway, GatewayBuilder, GatewayError};

use crate::certificates::counting_tls;
use crate::stage::{Directory, Node, PATIENCE, fleet_key, turn, until};

/// Sends everything back, and shows each connection to the test.
struct Echo(mpsc::UnboundedSender<Accepted>);

impl Application for Echo {
    async fn serve(&self, accepted: Accepted) {
        drop(self.0.send(accepted.clone()));
        let connection = accepted.connection();
        let mut draining = pin!(accepted.draining());
        loop {
            tokio::select! {
                stream = connection.accept_bi() => {
                    let Ok(stream) = stream else { return };
                    echo(stream).await;
                }
                () = &mut draining => return connection.close(DRAINING.into(), b""),
            }
        }
    }

    /// Asks for datagrams, and for packets that no tunnel carries.
    fn transport(&self, transport: &mut TransportConfig) {
        let mut mtu = MtuDiscoveryConfig::default();
        mtu.upper_bound(9000);
        transport
            .datagram_receive_buffer_size(Some(10_000))
            .initial_mtu(9000)
            .mtu_discovery_config(Some(mtu));
    }
}

async fn echo((mut send, mut receive): (SendStream, RecvStream)) {
    while let Ok(Some(chunk)) = receive.read_chunk(usize::MAX, true).await {
        assert_ne!(&chunk.bytes[..], PANIC, "a panic was asked for");
        send.write_chunk(chunk.bytes).await.unwrap();
    }
    drop(send.finish());
    drop(send.stopped().await);
}

fn server_tls(directory: &Directory) -> ServerConfig {
    let chain = CertificateDer::from_pem_file(directory.file("tls.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(directory.file("tls.key")).unwrap();
    let mut tls = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .unwrap();
    tls.alpn_protocols = vec![PROTOCOL.to_vec()];
    tls
}

fn client() -> ClientConfig {
    let mut tls = Arc::unwrap_or_clone(tls_config(&Trust::DangerousAnything).unwrap());
    tls.alpn_protocols = vec![PROTOCOL.to_vec()];
    ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))
}

fn builder(directory: &Directory, more: &str) -> GatewayBuilder {
    let mut config = directory.config(more);
    config.listen[0].tcp = false;
    Gateway::builder().config(config)
}

/// Starts two nodes of a fleet, and gives the connections that either accepts.
fn fleet(directory: &Directory) -> ([Node; 2], mpsc::UnboundedReceiver<Accepted>) {
    let ids = [1, 2].map(|id| NodeId::new(id).unwrap());
    let tunnels = ids.map(|node| (node, UdpSocket::bind("127.0.0.1:0").unwrap()));
    let members = tunnels.each_ref().map(|(node, tunnel)| Member {
        node: *node,
        relay: tunnel.local_addr().unwrap(),
    });
    let snapshot = Snapshot {
        roster: Roster::new(members).unwrap(),
        keyring: Keyring::new(fleet_key()),
        link_mtu: LINK_MTU,
    };
    let (accepted, connections) = mpsc::unbounded_channel();
    let nodes = tunnels.map(|(node, tunnel)| {
        let gateway = builder(directory, &format!("workers = 2\nnode.id = {node}"))
            .relay_socket(tunnel)
            .fleet_source(StaticFiles::new(snapshot.clone()))
            .application(server_tls(directory), Echo(accepted.clone()));
        Node::start(gateway.bind().unwrap())
    });
    (nodes, connections)
}

/// Starts a node without a fleet, and gives the connections that it accepts.
fn solo(directory: &Directory, more: &str) -> (Node, mpsc::UnboundedReceiver<Accepted>) {
    let (accepted, connections) = mpsc::unbounded_channel();
    let gateway = builder(directory, more).application(server_tls(directory), Echo(accepted));
    (Node::start(gateway.bind().unwrap()), connections)
}

async fn connect(config: ClientConfig, address: SocketAddr) -> (Endpoint, Connection) {
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let connecting = endpoint.connect_with(config, address, "localhost").unwrap();
    let connection = timeout(PATIENCE, connecting).await.unwrap().unwrap();
    (endpoint, connection)
}

/// Sends this and waits until it has come back.
async fn exchange((send, receive): &mut (SendStream, RecvStream), byte: u8) {
    let there = vec![byte; 20_000];
    let mut back = vec![0; 20_000];
    send.write_all(&there).await.unwrap();
    let received = timeout(PATIENCE, receive.read_exact(&mut back)).await;
    received.unwrap().unwrap();
    assert!(back == there, "what came back is not what was sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_keeps_its_connections_while_everything_moves() {
    let _turn = turn().await;
    let directory = Directory::new();
    directory.certify();
    let (nodes, mut connections) = fleet(&directory);
    let relay = Relay::start(RelayConfig {
        nodes: nodes.iter().map(|node| node.address).collect(),
        delay: Duration::from_millis(1),
        honesty: Honesty::Honest,
    });
    let relay = relay.await.unwrap();
    let (endpoint, connection) = connect(client(), relay.address()).await;
    let accepted = connections.recv().await.unwrap();
    let mut stream = connection.open_bi().await.unwrap();
    let moves = [
        Move::Flip,
        Move::Rebind,
        Move::Flip,
        Move::Address,
        Move::Flip,
        Move::Rebind,
    ];
    for (byte, event) in (0..).zip(moves) {
        exchange(&mut stream, byte).await;
        relay.make(event).await.unwrap();
        exchange(&mut stream, byte).await;
    }
    assert!(nodes[1].metrics.datagrams_forwarded.get() > 0);
    until(|| accepted.path().changes() > 0).await;
    assert!(connection.max_datagram_size().is_some());
    let mtu = accepted.connection().stats().path.current_mtu;
    assert!(
        mtu < LINK_MTU,
        "packets of {mtu} bytes fit through no tunnel"
    );

    let [owner, other] = nodes;
    owner.drain();
    until(|| owner.handle.phase() >= Phase::Draining).await;
    exchange(&mut stream, 99).await;
    stream.0.finish().unwrap();
    let closed = timeout(PATIENCE, connection.closed()).await.unwrap();
    assert!(
        matches!(closed, ConnectionError::ApplicationClosed(close) if close.error_code == DRAINING.into())
    );
    owner.ended().await.unwrap();
    other.end().await.unwrap();
    endpoint.wait_idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_of_an_application_resumes_at_the_other_node() {
    let _turn = turn().await;
    let directory = Directory::new();
    directory.certify();
    let (nodes, _connections) = fleet(&directory);
    let (mut tls, certificates) = counting_tls();
    tls.alpn_protocols = vec![PROTOCOL.to_vec()];
    let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    for node in &nodes {
        let (endpoint, connection) = connect(config.clone(), node.address).await;
        exchange(&mut connection.open_bi().await.unwrap(), 1).await;
        assert_eq!(certificates.seen(), 1);
        connection.close(0_u32.into(), b"");
        endpoint.wait_idle().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_an_application_ends_its_own_connection_alone_and_is_counted() {
    let _turn = turn().await;
    let directory = Directory::new();
    directory.certify();
    // A connection that is kept here ends all the same.
    let (node, _connections) = solo(&directory, "");
    let (_first, harmed) = connect(client(), node.address).await;
    let (_second, unharmed) = connect(client(), node.address).await;
    let (mut send, _receive) = harmed.open_bi().await.unwrap();
    send.write_all(PANIC).await.unwrap();
    timeout(PATIENCE, harmed.closed()).await.unwrap();
    until(|| node.metrics.panics.get() == 1).await;
    exchange(&mut unharmed.open_bi().await.unwrap(), 1).await;
    assert_eq!(node.open(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_that_goes_on_is_cut_off_when_the_grace_is_over() {
    let _turn = turn().await;
    let directory = Directory::new();
    directory.certify();
    let (node, _connections) = solo(&directory, "shutdown.grace = \"200ms\"");
    let (_endpoint, connection) = connect(client(), node.address).await;
    let mut stream = connection.open_bi().await.unwrap();
    exchange(&mut stream, 1).await;
    assert!(matches!(
        node.end().await,
        Err(GatewayError::GraceExpired(1))
    ));
    let closed = timeout(PATIENCE, connection.closed()).await.unwrap();
    assert!(
        matches!(closed, ConnectionError::ApplicationClosed(close) if close.error_code == 0_u32.into())
    );
}

#[tokio::test]
async fn an_application_is_refused_what_http_alone_has() {
    let directory = Directory::new();
    directory.certify();
    let with_tcp = Gateway::builder().config(directory.config(""));
    let early = builder(&directory, "quic.early_data = \"owner\"");
    for (builder, key) in [(with_tcp, "listen.tcp"), (early, "quic.early_data")] {
        let application = Echo(mpsc::unbounded_channel().0);
        let refused = builder
            .application(server_tls(&directory), application)
            .bind();
        assert!(matches!(refused, Err(GatewayError::HttpOnly(named)) if named == key));
    }
}

const PROTOCOL: &[u8] = b"echo";
const PANIC: &[u8] = b"panic";
const DRAINING: u32 = 7;
const LINK_MTU: u16 = 1400;

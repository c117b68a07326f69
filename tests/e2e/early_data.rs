//! Claims about requests in 0-RTT data.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use quinn::{
    ClientConfig, Endpoint, RecvStream, SendStream, TokenMemoryCache, TokenStore, ZeroRttAccepted,
};
use tokio::net::UdpSocket;
use tokio::time::timeout;
use wayhold::Gateway;
use wayhold::request::{Body, ClientFacts, Handler, RequestError};
use wayhold::telemetry::{Early, HandedOver};
use wayhold::wire::{Datagram, LongKind};

use crate::raw::{CONTROL, DATA, early_quic_config, frame, head, status};
use crate::reading::Reading;
use crate::scripted::Scripted;
use crate::stage::{Directory, Node, PATIENCE, Solo, Stage, turn, until};
use crate::tap::Tap;

const OWNER: &str = "quic.early_data = \"owner\"";
const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Answers 200, and remembers what it was asked.
#[derive(Clone, Debug, Default)]
struct Ledger(Arc<Mutex<Vec<Entry>>>);

/// One execution of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    path: String,
    early: bool,
    node: u32,
}

impl Handler for Ledger {
    async fn handle(
        &self,
        request: Request<Body>,
        client: ClientFacts,
    ) -> Result<Response<Body>, RequestError> {
        self.0.lock().unwrap().push(Entry {
            path: request.uri().path().to_owned(),
            early: client.early_data,
            node: client.owner.get(),
        });
        Ok(Response::new(Body::empty()))
    }
}

impl Ledger {
    fn of(&self, path: &str) -> Vec<Entry> {
        let entries = self.0.lock().unwrap();
        entries
            .iter()
            .filter(|entry| entry.path == path)
            .cloned()
            .collect()
    }

    /// Whether the one execution of a request was early; none if there was none yet.
    fn early(&self, path: &str) -> Option<bool> {
        match &self.of(path)[..] {
            [] => None,
            [entry] => Some(entry.early),
            more => panic!("executed more than once: {more:?}"),
        }
    }
}

/// Keeps tokens, and counts those that came.
#[derive(Default)]
struct Tokens {
    kept: TokenMemoryCache,
    came: AtomicUsize,
}

impl TokenStore for Tokens {
    fn insert(&self, name: &str, token: Bytes) {
        self.kept.insert(name, token);
        self.came.fetch_add(1, Ordering::Relaxed);
    }

    fn take(&self, name: &str) -> Option<Bytes> {
        self.kept.take(name)
    }
}

/// A client that comes back.
struct Client {
    config: ClientConfig,
    tokens: Arc<Tokens>,
}

/// A connection whose first requests went out before any answer.
struct Returned {
    endpoint: Endpoint,
    connection: quinn::Connection,
    accepted: ZeroRttAccepted,
    responses: Vec<RecvStream>,
    /// Must stay open (RFC 9114, section 6.2.1).
    _control: SendStream,
}

impl Client {
    fn new(directory: &Directory) -> Self {
        let tokens = Arc::new(Tokens::default());
        let mut config = early_quic_config(directory);
        config.token_store(Arc::clone(&tokens) as Arc<dyn TokenStore>);
        Self { config, tokens }
    }

    fn endpoint() -> Endpoint {
        Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap()
    }

    /// Connects, asks once, and leaves with a session and a token.
    async fn visit(&self, address: SocketAddr) {
        let endpoint = Self::endpoint();
        let connecting = endpoint.connect_with(self.config.clone(), address, "localhost");
        let connected = timeout(PATIENCE, connecting.unwrap()).await;
        let connection = connected.unwrap().unwrap();
        let mut control = connection.open_uni().await.unwrap();
        control.write_all(&CONTROL).await.unwrap();
        let (mut send, receive) = connection.open_bi().await.unwrap();
        send.write_all(&head("GET", "/visit", &[])).await.unwrap();
        send.finish().unwrap();
        assert_eq!(status(receive).await, 200);
        until(|| self.tokens.came.load(Ordering::Relaxed) > 0).await;
        connection.close(0x100_u32.into(), b"");
        endpoint.wait_idle().await;
    }

    /// Comes back with requests in its first flight.
    async fn return_with(&self, address: SocketAddr, requests: &[Vec<u8>]) -> Returned {
        let endpoint = Self::endpoint();
        let connecting = endpoint
            .connect_with(self.config.clone(), address, "localhost")
            .unwrap();
        let (connection, accepted) = connecting
            .into_0rtt()
            .unwrap_or_else(|_| panic!("no session"));
        let mut control = connection.open_uni().await.unwrap();
        control.write_all(&CONTROL).await.unwrap();
        let mut responses = Vec::new();
        for request in requests {
            let (mut send, receive) = connection.open_bi().await.unwrap();
            send.write_all(request).await.unwrap();
            send.finish().unwrap();
            responses.push(receive);
        }
        Returned {
            endpoint,
            connection,
            accepted,
            responses,
            _control: control,
        }
    }
}

impl Returned {
    /// Whether the gateway took the early data, and that it answered every request.
    async fn finish(self) -> bool {
        let accepted = timeout(PATIENCE, self.accepted).await.unwrap();
        if accepted {
            for response in self.responses {
                assert_eq!(status(response).await, 200);
            }
        }
        self.connection.close(0x100_u32.into(), b"");
        self.endpoint.wait_idle().await;
        accepted
    }
}

fn get(path: &str) -> Vec<u8> {
    head("GET", path, &[])
}

async fn tap(solo: &Solo) -> Tap {
    Tap::start(LOCALHOST, [solo.node.address]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_returning_client_is_answered_before_its_handshake_ends() {
    let ledger = Ledger::default();
    let solo = Solo::start(OWNER, ledger.clone()).await;
    let tap = tap(&solo).await;
    let client = Client::new(&solo.directory);
    client.visit(tap.address).await;
    // No answer reaches the client, so its handshake cannot end.
    tap.mute();
    let returned = client.return_with(tap.address, &[get("/early")]).await;
    until(|| ledger.early("/early") == Some(true)).await;
    tap.unmute();
    assert!(returned.finish().await);
    let early = &solo.node.metrics.early_requests;
    assert_eq!(early.get_or_create(&Early::AT_ONCE).get(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_is_told_what_came_early_and_may_inform_its_client_at_once() {
    let backend = Scripted::bind().await;
    let solo = Solo::routing(&format!("{OWNER}\n{}", backend.route())).await;
    let tap = tap(&solo).await;
    let client = Client::new(&solo.directory);
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let visiting = async {
        let mut line = backend.accept().await;
        let seen = line.hear("\r\n\r\n").await;
        assert!(!seen.contains("early-data"), "{seen}");
        line.say(answer).await;
        line
    };
    let ((), mut line) = tokio::join!(client.visit(tap.address), visiting);
    tap.mute();
    let mut returned = client.return_with(tap.address, &[get("/early")]).await;
    let seen = line.hear("\r\n\r\n").await;
    assert!(seen.contains("\r\nearly-data: 1\r\n"), "{seen}");
    line.say("HTTP/1.1 103 Early Hints\r\n\r\n").await;
    line.say(answer).await;
    tap.unmute();
    let mut reading = Reading::new(returned.responses.remove(0));
    assert_eq!(reading.head().await.0, 103);
    assert_eq!(reading.head().await.0, 200);
    assert!(returned.finish().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_safe_or_has_content_waits_for_the_handshake() {
    let ledger = Ledger::default();
    let solo = Solo::start(OWNER, ledger.clone()).await;
    let tap = tap(&solo).await;
    let client = Client::new(&solo.directory);
    client.visit(tap.address).await;
    tap.mute();
    let requests = [
        head("POST", "/post", &[]),
        [get("/content"), frame(DATA, b"x")].concat(),
        head("CONNECT", "/tunnel", &[(":protocol", "websocket")]),
        get("/safe"),
    ];
    let returned = client.return_with(tap.address, &requests).await;
    until(|| ledger.early("/safe") == Some(true)).await;
    for path in ["/post", "/content", "/tunnel"] {
        assert_eq!(ledger.early(path), None, "{path}");
    }
    tap.unmute();
    assert!(returned.finish().await);
    for path in ["/post", "/content", "/tunnel"] {
        assert_eq!(ledger.early(path), Some(false), "{path}");
    }
    let early = &solo.node.metrics.early_requests;
    assert_eq!(early.get_or_create(&Early::WAITED).get(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_from_an_address_that_is_not_proven_waits() {
    let ledger = Ledger::default();
    let solo = Solo::start(OWNER, ledger.clone()).await;
    let client = Client::new(&solo.directory);
    client.visit(solo.node.address).await;
    let elsewhere = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    let tap = Tap::start(elsewhere, [solo.node.address]).await;
    let returned = client.return_with(tap.address, &[get("/moved")]).await;
    assert!(returned.finish().await);
    assert_eq!(ledger.early("/moved"), Some(false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_option_there_is_no_early_data() {
    let ledger = Ledger::default();
    let solo = Solo::start("", ledger).await;
    let client = Client::new(&solo.directory);
    client.visit(solo.node.address).await;
    let connecting =
        Client::endpoint().connect_with(client.config.clone(), solo.node.address, "localhost");
    assert!(connecting.unwrap().into_0rtt().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn early_data_reaches_its_owner_through_any_node() {
    let ledger = Ledger::default();
    let stage = Stage::configured(2, OWNER, ledger.clone()).await;
    stage.until_welcome().await;
    let tap = Tap::start(LOCALHOST, stage.nodes.iter().map(|node| node.address)).await;
    let client = Client::new(&stage.directory);
    client.visit(tap.address).await;
    tap.route(1);
    let returned = client.return_with(tap.address, &[get("/early")]).await;
    assert!(returned.finish().await);
    let executed = ledger.of("/early");
    assert_eq!(executed.len(), 1);
    assert_eq!(executed[0].node, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn early_data_under_limits_that_a_reload_changed_is_refused() {
    let _turn = turn().await;
    let directory = Directory::new();
    directory.certify();
    let config = |more: &str| directory.config(&format!("{OWNER}\n{more}"));
    let builder = Gateway::builder().config(config(""));
    let gateway = builder.handler(Ledger::default()).bind().unwrap();
    let handle = gateway.handle();
    let node = Node::start(gateway);
    let client = Client::new(&directory);
    for (more, accepted) in [
        ("log.level = \"warn\"", true),
        ("limits.streams = 2", false),
    ] {
        client.visit(node.address).await;
        handle.reload(config(more)).await.unwrap();
        let returned = client.return_with(node.address, &[get("/early")]).await;
        assert_eq!(returned.finish().await, accepted, "{more}");
    }
}

/// The first flight of a client that came back with a request.
async fn flight(tap: &Tap, client: &Client, path: &str) -> Vec<Vec<u8>> {
    tap.recorded();
    let returned = client.return_with(tap.address, &[get(path)]).await;
    assert!(returned.finish().await);
    first_flight(tap.recorded())
}

/// The first flight of a client that comes back with a request, which no node has seen.
///
/// Under a runtime of one thread it is one burst of full datagrams and a shorter one at its end.
async fn held_flight(client: &Client, path: &str) -> Vec<Vec<u8>> {
    let nowhere = Tap::start(LOCALHOST, ["127.0.0.1:9".parse().unwrap()]).await;
    // Too long for the rest of the last Initial's datagram.
    let padding = "x".repeat(2000);
    let request = head("GET", path, &[("x-padding", &padding)]);
    let _returned = client.return_with(nowhere.address, &[request]).await;
    let mut flight = Vec::new();
    let complete = || {
        flight.extend(nowhere.recorded());
        flight.last().is_some_and(|datagram| datagram.len() < 1200)
    };
    until(complete).await;
    flight
}

fn is_early(datagram: &[u8]) -> bool {
    let parsed = Datagram::parse(datagram).unwrap();
    matches!(parsed, Datagram::Long(header) if header.kind == LongKind::ZeroRtt)
}

/// What a client sent before it knew a connection ID of the gateway.
fn first_flight(mut sent: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let destination = |datagram: &[u8]| match Datagram::parse(datagram).unwrap() {
        Datagram::Long(header) => Some(header.destination.to_vec()),
        Datagram::Short(_) => None,
    };
    let chosen = destination(&sent[0]);
    sent.retain(|datagram| destination(datagram) == chosen);
    sent
}

/// Sends a recorded flight from a socket of its own.
async fn replay(flight: &[Vec<u8>], node: &Node) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for datagram in flight {
        socket.send_to(datagram, node.address).await.unwrap();
    }
    socket
}

/// Replays a flight until it begins a handshake: the connection that it made first knows it for a
/// while, and says nothing. Gives the number of attempts.
async fn replay_until_answered(flight: &[Vec<u8>], node: &Node) -> usize {
    let attempts = async {
        for attempt in 1.. {
            let socket = replay(flight, node).await;
            let answer = timeout(Duration::from_millis(50), first(&socket)).await;
            if let Ok(first) = answer {
                assert_eq!(first & 0xb0, 0x80, "an Initial");
                return attempt;
            }
        }
        unreachable!("there is no last attempt")
    };
    timeout(PATIENCE, attempts).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replayed_flight_is_never_executed_again_at_any_node() {
    let ledger = Ledger::default();
    // What a replay begins ends soon, so that the next one is no mere duplicate of it.
    let more = format!("{OWNER}\ntimeouts.handshake = \"300ms\"");
    let stage = Stage::configured(3, &more, ledger.clone()).await;
    stage.until_welcome().await;
    let nodes = stage.nodes.iter().map(|node| node.address);
    let tap = Tap::start(LOCALHOST, nodes).await;
    let client = Client::new(&stage.directory);
    client.visit(tap.address).await;
    let flight = flight(&tap, &client, "/once").await;
    assert_eq!(ledger.of("/once").len(), 1);
    for node in [1, 0] {
        replay_until_answered(&flight, &stage.nodes[node]).await;
    }
    client.visit(tap.address).await;
    assert_eq!(ledger.of("/once").len(), 1);
    // All of them came to the owner, for the token led there.
    assert_eq!(stage.nodes[1].metrics.datagrams_local.get(), 0);
}

#[tokio::test]
async fn early_data_that_overtakes_its_initial_waits_for_it() {
    let ledger = Ledger::default();
    let stage = Stage::configured(2, OWNER, ledger.clone()).await;
    stage.until_welcome().await;
    let tap = Tap::start(LOCALHOST, stage.nodes.iter().map(|node| node.address)).await;
    let client = Client::new(&stage.directory);
    client.visit(tap.address).await;
    for (node, path) in [(&stage.nodes[0], "/own"), (&stage.nodes[1], "/other")] {
        let flight = held_flight(&client, path).await;
        let (early, initials): (Vec<_>, Vec<_>) =
            flight.into_iter().partition(|datagram| is_early(datagram));
        assert!(!early.is_empty() && !initials.is_empty());
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        for datagram in early.iter().chain(&initials) {
            socket.send_to(datagram, node.address).await.unwrap();
        }
        first(&socket).await;
        // On a machine that stalls, a wait may end before; then it is counted.
        let late = stage.nodes.iter().map(|node| node.dropped("early_timeout"));
        if late.sum::<u64>() == 0 {
            until(|| ledger.early(path) == Some(true)).await;
        }
    }
    let owner = &stage.nodes[0];
    let waited = owner.metrics.handed_over.get_or_create(&HandedOver::WAITED);
    assert!(waited.get() + owner.dropped("early_timeout") > 0);
}

#[tokio::test]
async fn copies_that_overtake_a_flight_are_executed_once_at_most() {
    let ledger = Ledger::default();
    let stage = Stage::configured(2, OWNER, ledger.clone()).await;
    stage.until_welcome().await;
    let nodes = stage.nodes.iter().map(|node| node.address);
    let tap = Tap::start(LOCALHOST, nodes).await;
    let client = Client::new(&stage.directory);
    client.visit(tap.address).await;

    let flight = held_flight(&client, "/race").await;
    let mut copies = Vec::new();
    for node in [1, 0, 1, 0] {
        copies.push(replay(&flight, &stage.nodes[node]).await);
    }
    let mut buffer = [0; 2048];
    until(|| copies.iter().any(|copy| copy.try_recv(&mut buffer).is_ok())).await;
    let sent = u64::try_from(4 * flight.len()).unwrap();
    until(|| stage.sum(|metrics| metrics.datagrams_received.get()) >= sent).await;
    client.visit(tap.address).await;
    let executed = ledger.of("/race");
    assert_eq!(executed.len(), 1, "{executed:?}");
    assert!(executed[0].early);
}

/// The first byte of the first answer.
async fn first(socket: &UdpSocket) -> u8 {
    let mut buffer = [0; 2048];
    timeout(PATIENCE, socket.recv(&mut buffer))
        .await
        .unwrap()
        .unwrap();
    buffer[0]
}

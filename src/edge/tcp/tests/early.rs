//! Requests in early data: what is answered before the end of the handshake, and what waits for it.

use std::io::{Cursor, Read, Write};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::edge::tls::EarlySessions;
use crate::telemetry::Early;

/// A client whose flights are sent one by one.
struct Returning {
    stream: TcpStream,
    tls: ClientConnection,
    first_flight: Vec<u8>,
}

impl Returning {
    /// Sends the first flight, with this in early data.
    async fn connect(config: &Arc<ClientConfig>, address: SocketAddr, early: &[u8]) -> Self {
        let mut config = ClientConfig::clone(config);
        config.enable_early_data = true;
        let name = ServerName::try_from("localhost").unwrap();
        let mut tls = ClientConnection::new(Arc::new(config), name).unwrap();
        let written = tls.early_data().unwrap().write(early).unwrap();
        assert_eq!(written, early.len());
        let mut first_flight = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut first_flight).unwrap();
        }
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&first_flight).await.unwrap();
        Self {
            stream,
            tls,
            first_flight,
        }
    }

    /// Sends what the client owes the handshake, and what it has to say.
    async fn flush(&mut self) {
        let mut flight = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut flight).unwrap();
        }
        self.stream.write_all(&flight).await.unwrap();
    }

    /// Reads, without sending anything, until the response to a request holds a text.
    async fn hear(&mut self, text: &str) -> String {
        let mut heard = Vec::new();
        loop {
            let mut piece = vec![0; 64 << 10];
            let length = soon(self.stream.read(&mut piece)).await.unwrap();
            assert_ne!(
                length,
                0,
                "closed after {}",
                String::from_utf8_lossy(&heard)
            );
            let mut received = Cursor::new(&piece[..length]);
            while received.position() < u64::try_from(length).unwrap() {
                self.tls.read_tls(&mut received).unwrap();
                self.tls.process_new_packets().unwrap();
            }
            // The rest is there only when the library has it.
            drop(self.tls.reader().read_to_end(&mut heard));
            let so_far = String::from_utf8_lossy(&heard);
            if so_far.contains(text) {
                return so_far.into_owned();
            }
        }
    }
}

/// An edge that takes early data, and a client that was there before.
async fn known(protocol: Protocol) -> (Edge, Arc<ClientConfig>) {
    let (setup, client) = setup(protocol);
    (arrived(setup, &client).await, client.config())
}

fn setup(protocol: Protocol) -> (Setup, Client) {
    let (mut setup, client) = Setup::new(match protocol {
        Protocol::Http2 => &[Protocol::Http2],
        _ => &[Protocol::Http1],
    });
    let sessions = Arc::new(EarlySessions::new(16, Metrics::default()));
    setup.tls = setup.tls.with_tcp_early_data(&sessions);
    (setup, client)
}

async fn arrived(setup: Setup, client: &Client) -> Edge {
    let edge = setup.start().await;
    let mut tasks = JoinSet::new();
    let mut first = Sender::connect(client, edge.address, &mut tasks).await;
    assert_eq!(first.get("/facts").await.unwrap().status(), StatusCode::OK);
    edge
}

fn answered(edge: &Edge, when: Early) -> u64 {
    edge.metrics.early_requests.get_or_create(&when).get()
}

const GET: &[u8] = b"GET /facts HTTP/1.1\r\nHost: localhost\r\n\r\n";
const POST: &[u8] = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nonce";

#[tokio::test]
async fn a_safe_request_in_early_data_is_answered_before_the_handshake_ends() {
    let (edge, config) = known(Protocol::Http1).await;
    let mut client = Returning::connect(&config, edge.address, GET).await;
    let response = client.hear("node 7").await;
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    assert!(client.tls.is_early_data_accepted());
    assert_eq!(client.tls.handshake_kind(), Some(HandshakeKind::Resumed));
    assert_eq!(answered(&edge, Early::AT_ONCE), 1);
    client.tls.writer().write_all(GET).unwrap();
    client.flush().await;
    client.hear("node 7").await;
    assert_eq!(answered(&edge, Early::AT_ONCE), 1);
    assert_eq!(answered(&edge, Early::WAITED), 0);
}

#[tokio::test]
async fn a_request_with_content_in_early_data_waits_for_the_handshake() {
    let (edge, config) = known(Protocol::Http1).await;
    let mut client = Returning::connect(&config, edge.address, POST).await;
    // The node's flight ends its handshake as far as it can; the request has not run by then.
    while client.tls.is_handshaking() {
        let mut piece = vec![0; 64 << 10];
        let length = soon(client.stream.read(&mut piece)).await.unwrap();
        client.tls.read_tls(&mut &piece[..length]).unwrap();
        client.tls.process_new_packets().unwrap();
    }
    assert_eq!(answered(&edge, Early::WAITED), 0);
    client.flush().await;
    let response = client.hear("once").await;
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    assert_eq!(answered(&edge, Early::WAITED), 1);
    assert_eq!(answered(&edge, Early::AT_ONCE), 0);
}

#[tokio::test]
async fn a_repeated_first_flight_runs_nothing_again() {
    let (edge, config) = known(Protocol::Http1).await;
    let mut client = Returning::connect(&config, edge.address, GET).await;
    client.hear("node 7").await;
    let mut copy = TcpStream::connect(edge.address).await.unwrap();
    copy.write_all(&client.first_flight).await.unwrap();
    // The node answers the copy with a full handshake, which nobody can finish.
    assert_ne!(soon(copy.read(&mut [0; 64])).await.unwrap(), 0);
    copy.shutdown().await.unwrap();
    until(|| edge.refused("handshake_failed") == 1).await;
    assert_eq!(answered(&edge, Early::AT_ONCE), 1);
}

#[tokio::test]
async fn a_client_that_never_finishes_its_handshake_is_cut_after_its_time() {
    let (mut setup, client) = setup(Protocol::Http1);
    setup.timeouts.handshake = SHORT;
    let edge = arrived(setup, &client).await;
    let mut client = Returning::connect(&client.config(), edge.address, GET).await;
    client.hear("node 7").await;
    until(|| edge.refused("handshake_timeout") == 1).await;
    until(|| edge.open() == 0).await;
}

#[tokio::test]
async fn a_handshake_under_way_counts_as_half_open_while_early_data_is_answered() {
    let (mut setup, client) = setup(Protocol::Http1);
    setup.limits.handshakes = 1;
    let edge = arrived(setup, &client).await;
    let mut first = Returning::connect(&client.config(), edge.address, GET).await;
    first.hear("node 7").await;
    soon(client.connect(edge.address)).await.unwrap_err();
    assert_eq!(edge.refused("handshake_limit"), 1);
    first.flush().await;
    until(|| edge.open() == 1).await;
    first.tls.writer().write_all(GET).unwrap();
    first.flush().await;
    first.hear("node 7").await;
    soon(client.connect(edge.address)).await.unwrap();
}

#[tokio::test]
async fn where_early_data_is_taken_large_bodies_still_pass_both_ways() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let (setup, client) = setup(protocol);
        let edge = arrived(setup, &client).await;
        let mut tasks = JoinSet::new();
        let stream = soon(client.connect(edge.address)).await.unwrap();
        assert!(is_resumed(&stream));
        let mut sender = Sender::over(stream, &mut tasks).await;
        let body = pattern(3_000_000);
        let upload = request("POST", "/echo", Body::full(body.clone()));
        let response = sender.send(upload).await.unwrap();
        let echoed = soon(response.into_body().collect()).await.unwrap();
        assert!(echoed.to_bytes() == body, "{protocol:?}");
    }
}

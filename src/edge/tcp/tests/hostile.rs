//! Clients that send what they should not. None of them may harm another.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[tokio::test]
async fn plaintext_http_is_told_that_the_port_speaks_tls() {
    let (setup, _) = Setup::new(&[]);
    let edge = setup.start().await;
    for (count, first) in (1..).zip([
        &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
        b"POST /upload HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ]) {
        let answer = answer_to(&edge, first).await;
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("This port speaks TLS"), "{answer}");
        until(|| edge.refused("plaintext_http") == count).await;
    }
}

#[tokio::test]
async fn random_bytes_are_counted_and_closed() {
    let (setup, _) = Setup::new(&[]);
    let edge = setup.start().await;
    for (count, first) in (1..).zip([&[0; 100][..], &[0xff; 3], b"SSH-2.0-OpenSSH\r\n", b"\r\n"]) {
        assert_eq!(answer_to(&edge, first).await, b"");
        until(|| edge.refused("not_tls") == count).await;
    }
    let mut broken_hello = vec![22, 3, 1, 0, 200];
    broken_hello.extend([0xaa; 200]);
    answer_to(&edge, &broken_hello).await;
    until(|| edge.refused("handshake_failed") == 1).await;
    assert_eq!(edge.open(), 0);
    assert_eq!(edge.metrics.panics.get(), 0);
}

#[tokio::test]
async fn garbage_within_tls_ends_its_own_connection() {
    for (protocols, garbage) in [
        (
            &[Protocol::Http1],
            &b"\x00\xff\x13\x37 nonsense\r\n\r\n"[..],
        ),
        (&[Protocol::Http1], b"GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
        (
            &[Protocol::Http2],
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        ),
        (
            &[Protocol::Http2],
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        ),
    ] {
        let (setup, client) = Setup::new(protocols);
        let edge = setup.start().await;
        let mut stream = soon(client.connect(edge.address)).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        drop(soon(stream.read_to_end(&mut Vec::new())).await);
        until(|| edge.open() == 0).await;
        assert_eq!(edge.failed("malformed"), 1, "{garbage:?}");
        assert_eq!(edge.metrics.panics.get(), 0);
    }
}

#[tokio::test]
async fn a_flood_of_garbage_leaves_a_transfer_intact() {
    let (mut setup, client) = Setup::new(&[Protocol::Http2]);
    setup.limits.handshakes = 16;
    let edge = setup.start().await;
    let mut tasks = JoinSet::new();
    let mut sender = Sender::connect(&client, edge.address, &mut tasks).await;
    let response = sender.get("/pattern/20000000").await.unwrap();
    let address = edge.address;
    let mut flood = JoinSet::new();
    for seed in 0..8_u8 {
        flood.spawn(async move {
            for count in 0..50_u8 {
                let first = [22, b'G', 0, 0xff][usize::from(count % 4)];
                let mut garbage = vec![seed ^ count; 1 + usize::from(count) * 40];
                garbage[0] = first;
                let Ok(mut stream) = TcpStream::connect(address).await else {
                    continue;
                };
                drop(stream.write_all(&garbage).await);
            }
        });
    }
    let body = soon(response.into_body().collect())
        .await
        .unwrap()
        .to_bytes();
    soon(flood.join_all()).await;
    assert!(body == pattern(20_000_000), "the transfer was harmed");
    assert_eq!(sender.get("/facts").await.unwrap().status(), StatusCode::OK);
    until(|| edge.open() == 1).await;
    let mut next = Sender::connect(&client, edge.address, &mut tasks).await;
    assert_eq!(next.get("/facts").await.unwrap().status(), StatusCode::OK);
    assert_eq!(edge.metrics.panics.get(), 0);
}

#[tokio::test]
async fn a_handler_that_panics_harms_only_its_request() {
    let (setup, client) = Setup::new(&[Protocol::Http2]);
    let edge = setup.start().await;
    let mut tasks = JoinSet::new();
    let mut sender = Sender::connect(&client, edge.address, &mut tasks).await;
    let Sender::Http2(other) = &sender else {
        panic!("HTTP/2 was asked for")
    };
    let mut other = Sender::Http2(other.clone());
    let origin = edge.origin.clone();
    let panic = async {
        until(|| origin.held() == 1).await;
        let response = other.get("/panic").await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        origin.release();
    };
    let (held, ()) = tokio::join!(sender.get("/hold"), panic);
    assert_eq!(text(held.unwrap()).await, "held");
    assert_eq!(edge.metrics.panics.get(), 1);
}

#[tokio::test]
async fn requests_reset_at_once_end_their_connection() {
    let (setup, client) = Setup::new(&[Protocol::Http2]);
    let edge = setup.start().await;
    let mut tasks = JoinSet::new();
    let mut bystander = Sender::connect(&client, edge.address, &mut tasks).await;
    let mut attacker = RawHttp2::connect(&edge, &client).await;
    let attack = async {
        for stream in (1..100_000).step_by(2) {
            let pair = [request_for_hold(stream), cancel(stream)].concat();
            if attacker.write(&pair).await.is_err() {
                return;
            }
        }
        panic!("50,000 requests were opened and reset");
    };
    soon(attack).await;
    let response = bystander.get("/facts").await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    until(|| edge.origin.held() == 0 && edge.open() == 1).await;
}

#[tokio::test]
async fn a_client_that_cancels_all_its_requests_is_ended() {
    let (setup, client) = Setup::new(&[Protocol::Http2]);
    let edge = setup.start().await;
    let mut attacker = RawHttp2::connect(&edge, &client).await;
    let mut streams = (1..).step_by(2);
    for _ in 0..6 {
        let round: Vec<u32> = streams.by_ref().take(100).collect();
        let requests: Vec<_> = round.iter().flat_map(|&id| request_for_hold(id)).collect();
        attacker.write(&requests).await.unwrap();
        until(|| edge.origin.held() == 100).await;
        let resets: Vec<_> = round.iter().flat_map(|&id| cancel(id)).collect();
        attacker.write(&resets).await.unwrap();
        until(|| edge.origin.held() == 0).await;
    }
    until(|| edge.refused("rapid_reset") == 1 && edge.open() == 0).await;
}

#[tokio::test]
async fn endless_continuation_frames_end_their_connection() {
    let (setup, client) = Setup::new(&[Protocol::Http2]);
    let edge = setup.start().await;
    let mut attacker = RawHttp2::connect(&edge, &client).await;
    attacker
        .write(&frame(HEADERS, 0, 1, &[0x82]))
        .await
        .unwrap();
    let literal = [&[0x00, 1, b'a', 100][..], &[b'b'; 100]].concat();
    let flood = async {
        for _ in 0..100_000 {
            let more = frame(CONTINUATION, 0, 1, &literal);
            if attacker.write(&more).await.is_err() {
                return;
            }
        }
        panic!("10 MB of one header section were taken");
    };
    soon(flood).await;
    until(|| edge.open() == 0).await;
}

/// A client that writes the frames it likes and reads none.
struct RawHttp2(ClientStream);

impl RawHttp2 {
    async fn connect(edge: &Edge, client: &Client) -> Self {
        let mut raw = Self(soon(client.connect(edge.address)).await.unwrap());
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        raw.write(preface).await.unwrap();
        raw.write(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        raw
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        soon(self.0.write_all(bytes)).await?;
        soon(self.0.flush()).await
    }
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;

fn request_for_hold(stream: u32) -> Vec<u8> {
    const END_STREAM_AND_HEADERS: u8 = 0x5;
    // GET and https from the static table, path and authority as literals (RFC 7541).
    let fields = b"\x82\x87\x04\x05/hold\x01\x09localhost";
    frame(HEADERS, END_STREAM_AND_HEADERS, stream, fields)
}

fn cancel(stream: u32) -> Vec<u8> {
    let code = u32::from(h2::Reason::CANCEL).to_be_bytes();
    frame(RST_STREAM, 0, stream, &code)
}

async fn answer_to(edge: &Edge, first: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(edge.address).await.unwrap();
    stream.write_all(first).await.unwrap();
    let mut answer = Vec::new();
    drop(soon(stream.read_to_end(&mut answer)).await);
    answer
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

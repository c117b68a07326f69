//! Backends that are told of clients by the PROXY protocol.

use super::pools::pooled;
use super::*;
use crate::config::{Probe, ProxyProtocol};
use crate::request::ClientCertificate;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const EMPTY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// Reads a header of version 2: its command and family, and what follows.
async fn announced(peer: &mut Peer) -> (u8, u8, Vec<u8>) {
    let mut head = [0; 16];
    within(peer.stream.read_exact(&mut head)).await.unwrap();
    assert_eq!(&head[..12], SIGNATURE);
    let mut rest = vec![0; usize::from(u16::from_be_bytes([head[14], head[15]]))];
    within(peer.stream.read_exact(&mut rest)).await.unwrap();
    (head[12], head[13], rest)
}

fn from(address: &str) -> ClientFacts {
    let local = "198.51.100.1:443".parse().unwrap();
    ClientFacts::new(Arc::default(), address.parse().unwrap(), local)
}

#[tokio::test]
async fn a_connection_begins_with_its_client_and_serves_no_other() {
    let backend = Backend::bind().await;
    let (bridge, _) = pooled(vec![backend.upstream(UpstreamProtocol::Http1)], |pool| {
        pool.proxy_protocol = ProxyProtocol::V2;
    });
    let mut peers = Vec::new();
    for (client, source) in [
        (
            "192.0.2.7:5000",
            [192, 0, 2, 7, 198, 51, 100, 1, 0x13, 0x88],
        ),
        (
            "192.0.2.7:5001",
            [192, 0, 2, 7, 198, 51, 100, 1, 0x13, 0x89],
        ),
        (
            "192.0.2.8:5000",
            [192, 0, 2, 8, 198, 51, 100, 1, 0x13, 0x88],
        ),
    ] {
        let request = request("GET", Body::empty());
        let call = Call::start_as(from(client), &bridge, request);
        let mut peer = backend.accept().await;
        let (command, family, rest) = announced(&mut peer).await;
        assert_eq!((command, family), (0x21, 0x11), "{client}");
        assert_eq!(rest[..10], source, "{client}");
        assert!(peer.hear("\r\n\r\n").await.starts_with("GET /path"));
        peer.say(EMPTY).await;
        call.answer().await.unwrap();
        peers.push((client, peer));
    }
    for (client, peer) in &mut peers {
        let request = request("GET", Body::empty());
        let call = Call::start_as(from(client), &bridge, request);
        assert!(
            peer.hear("\r\n\r\n").await.starts_with("GET /path"),
            "{client}"
        );
        peer.say(EMPTY).await;
        call.answer().await.unwrap();
    }
}

#[tokio::test]
async fn a_probe_names_nobody() {
    let backend = Backend::bind().await;
    let (_bridge, _) = pooled(vec![backend.upstream(UpstreamProtocol::Http1)], |pool| {
        pool.proxy_protocol = ProxyProtocol::V2;
        pool.probe = Probe::Path("/health".to_owned());
        pool.probe_interval = Duration::from_millis(10);
    });
    let mut peer = backend.accept().await;
    assert_eq!(announced(&mut peer).await, (0x20, 0x00, Vec::new()));
    assert!(peer.hear("\r\n\r\n").await.starts_with("GET /health "));
}

#[tokio::test]
async fn clients_that_are_many_do_not_pass_the_bound_of_connections() {
    let backend = Backend::bind().await;
    let (bridge, metrics) = pooled(vec![backend.upstream(UpstreamProtocol::Http1)], |pool| {
        pool.proxy_protocol = ProxyProtocol::V2;
        pool.connections = Some(2);
    });
    let mut peers = Vec::new();
    for port in 5000..5006 {
        let client = from(&format!("192.0.2.7:{port}"));
        let call = Call::start_as(client, &bridge, request("GET", Body::empty()));
        let mut peer = backend.accept().await;
        announced(&mut peer).await;
        peer.hear("\r\n\r\n").await;
        peer.say(EMPTY).await;
        call.answer().await.unwrap();
        peers.push(peer);
    }
    for peer in peers.drain(..4) {
        assert_eq!(peer.hear_end().await, b"");
    }
    assert_eq!(connections::open(&metrics), 2);
}

#[tokio::test]
async fn a_backend_is_told_whether_its_client_has_a_certificate() {
    let backend = Backend::bind().await;
    let (bridge, _) = pooled(vec![backend.upstream(UpstreamProtocol::Http1)], |pool| {
        pool.proxy_protocol = ProxyProtocol::V2;
    });
    let mut peers = Vec::new();
    // The client's flags, and zero for a certificate that was verified.
    for (has, said) in [(false, [1, 0, 0, 0, 1]), (true, [5, 0, 0, 0, 0])] {
        let certificate = has.then(|| {
            let certificate = ClientCertificate::new(vec![1], Vec::new(), Vec::new());
            Arc::new(certificate)
        });
        let client = from("192.0.2.7:5000").proven_by(certificate);
        let call = Call::start_as(client, &bridge, request("GET", Body::empty()));
        let mut peer = backend.accept().await;
        let (_, _, rest) = announced(&mut peer).await;
        let tls = rest.windows(8).find(|part| part[..2] == [0x20, 0]);
        assert_eq!(tls.unwrap()[3..], said, "{has}");
        peer.hear("\r\n\r\n").await;
        peer.say(EMPTY).await;
        call.answer().await.unwrap();
        peers.push(peer);
    }
}

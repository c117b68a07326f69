//! Claims about tunnels to backends.

use super::*;
use crate::request::{ConnectProtocol, websocket};

pub(super) fn asking(fields: &[(&str, &str)], body: Body) -> Request<Body> {
    let mut request = request("CONNECT", body);
    let protocol = ConnectProtocol::new(b"websocket").unwrap();
    request.extensions_mut().insert(protocol);
    for &(name, value) in fields {
        let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
        request.headers_mut().append(name, value.parse().unwrap());
    }
    request
}

pub(super) fn switch(head: &str) -> String {
    let (_, key) = head.split_once("sec-websocket-key: ").unwrap();
    let (key, _) = key.split_once("\r\n").unwrap();
    assert!(websocket::is_key(key.as_bytes()));
    let accept = websocket::accept(key.as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n\
         Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: chat\r\n\r\nhello",
        accept.to_str().unwrap()
    )
}

#[tokio::test]
async fn a_websocket_is_asked_for_by_an_upgrade() {
    let backend = Backend::bind().await;
    let bridge = bridge(&backend, UpstreamProtocol::Http1);
    let own_key = "dGhlIHNhbXBsZSBub25jZQ==";
    let fields = [
        ("cookie", "a=b"),
        ("cookie", "c=d"),
        ("sec-websocket-key", own_key),
        ("sec-websocket-protocol", "chat"),
        ("x-forwarded-for", "10.0.0.1"),
    ];
    let (client, body) = pieces();
    let call = Call::start(&bridge, asking(&fields, body));
    let mut peer = backend.accept().await;
    let head = peer.hear("\r\n\r\n").await;
    assert!(head.starts_with("GET /path?query HTTP/1.1\r\n"), "{head}");
    for line in [
        "host: gw.test\r\n",
        "connection: Upgrade\r\n",
        "upgrade: websocket\r\n",
        "sec-websocket-version: 13\r\n",
        "sec-websocket-protocol: chat\r\n",
        "cookie: a=b; c=d\r\n",
        "x-forwarded-for: 192.0.2.7\r\n",
    ] {
        assert!(head.contains(line), "{line}: {head}");
    }
    assert!(!head.contains(own_key) && !head.contains("content-length"));
    peer.say(&switch(&head)).await;
    let mut response = call.answer().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let names = ["connection", "upgrade", "sec-websocket-accept"];
    assert!(
        names
            .iter()
            .all(|name| !response.headers().contains_key(*name))
    );
    assert_eq!(response.headers()["sec-websocket-protocol"], "chat");
    let said = next(response.body_mut()).await.unwrap().unwrap();
    assert_eq!(&said.into_data().unwrap()[..], b"hello");
    client.send(data("answer")).await.unwrap();
    assert_eq!(peer.hear("answer").await, "answer");
}

#[tokio::test]
async fn a_tunnel_takes_a_place_until_both_its_directions_have_ended() {
    let backend = Backend::bind().await;
    let limits = Limits {
        upstream_requests: 1,
        ..Limits::default()
    };
    let upstreams = vec![backend.upstream(UpstreamProtocol::Http1)];
    let bridge = bridge_to(upstreams, &limits, &Timeouts::default());
    let (client, body) = pieces();
    let call = Call::start(&bridge, asking(&[], body));
    let mut peer = backend.accept().await;
    let head = peer.hear("\r\n\r\n").await;
    peer.say(&switch(&head)).await;
    let mut response = call.answer().await.unwrap();
    peer.stream.shutdown().await.unwrap();
    while next(response.body_mut()).await.is_some() {}
    let refused = ask(&bridge, request("GET", Body::empty())).await.map(drop);
    assert_eq!(refused, Err(RequestError::Overloaded));
    drop(client);
    assert_eq!(peer.hear_end().await, b"");
    let free = async {
        loop {
            let call = Call::start(&bridge, request("GET", Body::empty()));
            tokio::select! {
                _peer = backend.accept() => return,
                answer = call.answer() => {
                    assert_eq!(answer.map(drop), Err(RequestError::Overloaded));
                }
            }
        }
    };
    within(free).await;
}

#[tokio::test]
async fn a_backend_that_does_not_answer_in_time_opens_no_tunnel() {
    let backend = Backend::bind().await;
    let timeouts = Timeouts {
        connect: Duration::from_millis(50),
        first_byte: Duration::from_millis(50),
        ..Timeouts::default()
    };
    // One over HTTP/2 has not even sent its SETTINGS.
    for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
        let upstreams = vec![backend.upstream(protocol)];
        let bridge = bridge_to(upstreams, &Limits::default(), &timeouts);
        let (_client, body) = pieces();
        let answer = ask(&bridge, asking(&[], body)).await.map(drop);
        assert_eq!(answer, Err(RequestError::UpstreamTimeout));
    }
}

#[tokio::test]
async fn what_is_no_websocket_is_not_implemented() {
    let backend = Backend::bind().await;
    let bridge = bridge(&backend, UpstreamProtocol::Http1);
    let mut other = request("CONNECT", Body::empty());
    let protocol = ConnectProtocol::new(b"connect-ip").unwrap();
    other.extensions_mut().insert(protocol);
    for request in [request("CONNECT", Body::empty()), other] {
        let answer = ask(&bridge, request).await.map(drop);
        assert_eq!(answer, Err(RequestError::NotImplemented));
    }
}

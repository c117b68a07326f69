//! Which connections to backends of HTTP/1.1 are kept, how many there are, and when they end.

use super::pools::pooled;
use super::*;
use crate::request::ConnectProtocol;

const HTTP1: UpstreamProtocol = UpstreamProtocol::Http1;
const EMPTY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

async fn asked(backend: &Backend, bridge: &Arc<Bridge>) -> (Call, Peer) {
    let call = Call::start(bridge, request("GET", Body::empty()));
    let mut peer = backend.accept().await;
    peer.hear("\r\n\r\n").await;
    (call, peer)
}

pub(super) fn open(metrics: &Metrics) -> i64 {
    let label = PoolLabel {
        pool: "app".to_owned(),
    };
    metrics.pools.connections.get_or_create(&label).get()
}

#[tokio::test]
async fn an_idle_connection_is_closed_when_its_time_is_over() {
    let backend = Backend::bind().await;
    let timeouts = Timeouts {
        upstream_idle: Duration::from_millis(50),
        ..Timeouts::default()
    };
    let bridge = bridge_to(vec![backend.upstream(HTTP1)], &Limits::default(), &timeouts);
    let (call, mut peer) = asked(&backend, &bridge).await;
    // Longer than an idle connection is kept, in which it is not idle.
    tokio::time::sleep(2 * timeouts.upstream_idle).await;
    peer.say(EMPTY).await;
    call.answer().await.unwrap();
    assert_eq!(peer.hear_end().await, b"");
    asked(&backend, &bridge).await;
}

#[tokio::test]
async fn no_more_idle_connections_are_kept_than_are_allowed() {
    let backend = Backend::bind().await;
    let limits = Limits {
        upstream_idle: 1,
        ..Limits::default()
    };
    let bridge = bridge_to(vec![backend.upstream(HTTP1)], &limits, &Timeouts::default());
    let (one, mut first) = asked(&backend, &bridge).await;
    let (two, mut second) = asked(&backend, &bridge).await;
    for (call, peer) in [(one, &mut first), (two, &mut second)] {
        peer.say(EMPTY).await;
        call.answer().await.unwrap();
    }
    assert_eq!(first.hear_end().await, b"", "the oldest makes way");
    let call = Call::start(&bridge, request("GET", Body::empty()));
    second.hear("\r\n\r\n").await;
    second.say(EMPTY).await;
    call.answer().await.unwrap();
}

#[tokio::test]
async fn a_bridge_that_is_dropped_ends_its_connections_when_its_requests_have_ended() {
    let backend = Backend::bind().await;
    let bridge = bridge(&backend, HTTP1);
    let (one, mut idle) = asked(&backend, &bridge).await;
    let (two, mut busy) = asked(&backend, &bridge).await;
    idle.say(EMPTY).await;
    one.answer().await.unwrap();
    busy.say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nh")
        .await;
    let response = two.answer().await.unwrap();
    drop(bridge);
    busy.say("i").await;
    assert_eq!(text(response).await, "hi");
    assert_eq!(busy.hear_end().await, b"");
    assert_eq!(idle.hear_end().await, b"");
}

#[tokio::test]
async fn a_request_beyond_the_connections_waits_for_one() {
    let backend = Backend::bind().await;
    let (bridge, metrics) = pooled(vec![backend.upstream(HTTP1)], |pool| {
        pool.connections = Some(1);
        pool.queue.burst = Duration::from_secs(20);
    });
    let (one, mut peer) = asked(&backend, &bridge).await;
    let two = Call::start(&bridge, request("GET", Body::empty()));
    let none = timeout(Duration::from_millis(50), backend.0.accept()).await;
    assert!(none.is_err(), "a second connection");
    for call in [one, two] {
        peer.say(EMPTY).await;
        call.answer().await.unwrap();
        assert_eq!(open(&metrics), 1);
    }
}

#[tokio::test]
async fn a_request_that_gets_no_connection_in_time_is_refused_with_the_reason() {
    let backend = Backend::bind().await;
    let (bridge, _) = pooled(vec![backend.upstream(HTTP1)], |pool| {
        pool.connections = Some(1);
        pool.queue.burst = Duration::from_millis(20);
    });
    let (one, mut peer) = asked(&backend, &bridge).await;
    let error = ask(&bridge, request("POST", Body::empty()))
        .await
        .unwrap_err();
    assert_eq!(error, RequestError::UpstreamConnections);
    assert_eq!(error.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(error.reason(), "upstream_connections");
    assert_eq!(error.proxy_error(), Some("connection_limit_reached"));
    // It is no fault of the backend.
    assert_eq!(bridge.backends()[0].unfit, None);
    peer.say(EMPTY).await;
    one.answer().await.unwrap();
}

#[tokio::test]
async fn a_connection_that_fails_gives_its_place_back() {
    let backend = Backend::bind().await;
    let (bridge, metrics) = pooled(vec![backend.upstream(HTTP1)], |pool| {
        pool.connections = Some(1);
        pool.queue.burst = Duration::from_secs(20);
        pool.health.failures = 0;
    });
    for answer in ["nonsense\r\n\r\n", "", "HTTP/1.1 200 OK\r\n\r\nrest", EMPTY] {
        let call = Call::start(&bridge, request("POST", Body::empty()));
        let mut peer = backend.accept().await;
        peer.hear("\r\n\r\n").await;
        peer.say(answer).await;
        drop(peer);
        if let Ok(response) = call.answer().await {
            text(response).await;
        }
    }
    let (call, peer) = asked(&backend, &bridge).await;
    drop(call);
    assert_eq!(peer.hear_end().await, b"");
    asked(&backend, &bridge).await;
    drop(bridge);
    while open(&metrics) > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_tunnel_takes_the_place_of_an_idle_connection() {
    let backend = Backend::bind().await;
    let (bridge, metrics) = pooled(vec![backend.upstream(HTTP1)], |pool| {
        pool.connections = Some(1);
        pool.queue.burst = Duration::from_millis(20);
    });
    let (one, mut peer) = asked(&backend, &bridge).await;
    peer.say(EMPTY).await;
    one.answer().await.unwrap();
    let (client, body) = pieces();
    let mut tunnel = request("CONNECT", body);
    let protocol = ConnectProtocol::new(b"websocket").unwrap();
    tunnel.extensions_mut().insert(protocol);
    let call = Call::start(&bridge, tunnel);
    let mut tunnelled = backend.accept().await;
    let head = tunnelled.hear("\r\n\r\n").await;
    assert_eq!(peer.hear_end().await, b"");
    tunnelled.say(&tunnel::switch(&head)).await;
    let response = call.answer().await.unwrap();
    assert_eq!(open(&metrics), 1);
    let refused = ask(&bridge, request("GET", Body::empty())).await.map(drop);
    assert_eq!(refused, Err(RequestError::UpstreamConnections));
    drop((client, response, tunnelled));
    while open(&metrics) > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_response_that_waits_for_its_client_holds_no_connection_once_it_is_whole() {
    let backend = Backend::bind().await;
    let bridge = bridge(&backend, HTTP1);
    let (one, mut peer) = asked(&backend, &bridge).await;
    peer.say("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\none")
        .await;
    let first = one.answer().await.unwrap();
    let two = Call::start(&bridge, request("GET", Body::empty()));
    peer.hear("\r\n\r\n").await;
    drop(first);
    peer.say("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\ntwo")
        .await;
    assert_eq!(text(two.answer().await.unwrap()).await, "two");
}

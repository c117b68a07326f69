//! What clients see of backends that break the rules of HTTP/1.1, and that nothing more is sent on their
//! connections.

use super::connections::open;
use super::outcome::{MALFORMED, Outcome, outcome};
use super::pools::pooled;
use super::*;

const HTTP1: UpstreamProtocol = UpstreamProtocol::Http1;

const TOO_LARGE: Outcome = Outcome::Refused(
    RequestError::UpstreamHeaders,
    "http_response_header_section_size",
);

/// What a backend says, in place of or behind a proper response; its connection it keeps open.
const ROWS: &[(&str, Outcome)] = &[
    // No status line.
    ("\x16\x03\x01\x02\x00\x01\x00\x01", MALFORMED),
    ("nonsense\r\n\r\n", MALFORMED),
    ("GET / HTTP/1.1\r\n\r\n", MALFORMED),
    ("<html>503</html>\r\n\r\n", MALFORMED),
    // Another version.
    ("HTTP/2.0 200 OK\r\n\r\n", MALFORMED),
    ("HTTP/2 200 OK\r\n\r\n", MALFORMED),
    ("HTTP/1.2 200 OK\r\n\r\n", MALFORMED),
    ("HTTP/0.9 200 OK\r\n\r\n", MALFORMED),
    ("HTTPS/1.1 200 OK\r\n\r\n", MALFORMED),
    // No status.
    ("HTTP/1.1 2000 OK\r\n\r\n", MALFORMED),
    ("HTTP/1.1 099 OK\r\n\r\n", MALFORMED),
    ("HTTP/1.1 -20 OK\r\n\r\n", MALFORMED),
    ("HTTP/1.1 OK\r\n\r\n", MALFORMED),
    // Fields that are none.
    ("HTTP/1.1 200 OK\r\nx y: z\r\n\r\n", MALFORMED),
    ("HTTP/1.1 200 OK\r\nx : z\r\n\r\n", MALFORMED),
    ("HTTP/1.1 200 OK\r\n: z\r\n\r\n", MALFORMED),
    ("HTTP/1.1 200 OK\r\nx: a\r\n b\r\n\r\n", MALFORMED),
    ("HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n", MALFORMED),
    ("HTTP/1.1 200 OK\r\nx: a\rb: c\r\n\r\n", MALFORMED),
    // Two ends, or none that all agree on.
    (
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        MALFORMED,
    ),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 0\r\n\r\n0\r\n\r\n",
        MALFORMED,
    ),
    (
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxy",
        MALFORMED,
    ),
    (
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\nx",
        MALFORMED,
    ),
    (
        "HTTP/1.1 200 OK\r\ncontent-length: 1, 2\r\n\r\nxy",
        MALFORMED,
    ),
    ("HTTP/1.1 200 OK\r\ncontent-length: +1\r\n\r\nx", MALFORMED),
    ("HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", MALFORMED),
    ("HTTP/1.1 200 OK\r\ncontent-length: 0x1\r\n\r\nx", MALFORMED),
    (
        "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551616\r\n\r\n",
        MALFORMED,
    ),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nx",
        MALFORMED,
    ),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        MALFORMED,
    ),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        MALFORMED,
    ),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        MALFORMED,
    ),
    (
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        MALFORMED,
    ),
    // A switch that nobody asked for.
    (
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        MALFORMED,
    ),
    // Chunks that are none.
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n",
        Outcome::Cut,
    ),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-1\r\n",
        Outcome::Cut,
    ),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0x1\r\n",
        Outcome::Cut,
    ),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n11111111111111111\r\n",
        Outcome::Cut,
    ),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhixx0\r\n\r\n",
        Outcome::Cut,
    ),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\nhi",
        Outcome::Cut,
    ),
    // More than the response.
    (
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi!",
        Outcome::Whole,
    ),
    (
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\n\r\n",
        Outcome::Whole,
    ),
    (
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n0",
        Outcome::Whole,
    ),
    (
        "HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\nhi",
        Outcome::Whole,
    ),
    ("HTTP/1.1 304 Not Modified\r\n\r\nhi", Outcome::Whole),
    // The last one.
    (
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi",
        Outcome::Whole,
    ),
    (
        "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi",
        Outcome::Whole,
    ),
];

/// Lets a backend answer a GET, and holds that its connection is closed and the next request gets another.
async fn holds(answer: &str, expected: Outcome) {
    let backend = Backend::bind().await;
    let bridge = bridge(&backend, HTTP1);
    let call = Call::start(&bridge, request("GET", Body::empty()));
    let mut peer = backend.accept().await;
    peer.hear("\r\n\r\n").await;
    // The bridge may close before it has read all of it.
    let _broken = peer.stream.write_all(answer.as_bytes()).await;
    assert_eq!(outcome(call).await, expected, "{answer:.200?}");
    assert_eq!(peer.hear_end().await, b"", "{answer:.200?}");
    let next = Call::start(&bridge, request("POST", Body::empty()));
    let mut peer = backend.accept().await;
    peer.hear("\r\n\r\n").await;
    peer.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        .await;
    assert_eq!(outcome(next).await, Outcome::Whole, "{answer:.200?}");
}

#[tokio::test]
async fn a_bad_response_is_a_bad_gateway_with_its_reason_and_ends_its_connection() {
    for (answer, expected) in ROWS {
        holds(answer, *expected).await;
    }
    if let Outcome::Refused(error, _) = MALFORMED {
        assert_eq!(error.status(), StatusCode::BAD_GATEWAY);
    }
}

#[tokio::test]
async fn a_header_section_that_is_too_large_is_refused_before_its_end() {
    let line = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(100_000));
    let many = "x: y\r\n".repeat(101);
    for answer in [line, format!("HTTP/1.1 200 OK\r\n{many}\r\n")] {
        holds(&answer, TOO_LARGE).await;
    }
}

#[tokio::test]
async fn what_is_cut_short_is_broken_off_and_never_ended() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n",
    ] {
        for reset in [false, true] {
            let backend = Backend::bind().await;
            let bridge = bridge(&backend, HTTP1);
            let call = Call::start(&bridge, request("GET", Body::empty()));
            let mut peer = backend.accept().await;
            peer.hear("\r\n\r\n").await;
            peer.say(answer).await;
            let mut body = call.answer().await.unwrap().into_body();
            let first = next(&mut body).await.unwrap().unwrap();
            assert_eq!(first.into_data().unwrap(), "hi", "{answer}");
            if reset {
                peer.stream.set_zero_linger().unwrap();
            }
            drop(peer);
            let end = next(&mut body).await.unwrap().map(drop);
            assert_eq!(end, Err(BodyError::UpstreamGone), "{answer}");
        }
    }
}

#[tokio::test]
async fn a_response_before_the_end_of_its_request_ends_the_connection() {
    let backend = Backend::bind().await;
    let bridge = bridge(&backend, HTTP1);
    let (sender, body) = pieces();
    let call = Call::start(&bridge, request("POST", body));
    let mut peer = backend.accept().await;
    peer.hear("\r\n\r\n").await;
    peer.say("HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\nno")
        .await;
    let response = call.answer().await.unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(text(response).await, "no");
    assert_eq!(peer.hear_end().await, b"", "the body was never ended");
    drop(sender);
}

#[tokio::test]
async fn a_backend_that_answers_and_does_not_read_the_rest_is_left() {
    let backend = Backend::bind().await;
    let (bridge, metrics) = pooled(vec![backend.upstream(HTTP1)], |_| {});
    let endless = Body::full(vec![0; 64 << 20]);
    let call = Call::start(&bridge, request("POST", endless));
    let mut peer = backend.accept().await;
    peer.hear("\r\n\r\n").await;
    peer.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        .await;
    drop(call.answer().await.unwrap());
    let left = async {
        while open(&metrics) > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(left).await;
}

#[tokio::test]
async fn bytes_on_an_idle_connection_end_it_and_are_nobodys_response() {
    let backend = Backend::bind().await;
    let bridge = bridge(&backend, HTTP1);
    let call = Call::start(&bridge, request("GET", Body::empty()));
    let mut peer = backend.accept().await;
    peer.hear("\r\n\r\n").await;
    peer.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        .await;
    assert_eq!(outcome(call).await, Outcome::Whole);
    peer.say("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison")
        .await;
    assert_eq!(peer.hear_end().await, b"");
    let call = Call::start(&bridge, request("POST", Body::empty()));
    let mut peer = backend.accept().await;
    peer.hear("\r\n\r\n").await;
    peer.say("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood")
        .await;
    assert_eq!(text(call.answer().await.unwrap()).await, "good");
}

#[tokio::test]
async fn a_connection_whose_backend_has_ended_its_direction_is_closed() {
    let backend = Backend::bind().await;
    let bridge = bridge(&backend, HTTP1);
    let call = Call::start(&bridge, request("GET", Body::empty()));
    let mut peer = backend.accept().await;
    peer.hear("\r\n\r\n").await;
    peer.say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")
        .await;
    peer.stream.shutdown().await.unwrap();
    assert_eq!(text(call.answer().await.unwrap()).await, "hi");
    assert_eq!(peer.hear_end().await, b"");
    let call = Call::start(&bridge, request("POST", Body::empty()));
    backend.accept().await.hear("\r\n\r\n").await;
    drop(call);
}

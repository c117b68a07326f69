//! Requests in early data (RFC 8470).

use super::*;

const TOO_EARLY: &str = "HTTP/1.1 425 Too Early\r\ncontent-length: 0\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

fn early(handshake: Handshake) -> ClientFacts {
    let mut client = client().after(handshake);
    client.early_data = true;
    client
}

fn get() -> Request<Body> {
    request("GET", Body::empty())
}

#[tokio::test]
async fn a_backend_that_finds_a_request_too_early_gets_it_again_after_the_handshake() {
    let backend = Backend::bind().await;
    let bridge = bridge(&backend, UpstreamProtocol::Http1);
    let (end, handshake) = Handshake::under_way();
    let call = Call::start_as(early(handshake), &bridge, get());
    let mut peer = backend.accept().await;
    assert!(peer.hear("\r\n\r\n").await.contains("early-data: 1\r\n"));
    peer.say(TOO_EARLY).await;
    let waiting = timeout(Duration::from_millis(50), peer.hear("\r\n\r\n")).await;
    assert!(
        waiting.is_err(),
        "it was sent before the end of the handshake"
    );
    end.complete();
    assert!(!peer.hear("\r\n\r\n").await.contains("early-data"));
    peer.say(OK).await;
    assert_eq!(call.answer().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_request_is_too_early_once() {
    let backend = Backend::bind().await;
    let bridge = bridge(&backend, UpstreamProtocol::Http1);
    let call = Call::start_as(early(Handshake::default()), &bridge, get());
    let mut peer = backend.accept().await;
    for _ in 0..2 {
        peer.hear("\r\n\r\n").await;
        peer.say(TOO_EARLY).await;
    }
    let answer = call.answer().await.unwrap();
    assert_eq!(answer.status(), StatusCode::TOO_EARLY);
}

#[tokio::test]
async fn a_request_that_was_not_early_is_not_sent_again() {
    let backend = Backend::bind().await;
    let bridge = bridge(&backend, UpstreamProtocol::Http1);
    let call = Call::start(&bridge, get());
    let mut peer = backend.accept().await;
    assert!(!peer.hear("\r\n\r\n").await.contains("early-data"));
    peer.say(TOO_EARLY).await;
    let answer = call.answer().await.unwrap();
    assert_eq!(answer.status(), StatusCode::TOO_EARLY);
}

#[tokio::test]
async fn a_request_whose_handshake_fails_is_not_sent_again() {
    let backend = Backend::bind().await;
    let bridge = bridge(&backend, UpstreamProtocol::Http1);
    let (end, handshake) = Handshake::under_way();
    let call = Call::start_as(early(handshake), &bridge, get());
    let mut peer = backend.accept().await;
    peer.hear("\r\n\r\n").await;
    peer.say(TOO_EARLY).await;
    drop(end);
    let error = call.answer().await.map(drop).unwrap_err();
    assert_eq!(error, RequestError::Body(BodyError::ClientGone));
}

//! What clients see of backends that break the rules of HTTP/2, or end a connection or a request by them.

use super::outcome::{MALFORMED, Outcome, outcome};
use super::pools::pooled;
use super::*;

const HTTP2: UpstreamProtocol = UpstreamProtocol::Http2;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A literal field without indexing (RFC 7541, section 6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut field = vec![0, u8::try_from(name.len()).unwrap()];
    field.extend(name.as_bytes());
    field.push(u8::try_from(value.len()).unwrap());
    field.extend(value.as_bytes());
    field
}

fn headers(flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    let block: Vec<_> = fields
        .iter()
        .flat_map(|(name, value)| field(name, value))
        .collect();
    frame(HEADERS, END_HEADERS | flags, 1, &block)
}

fn goaway(last: u32, code: u32) -> Vec<u8> {
    frame(
        GOAWAY,
        0,
        0,
        &[last.to_be_bytes(), code.to_be_bytes()].concat(),
    )
}

fn reset(code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, 1, &code.to_be_bytes())
}

/// Takes the first request of a connection.
async fn asked(backend: &Backend) -> Peer {
    let mut peer = backend.accept().await;
    let mut preface = [0; 24];
    within(peer.stream.read_exact(&mut preface)).await.unwrap();
    let settings = frame(SETTINGS, 0, 0, &[]);
    peer.stream.write_all(&settings).await.unwrap();
    loop {
        let mut head = [0; 9];
        within(peer.stream.read_exact(&mut head)).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        within(peer.stream.read_exact(&mut payload)).await.unwrap();
        if head[3] == SETTINGS && head[4] == 0 {
            let acknowledged = frame(SETTINGS, 1, 0, &[]);
            peer.stream.write_all(&acknowledged).await.unwrap();
        }
        if head[3] == HEADERS {
            return peer;
        }
    }
}

const BROKEN: Outcome = Outcome::Refused(RequestError::UpstreamBroken, "connection_terminated");
const REFUSED: Outcome = Outcome::Refused(RequestError::UpstreamRefused, "connection_terminated");

/// What a backend says to a request, and what the client gets.
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn rows() -> Vec<(&'static str, Vec<u8>, Outcome)> {
    let ok = (":status", "200");
    let begun = headers(0, &[ok]);
    let then = |rest: Vec<u8>| [begun.clone(), rest].concat();
    vec![
        ("no status", headers(END_STREAM, &[("x", "y")]), MALFORMED),
        ("two", headers(END_STREAM, &[ok, ok]), MALFORMED),
        (
            "of a request",
            headers(END_STREAM, &[ok, (":path", "/")]),
            Outcome::Whole,
        ),
        (
            "unknown",
            headers(END_STREAM, &[ok, (":x", "y")]),
            MALFORMED,
        ),
        ("late", headers(END_STREAM, &[("x", "y"), ok]), MALFORMED),
        (
            "no number",
            headers(END_STREAM, &[(":status", "2x0")]),
            MALFORMED,
        ),
        (
            "upper case",
            headers(END_STREAM, &[ok, ("X", "y")]),
            MALFORMED,
        ),
        (
            "hop by hop",
            headers(END_STREAM, &[ok, ("connection", "close")]),
            MALFORMED,
        ),
        (
            "framing",
            headers(END_STREAM, &[ok, ("transfer-encoding", "chunked")]),
            MALFORMED,
        ),
        (
            "a line",
            headers(END_STREAM, &[ok, ("x", "a\r\nb")]),
            MALFORMED,
        ),
        (
            "two lengths",
            headers(
                END_STREAM,
                &[ok, ("content-length", "1"), ("content-length", "2")],
            ),
            MALFORMED,
        ),
        (
            "no length",
            headers(END_STREAM, &[ok, ("content-length", "-1")]),
            MALFORMED,
        ),
        (
            "switch",
            headers(END_STREAM, &[(":status", "101")]),
            MALFORMED,
        ),
        (
            "compression",
            frame(HEADERS, END_HEADERS, 1, &[0xff; 20]),
            MALFORMED,
        ),
        ("no response", frame(DATA, END_STREAM, 1, b"x"), MALFORMED),
        (
            "another stream",
            frame(HEADERS, END_HEADERS, 3, &field(":status", "200")),
            MALFORMED,
        ),
        (
            "its own stream",
            frame(HEADERS, END_HEADERS, 2, &field(":status", "200")),
            MALFORMED,
        ),
        (
            "too large",
            frame(DATA, 0, 1, &[0; (16 << 10) + 1]),
            MALFORMED,
        ),
        (
            "window of nothing",
            frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
            MALFORMED,
        ),
        (
            "push",
            frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]),
            MALFORMED,
        ),
        ("half a setting", frame(SETTINGS, 0, 0, &[0; 5]), MALFORMED),
        (
            "settings of a stream",
            frame(SETTINGS, 0, 1, &[]),
            MALFORMED,
        ),
        ("refused", reset(7), REFUSED),
        ("failed", reset(2), BROKEN),
        ("going away", goaway(0, 0), REFUSED),
        ("going away in anger", goaway(0, 2), REFUSED),
        ("cut by a reset", then(reset(2)), Outcome::Cut),
        ("cut by none", then(reset(0)), Outcome::Cut),
        ("cut by a leave", then(reset(8)), Outcome::Cut),
        (
            "whole, and then left",
            [
                headers(0, &[ok, ("content-length", "2")]),
                frame(DATA, END_STREAM, 1, b"hi"),
                reset(0),
            ]
            .concat(),
            Outcome::Whole,
        ),
        (
            "whole with trailers, and then left",
            [
                begun.clone(),
                frame(HEADERS, END_HEADERS | END_STREAM, 1, &field("x", "y")),
                reset(0),
            ]
            .concat(),
            Outcome::Whole,
        ),
        (
            "cut by a frame",
            then(frame(DATA, 0, 1, &[0; (16 << 10) + 1])),
            Outcome::Cut,
        ),
        (
            "less than its length",
            [
                headers(0, &[ok, ("content-length", "3")]),
                frame(DATA, END_STREAM, 1, b"hi"),
            ]
            .concat(),
            Outcome::Cut,
        ),
        (
            "more than its length",
            [
                headers(0, &[ok, ("content-length", "1")]),
                frame(DATA, END_STREAM, 1, b"hi"),
            ]
            .concat(),
            Outcome::Cut,
        ),
        (
            "trailers that are none",
            then(frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                1,
                &field(":status", "200"),
            )),
            Outcome::Whole,
        ),
    ]
}

#[tokio::test]
async fn a_bad_response_is_a_bad_gateway_with_its_reason_or_broken_off() {
    let mut wrong = Vec::new();
    for (what, answer, expected) in rows() {
        let backend = Backend::bind().await;
        let (bridge, _) = pooled(vec![backend.upstream(HTTP2)], |pool| {
            pool.retry.attempts = 0;
        });
        let call = Call::start(&bridge, request("POST", Body::empty()));
        let mut peer = asked(&backend).await;
        peer.stream.write_all(&answer).await.unwrap();
        let outcome = timeout(Duration::from_secs(5), outcome(call)).await;
        if outcome != Ok(expected) {
            wrong.push((what, outcome));
        }
        if let Outcome::Refused(error, _) = expected {
            assert_eq!(error.status(), StatusCode::BAD_GATEWAY, "{what}");
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn what_was_not_begun_with_is_sent_again_and_what_failed_is_not() {
    for (answer, again) in [
        (reset(7), true),
        (goaway(0, 0), true),
        (reset(2), false),
        (reset(8), false),
    ] {
        let (first, second) = (Backend::bind().await, Backend::bind().await);
        let to = vec![first.upstream(HTTP2), second.upstream(HTTP2)];
        let (bridge, _) = pooled(to, |pool| {
            pool.choice = crate::balance::Choice::RoundRobin;
        });
        let call = Call::start(&bridge, request("POST", Body::empty()));
        let mut peer = asked(&first).await;
        peer.stream.write_all(&answer).await.unwrap();
        if again {
            let mut peer = asked(&second).await;
            let whole = headers(END_STREAM, &[(":status", "204")]);
            peer.stream.write_all(&whole).await.unwrap();
            let response = call.answer().await.unwrap();
            assert_eq!(response.status(), StatusCode::NO_CONTENT);
        } else {
            assert_eq!(outcome(call).await, BROKEN);
            let none = timeout(Duration::from_millis(50), second.0.accept()).await;
            assert!(none.is_err(), "sent again");
        }
    }
}

#[tokio::test]
async fn a_response_goes_on_when_its_backend_goes_away_behind_it() {
    let backend = Backend::bind().await;
    let bridge = bridge(&backend, HTTP2);
    let call = Call::start(&bridge, request("POST", Body::empty()));
    let mut peer = asked(&backend).await;
    let answer = [goaway(1, 0), headers(0, &[(":status", "200")])].concat();
    peer.stream.write_all(&answer).await.unwrap();
    let response = call.answer().await.unwrap();
    let next = Call::start(&bridge, request("POST", Body::empty()));
    let mut other = asked(&backend).await;
    let whole = headers(END_STREAM, &[(":status", "204")]);
    other.stream.write_all(&whole).await.unwrap();
    assert_eq!(
        next.answer().await.unwrap().status(),
        StatusCode::NO_CONTENT
    );
    let rest = frame(DATA, END_STREAM, 1, b"hi");
    peer.stream.write_all(&rest).await.unwrap();
    assert_eq!(text(response).await, "hi");
}

#[tokio::test]
async fn a_response_whose_connection_is_cut_is_broken_off() {
    let backend = Backend::bind().await;
    let bridge = bridge(&backend, HTTP2);
    let call = Call::start(&bridge, request("POST", Body::empty()));
    let mut peer = asked(&backend).await;
    let begun = [headers(0, &[(":status", "200")]), frame(DATA, 0, 1, b"hi")].concat();
    peer.stream.write_all(&begun).await.unwrap();
    let response = call.answer().await.unwrap();
    drop(peer);
    let end = within(response.into_body().collect()).await;
    assert_eq!(end.map(drop), Err(BodyError::UpstreamGone));
}

//! Claims about responses that take their time: server-sent events, and long polls.

use http::StatusCode;
use wayhold::client::{Patience, TcpClient, Trust, tls_config};

use crate::raw::{CONTROL, Raw, head};
use crate::reading::Reading;
use crate::scripted::{Line, Scripted};
use crate::stage::{Solo, until};
use crate::transfer::get;

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                    transfer-encoding: chunked\r\n\r\n";

/// One event in a chunk of its own.
fn event(number: u32) -> String {
    format!("data: {number:03}\n\n")
}

async fn say_event(line: &mut Line, number: u32) {
    let event = event(number);
    line.say(&format!("{:x}\r\n{event}\r\n", event.len())).await;
}

#[tokio::test]
async fn each_event_reaches_a_client_over_http3_before_the_next_is_made() {
    let backend = Scripted::bind().await;
    let solo = Solo::routing(&backend.route()).await;
    let raw = Raw::connect(&solo.directory, solo.node.address).await;
    raw.one_way(&CONTROL).await;
    let mut reading = Reading::new(raw.send(&head("GET", "/events", &[])).await);
    let mut line = backend.accept().await;
    line.hear("\r\n\r\n").await;
    line.say(HEAD).await;
    assert_eq!(reading.head().await.0, 200);
    for number in 0..20 {
        say_event(&mut line, number).await;
        assert_eq!(reading.piece().await, event(number).into_bytes());
    }
    line.say("0\r\n\r\n").await;
    assert_eq!(reading.rest().await.content, b"");
}

#[tokio::test]
async fn each_event_reaches_a_client_over_http2_before_the_next_is_made() {
    let backend = Scripted::bind().await;
    let solo = Solo::routing(&backend.route()).await;
    let trust = Trust::File(solo.directory.file("tls.pem"));
    let tls = tls_config(&trust).unwrap();
    let target = crate::stage::target(solo.node.address);
    let client = TcpClient::connect(&target, &tls, Patience::default());
    let client = client.await.unwrap();
    let served = async {
        let mut line = backend.accept().await;
        line.hear("\r\n\r\n").await;
        line.say(HEAD).await;
        line
    };
    let (response, mut line) = tokio::join!(client.send(get("/events")), served);
    let mut body = response.unwrap().into_body();
    for number in 0..20 {
        say_event(&mut line, number).await;
        let piece = body.chunk().await.unwrap().unwrap();
        assert_eq!(piece, event(number));
    }
    line.say("0\r\n\r\n").await;
    assert_eq!(body.collect(100).await.unwrap(), b"");
}

#[tokio::test]
async fn a_long_poll_is_answered_when_its_backend_has_something_to_say() {
    let backend = Scripted::bind().await;
    let solo = Solo::routing(&backend.route()).await;
    let raw = Raw::connect(&solo.directory, solo.node.address).await;
    raw.one_way(&CONTROL).await;
    let mut poll = Reading::new(raw.send(&head("GET", "/poll", &[])).await);
    let mut waiting = backend.accept().await;
    waiting.hear("\r\n\r\n").await;
    // Others are served meanwhile, on the same connection.
    let mut other = Reading::new(raw.send(&head("GET", "/other", &[])).await);
    let mut line = backend.accept().await;
    line.hear("\r\n\r\n").await;
    line.say("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(other.head().await.0, StatusCode::NO_CONTENT);
    waiting
        .say("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnews")
        .await;
    assert_eq!(poll.head().await.0, StatusCode::OK);
    assert_eq!(poll.rest().await.content, b"news");
}

#[tokio::test]
async fn a_client_that_gives_up_its_poll_or_its_events_takes_them_from_the_backend() {
    let backend = Scripted::bind().await;
    let solo = Solo::routing(&backend.route()).await;
    let raw = Raw::connect(&solo.directory, solo.node.address).await;
    raw.one_way(&CONTROL).await;
    let mut poll = raw.send(&head("GET", "/poll", &[])).await;
    let mut line = backend.accept().await;
    line.hear("\r\n\r\n").await;
    poll.stop(0x10c_u32.into()).unwrap();
    line.until_closed().await;

    let mut events = raw.send(&head("GET", "/events", &[])).await;
    let mut line = backend.accept().await;
    line.hear("\r\n\r\n").await;
    line.say(HEAD).await;
    say_event(&mut line, 1).await;
    events.read_chunk(1000, true).await.unwrap().unwrap();
    events.stop(0x10c_u32.into()).unwrap();
    line.until_closed().await;
    until(|| solo.node.failed("client_gone") == 2).await;
}

//! Claims about what clients of a whole gateway get when a backend breaks the rules.

use crate::raw::{CONTROL, Raw, head};
use crate::reading::Reading;
use crate::scripted::Scripted;
use crate::stage::Solo;

/// `H3_INTERNAL_ERROR`.
const INTERNAL_ERROR: u64 = 0x102;

#[tokio::test]
async fn a_bad_response_is_a_502_that_says_why_and_is_counted() {
    let backend = Scripted::bind().await;
    let solo = Solo::routing(&backend.route()).await;
    let raw = Raw::connect(&solo.directory, solo.node.address).await;
    raw.one_way(&CONTROL).await;
    let large = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(101));
    let (malformed, headers) = ("upstream_malformed", "upstream_headers");
    for (answer, error, reason) in [
        ("nonsense\r\n\r\n", "http_protocol_error", malformed),
        ("HTTP/2 200 OK\r\n\r\n", "http_protocol_error", malformed),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            "http_protocol_error",
            malformed,
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
            "http_protocol_error",
            malformed,
        ),
        (&large, "http_response_header_section_size", headers),
    ] {
        let before = solo.node.failed(reason);
        let mut reading = Reading::new(raw.send(&head("POST", "/", &[])).await);
        let mut line = backend.accept().await;
        line.hear("\r\n\r\n").await;
        line.say(answer).await;
        let (status, fields) = reading.head().await;
        assert_eq!(status, 502, "{answer:.60?}");
        let said = fields["proxy-status"].to_str().unwrap();
        assert_eq!(said, format!("wayhold; error={error}"), "{answer:.60?}");
        reading.rest().await;
        assert_eq!(solo.node.failed(reason), before + 1, "{answer:.60?}");
    }
}

#[tokio::test]
async fn a_response_that_is_cut_short_is_reset_and_never_ended() {
    let backend = Scripted::bind().await;
    let solo = Solo::routing(&backend.route()).await;
    let raw = Raw::connect(&solo.directory, solo.node.address).await;
    raw.one_way(&CONTROL).await;
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n";
    for (begun, rest) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n", "hi"),
        (chunked, ""),
        (chunked, "x\r\n"),
    ] {
        let mut reading = Reading::new(raw.send(&head("GET", "/", &[])).await);
        let mut line = backend.accept().await;
        line.hear("\r\n\r\n").await;
        line.say(begun).await;
        assert_eq!(reading.head().await.0, 200, "{begun}");
        line.say(rest).await;
        drop(line);
        assert_eq!(reading.reset().await, INTERNAL_ERROR, "{begun}");
    }
}

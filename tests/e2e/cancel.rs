//! Claims about requests that are given up, by either side.

use quinn::VarInt;

use crate::raw::{CONTROL, DATA, Ended, Raw, ended, frame, head, status};
use crate::stage::{Solo, until};
use crate::wild::Wild;

const H3_INTERNAL_ERROR: u64 = 0x102;
/// The handler announced more than it sent.
const H3_MESSAGE_ERROR: u64 = 0x10e;
const H3_REQUEST_CANCELLED: VarInt = VarInt::from_u32(0x10c);

async fn start() -> (Solo, Wild, Raw) {
    let wild = Wild::default();
    let solo = Solo::start("", wild.clone()).await;
    let raw = Raw::connect(&solo.directory, solo.node.address).await;
    raw.one_way(&CONTROL).await;
    (solo, wild, raw)
}

#[tokio::test]
async fn a_client_that_wants_no_response_stops_its_handler() {
    let (solo, wild, raw) = start().await;
    let mut response = raw.send(&head("GET", "/forever", &[])).await;
    until(|| wild.running() == 1).await;
    response.stop(H3_REQUEST_CANCELLED).unwrap();
    until(|| wild.running() == 0).await;

    let mut response = raw.send(&head("GET", "/endless", &[])).await;
    response.read_chunk(1000, true).await.unwrap().unwrap();
    assert_eq!(wild.running(), 1);
    response.stop(H3_REQUEST_CANCELLED).unwrap();
    until(|| wild.running() == 0).await;
    until(|| solo.node.failed("client_gone") == 2).await;
}

#[tokio::test]
async fn a_client_that_breaks_off_its_request_stops_the_handler_that_reads_it() {
    let (solo, wild, raw) = start().await;
    let begun = [head("POST", "/read", &[]), frame(DATA, b"begun")].concat();
    let (mut request, response) = raw.begin(&begun).await;
    until(|| wild.running() == 1).await;
    request.reset(H3_REQUEST_CANCELLED).unwrap();
    until(|| wild.running() == 0).await;
    let cancelled = Ended::Reset(H3_REQUEST_CANCELLED.into_inner());
    assert_eq!(ended(response).await, cancelled);
    until(|| solo.node.failed("client_gone") == 1).await;
}

#[tokio::test]
async fn the_end_of_a_connection_stops_its_handlers() {
    let (solo, wild, raw) = start().await;
    let _forever = raw.send(&head("GET", "/forever", &[])).await;
    let _endless = raw.send(&head("GET", "/endless", &[])).await;
    let begun = [head("POST", "/read", &[]), frame(DATA, b"begun")].concat();
    let _read = raw.begin(&begun).await;
    until(|| wild.running() == 3).await;
    raw.close().await;
    until(|| wild.running() == 0 && solo.node.open() == 0).await;
}

#[tokio::test]
async fn a_response_that_breaks_off_is_reset() {
    let (_solo, wild, raw) = start().await;
    for path in ["/broken", "/short", "/panic-in-body"] {
        let response = raw.send(&head("GET", path, &[])).await;
        let Ended::Reset(code) = ended(response).await else {
            panic!("{path} ended cleanly");
        };
        assert!(
            [H3_INTERNAL_ERROR, H3_MESSAGE_ERROR].contains(&code),
            "{path}: {code:#x}"
        );
    }
    assert_eq!(wild.running(), 0);
}

#[tokio::test]
async fn a_panic_fails_its_own_request_alone_and_is_counted() {
    let (solo, wild, raw) = start().await;
    let mut other = raw.send(&head("GET", "/endless", &[])).await;
    other.read_chunk(1000, true).await.unwrap().unwrap();

    let response = raw.send(&head("GET", "/panic", &[])).await;
    assert_eq!(status(response).await, 500);
    let response = raw.send(&head("GET", "/panic-in-body", &[])).await;
    assert_eq!(ended(response).await, Ended::Reset(H3_INTERNAL_ERROR));
    assert_eq!(solo.node.metrics.panics.get(), 2);
    until(|| solo.node.failed("internal") == 2).await;

    for _ in 0..100 {
        other.read_chunk(16_384, true).await.unwrap().unwrap();
    }
    assert_eq!(status(raw.send(&head("GET", "/", &[])).await).await, 200);
    assert_eq!(wild.running(), 1);
}

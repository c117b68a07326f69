//! Claims about the end of HTTP/3 connections when a node drains.

use std::time::Duration;

use quinn::RecvStream;
use tokio::runtime::Builder;
use tokio::time::timeout;

use crate::raw::{CONTROL, Ended, Raw, ended, head, split_frame, status, take_varint};
use crate::stage::{PATIENCE, Solo, until};
use crate::wild::Wild;

const H3_NO_ERROR: u64 = 0x100;
const H3_REQUEST_REJECTED: u64 = 0x10b;
const SETTINGS: u64 = 0x04;
const GOAWAY: u64 = 0x07;
/// The first GOAWAY (RFC 9114, section 5.2) gives no request up: 2^62 - 4.
const NOTHING: usize = 0x3fff_ffff_ffff_fffc;

async fn start() -> (Solo, Wild, Raw) {
    let wild = Wild::default();
    let solo = Solo::start("", wild.clone()).await;
    let raw = Raw::connect(&solo.directory, solo.node.address).await;
    raw.one_way(&CONTROL).await;
    (solo, wild, raw)
}

/// The gateway's control stream, after its type.
async fn control(raw: &Raw) -> RecvStream {
    loop {
        let stream = timeout(PATIENCE, raw.connection.accept_uni()).await;
        let mut stream = stream.unwrap().unwrap();
        let mut kind = [0xff];
        stream.read_exact(&mut kind).await.unwrap();
        if kind == [0] {
            return stream;
        }
    }
}

/// The stream ID that the last GOAWAY names, which follows one that only tells the client to go.
async fn goaway(control: &mut RecvStream) -> usize {
    assert_eq!(next_goaway(control).await, NOTHING);
    next_goaway(control).await
}

/// The stream ID that the next GOAWAY names.
async fn next_goaway(control: &mut RecvStream) -> usize {
    let mut bytes = Vec::new();
    loop {
        let mut byte = [0];
        let read = timeout(PATIENCE, control.read_exact(&mut byte)).await;
        read.unwrap().unwrap();
        bytes.push(byte[0]);
        let whole = |bytes: &[u8]| bytes.len() > 1 && bytes.len() == 2 + usize::from(bytes[1]);
        if whole(&bytes) {
            let (kind, _, payload) = split_frame(&bytes);
            if kind == GOAWAY {
                return usize::try_from(take_varint(payload).0).unwrap();
            }
            assert_eq!(kind, SETTINGS);
            bytes.clear();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_under_way_finish_and_new_ones_are_rejected() {
    let (solo, wild, raw) = start().await;
    let mut control = control(&raw).await;
    let wait = head("GET", "/wait", &[]);
    let mut under_way = Vec::new();
    for _ in 0..3 {
        under_way.push(raw.send(&wait).await);
    }
    until(|| wild.running() == 3).await;
    solo.node.drain();
    assert_eq!(
        goaway(&mut control).await,
        12,
        "the first that is not answered"
    );
    for _ in 0..2 {
        let rejected = Ended::Reset(H3_REQUEST_REJECTED);
        assert_eq!(ended(raw.send(&wait).await).await, rejected);
    }
    wild.open_gate();
    for response in under_way {
        assert_eq!(status(response).await, 200);
    }
    assert_eq!(raw.closed().await, H3_NO_ERROR);
    assert_eq!(wild.begun(), 3);
    solo.node.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_crosses_the_first_goaway_is_answered() {
    let (solo, wild, raw) = start().await;
    let mut control = control(&raw).await;
    solo.node.drain();
    assert_eq!(next_goaway(&mut control).await, NOTHING);
    assert_eq!(status(raw.send(&head("GET", "/", &[])).await).await, 200);
    assert_eq!(next_goaway(&mut control).await, 4);
    assert_eq!(wild.begun(), 1);
    raw.close().await;
    solo.node.end().await.unwrap();
}

/// The connection of a client that is told to go, but was not scheduled, is there when it wakes up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_comes_seconds_late_is_rejected_and_not_cut_off() {
    let (solo, wild, raw) = start().await;
    let mut control = control(&raw).await;
    assert_eq!(status(raw.send(&head("GET", "/", &[])).await).await, 200);
    solo.node.drain();
    assert_eq!(goaway(&mut control).await, 4);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let rejected = Ended::Reset(H3_REQUEST_REJECTED);
    assert_eq!(
        ended(raw.send(&head("GET", "/", &[])).await).await,
        rejected
    );
    assert_eq!(wild.begun(), 1);
    raw.close().await;
    solo.node.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_client_is_told_before_the_connection_ends() {
    let (solo, wild, raw) = start().await;
    let mut control = control(&raw).await;
    assert_eq!(status(raw.send(&head("GET", "/", &[])).await).await, 200);
    solo.node.drain();
    assert_eq!(goaway(&mut control).await, 4);
    assert_eq!(raw.closed().await, H3_NO_ERROR);
    assert_eq!(wild.begun(), 1);
    solo.node.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_meets_the_drain_is_run_once_and_answered_or_not_at_all() {
    let (solo, wild, raw) = start().await;
    let mut control = control(&raw).await;
    let wait = head("GET", "/wait", &[]);
    let mut sent = Vec::new();
    for index in 0..100 {
        if index == 50 {
            until(|| wild.running() > 0).await;
            solo.node.drain();
        }
        sent.push(raw.send(&wait).await);
    }
    let first_rejected = goaway(&mut control).await;
    wild.open_gate();
    let mut answered = 0;
    for (index, response) in sent.into_iter().enumerate() {
        let expected = index < first_rejected / 4;
        match ended(response).await {
            Ended::Cleanly(_) => assert!(expected, "request {index} was given up"),
            Ended::Reset(code) => assert!(!expected && code == H3_REQUEST_REJECTED, "{index}"),
        }
        answered += u32::from(expected);
    }
    assert_eq!(wild.begun(), answered);
    raw.closed().await;
    solo.node.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_asks_for_nothing_is_told_to_go_and_its_connection_ends() {
    let solo = Solo::start("timeouts.idle = \"300ms\"", Wild::default()).await;
    let raw = Raw::connect(&solo.directory, solo.node.address).await;
    raw.one_way(&CONTROL).await;
    let mut control = control(&raw).await;
    assert_eq!(status(raw.send(&head("GET", "/", &[])).await).await, 200);
    assert_eq!(goaway(&mut control).await, 4);
    assert_eq!(raw.closed().await, H3_NO_ERROR);
    solo.node.end().await.unwrap();
}

/// Its network is away, or its machine is: it says nothing, not even that it has the response.
#[test]
fn a_client_that_vanished_before_it_had_its_response_does_not_hold_the_end() {
    let mut gateways = Builder::new_multi_thread();
    let gateways = gateways.worker_threads(2).enable_all().build().unwrap();
    let clients = Builder::new_current_thread().enable_all().build().unwrap();
    let wild = Wild::default();
    let solo = gateways.block_on(Solo::start("shutdown.grace = \"10m\"", wild.clone()));
    let _vanished = clients.block_on(async {
        let raw = Raw::connect(&solo.directory, solo.node.address).await;
        raw.one_way(&CONTROL).await;
        let response = raw.send(&head("GET", "/wait", &[])).await;
        until(|| wild.running() == 1).await;
        (raw, response)
    });
    // From here on nothing of the client runs.
    wild.open_gate();
    gateways.block_on(async {
        until(|| wild.running() == 0).await;
        solo.node.end().await.unwrap();
    });
}

//! Claims about the limits on QUIC connections.

use std::time::Duration;

use quinn::ConnectionError;
use tokio::net::UdpSocket;
use wayhold::bridge::Origin;

use crate::initial;
use crate::raw::{CONTROL, Raw, head, status};
use crate::stage::{Solo, target, until};
use crate::transfer::{Download, Upload, connect, text};
use crate::wild::Wild;

/// `CONNECTION_REFUSED` (RFC 9000, section 20.1).
fn is_refusal(error: &ConnectionError) -> bool {
    matches!(error, ConnectionError::ConnectionClosed(close)
        if close.error_code == quinn::TransportErrorCode::CONNECTION_REFUSED)
}

#[tokio::test]
async fn a_connection_over_the_limit_is_refused_until_there_is_room() {
    let solo = Solo::start("limits.connections = 1", Wild::default()).await;
    let connect = || Raw::try_connect(&solo.directory, solo.node.address);
    let first = connect().await.unwrap();
    let refused = connect().await.err().unwrap();
    assert!(is_refusal(&refused), "{refused}");
    assert_eq!(solo.node.refused("connection_limit"), 1);
    first.close().await;
    until(|| solo.node.open() == 0).await;
    let second = connect().await.unwrap();
    assert_eq!(status(second.send(&head("GET", "/", &[])).await).await, 200);
}

#[tokio::test]
async fn half_open_connections_over_the_limit_are_refused_and_time_out() {
    let more = "limits.handshakes = 1\ntimeouts.handshake = \"300ms\"";
    let solo = Solo::start(more, Wild::default()).await;
    let stalled = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let initial = initial::capture(&solo.directory).await;
    stalled.send_to(&initial, solo.node.address).await.unwrap();
    until(|| solo.node.metrics.datagrams_local.get() == 1).await;

    let connect = || Raw::try_connect(&solo.directory, solo.node.address);
    let refused = connect().await.err().unwrap();
    assert!(is_refusal(&refused), "{refused}");
    assert_eq!(solo.node.refused("handshake_limit"), 1);
    until(|| solo.node.refused("handshake_timeout") == 1).await;
    connect().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_handshakes_that_never_end_costs_no_client_anything() {
    let more = "workers = 2\nlimits.handshakes = 16";
    let solo = Solo::start(more, Origin::new()).await;
    let node = &solo.node;
    let established = connect(&solo.directory, &target(node.address)).await;
    let mut download = Download::begin(&established, 1, 3_000_000).await;
    let mut upload = Upload::begin(&established, 2);
    let flood = async {
        for _ in 0..200 {
            let initial = initial::capture(&solo.directory).await;
            let mute = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            mute.send_to(&initial, node.address).await.unwrap();
        }
    };
    let transfers = async {
        tokio::join!(download.read_to(2_000_000), upload.send(1_000_000));
    };
    let newcomer = async {
        until(|| node.metrics.retries.get() > 0).await;
        let client = connect(&solo.directory, &target(node.address)).await;
        text(&client, "/").await;
        client.close().await;
    };
    tokio::join!(flood, transfers, newcomer);
    tokio::join!(download.finish(), upload.finish());
    assert!(node.metrics.retries.get() >= 100);
    assert_eq!(node.refused("handshake_limit"), 0);
    established.close().await;
}

#[tokio::test]
async fn a_client_has_as_many_requests_at_once_as_the_limit() {
    let wild = Wild::default();
    let solo = Solo::start("limits.streams = 2", wild.clone()).await;
    let raw = Raw::connect(&solo.directory, solo.node.address).await;
    raw.one_way(&CONTROL).await;
    let forever = head("GET", "/forever", &[]);
    let (mut first, _second) = (raw.send(&forever).await, raw.send(&forever).await);
    until(|| wild.running() == 2).await;
    let third = raw.connection.open_bi();
    tokio::pin!(third);
    let early = tokio::time::timeout(Duration::from_millis(50), &mut third);
    assert!(early.await.is_err(), "a third stream was granted");
    first.stop(0_u32.into()).unwrap();
    third.await.unwrap();
}

//! Claims about priorities (RFC 9218) on a link that is the bottleneck: what a congestion window of a few
//! packets leaves to each of two responses that are both ready.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quinn::RecvStream;
use tokio::time::timeout;
use wayhold::bridge::Origin;
use wayhold::testbed::{Honesty, Relay, RelayConfig};

use crate::raw::{CONTROL, Raw, frame, head, status};
use crate::stage::{PATIENCE, Solo};

/// How much of a first response had come when a second one of the same length was whole.
async fn first_when_second_is_whole(fields: [&[(&str, &str)]; 2], control: &[u8]) -> usize {
    let solo = Solo::start("", Origin::new()).await;
    let relay = RelayConfig {
        nodes: vec![solo.node.address],
        delay: Duration::from_millis(40),
        honesty: Honesty::Honest,
    };
    let relay = Relay::start(relay).await.unwrap();
    let raw = Raw::connect(&solo.directory, relay.address()).await;
    raw.one_way(&[&CONTROL, control].concat()).await;
    // When this is answered, what the control stream said has been read long since.
    assert_eq!(status(raw.send(&head("GET", "/", &[])).await).await, 200);
    let path = format!("/bytes/{LENGTH}?seed=1");
    // Both leave in one packet, because neither waits for anything.
    let first = raw.send(&head("GET", &path, fields[0])).await;
    let second = raw.send(&head("GET", &path, fields[1])).await;
    let received = AtomicUsize::new(0);
    let first = receive(first, &received);
    let second = async {
        receive(second, &AtomicUsize::new(0)).await;
        received.load(Ordering::Relaxed)
    };
    let (of_first, ()) = timeout(PATIENCE, async { tokio::join!(second, first) })
        .await
        .unwrap();
    assert!(
        received.load(Ordering::Relaxed) > LENGTH,
        "the first one came as well"
    );
    raw.close().await;
    of_first
}

async fn receive(mut stream: RecvStream, received: &AtomicUsize) {
    while let Some(chunk) = stream.read_chunk(usize::MAX, true).await.unwrap() {
        received.fetch_add(chunk.bytes.len(), Ordering::Relaxed);
    }
}

#[tokio::test]
async fn an_urgent_response_overtakes_one_that_was_asked_for_before() {
    let fields = [&[("priority", "u=7")][..], &[("priority", "u=0")]];
    let of_first = first_when_second_is_whole(fields, &[]).await;
    assert!(
        of_first < LENGTH / 2,
        "{of_first} bytes of the less urgent one came before"
    );
}

#[tokio::test]
async fn a_priority_update_counts_for_more_than_the_field() {
    let fields = [&[("priority", "u=0")][..], &[("priority", "u=7")]];
    // The second and third request streams are streams 4 and 8 (RFC 9000, section 2.1).
    let update = [frame(0xf_0700, b"\x04u=7"), frame(0xf_0700, b"\x08u=0")].concat();
    let of_first = first_when_second_is_whole(fields, &update).await;
    assert!(
        of_first < LENGTH / 2,
        "{of_first} bytes of the less urgent one came before"
    );
}

#[tokio::test]
async fn responses_without_a_priority_come_by_turns() {
    let of_first = first_when_second_is_whole([&[], &[]], &[]).await;
    assert!(
        of_first > LENGTH / 2,
        "only {of_first} bytes of the first one came meanwhile"
    );
}

/// Many times what a connection may send at first.
const LENGTH: usize = 300_000;

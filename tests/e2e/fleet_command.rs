//! Claims about `wayhold run --fleet` as several processes.

use std::fmt::Write;
use std::fs::{self, Permissions};
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use wayhold::testbed::{Honesty, Move, Relay, RelayConfig};

use crate::process::{Process, fails, wayhold};
use crate::stage::{Directory, target, turn};
use crate::transfer::{Download, Upload, connect};

/// Makes a key and the file that both nodes share.
async fn found(directory: &Directory) {
    let made = wayhold(directory, &["keys", "init", "fleet.key"]);
    assert!({ made }.status().await.unwrap().success());
    // Both are held until both are known, so that they differ.
    let free = [1, 2].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
    let mut text = "key_file = \"fleet.key\"\n".to_owned();
    for (index, socket) in free.iter().enumerate() {
        let (id, relay) = (index + 1, socket.local_addr().unwrap());
        writeln!(text, "[[member]]\nid = {id}\nrelay = \"{relay}\"").unwrap();
    }
    fs::write(directory.file("fleet.toml"), text).unwrap();
}

async fn node(directory: &Directory, id: &str) -> Process {
    let state = directory.file(&format!("state-{id}"));
    let arguments = [
        ["--fleet", "fleet.toml"],
        ["--node-id", id],
        ["--listen", "127.0.0.1:0"],
        ["--cert", "tls.pem"],
        ["--key", "tls.key"],
        ["--state-dir", state.to_str().unwrap()],
    ];
    Process::start(directory, arguments.as_flattened()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_that_share_a_file_keep_a_client_that_reaches_the_wrong_one() {
    let (_turn, directory) = (turn().await, Directory::new());
    directory.certify();
    found(&directory).await;
    let nodes = [node(&directory, "1").await, node(&directory, "2").await];
    let relay = Relay::start(RelayConfig {
        nodes: nodes.iter().map(|node| node.address).collect(),
        delay: Duration::from_millis(1),
        honesty: Honesty::Honest,
    });
    let relay = relay.await.unwrap();
    let client = connect(&directory, &target(relay.address())).await;
    let mut download = Download::begin(&client, 71, 3_000_000).await;
    let mut upload = Upload::begin(&client, 72);
    upload.send(300_000).await;
    for event in [Move::Flip, Move::Rebind, Move::Flip, Move::Flip] {
        relay.make(event).await.unwrap();
        tokio::join!(download.read_to(1_000_000), upload.send(300_000));
    }
    tokio::join!(download.finish(), upload.finish());
    client.close().await;
    assert!(nodes[1].metric("wayhold_datagrams_forwarded_total").await > 0);
    assert!(nodes[0].metric("wayhold_datagrams_tunnelled_total").await > 0);
    assert_eq!(nodes[1].metric("wayhold_requests_total").await, 0);
    for node in nodes {
        node.terminate().await;
        assert_eq!(node.end().await.code, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_others_can_read_is_refused() {
    let (_turn, directory) = (turn().await, Directory::new());
    directory.certify();
    found(&directory).await;
    let key = directory.file("fleet.key");
    assert_eq!(
        fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o600
    );
    fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    let arguments = [
        "run",
        "--fleet",
        "fleet.toml",
        "--node-id",
        "1",
        "--listen",
        "127.0.0.1:0",
    ];
    let refused = fails(&directory, &arguments).await;
    assert_eq!(refused.code, Some(3));
    let remedy = refused.errors.iter().any(|line| line.contains("chmod"));
    assert!(remedy, "{:?}", refused.errors);
}

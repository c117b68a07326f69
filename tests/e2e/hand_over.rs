//! Claims about a gateway that takes over from another in one process, in a fleet.

use std::net::UdpSocket;
use std::time::Duration;

use tokio::sync::SemaphorePermit;
use wayhold::bridge::Origin;
use wayhold::control::write_key_file;
use wayhold::fleet::Keyring;
use wayhold::lifecycle::UpgradeError;
use wayhold::testbed::{Honesty, Relay, RelayConfig};
use wayhold::{Gateway, GatewayBuilder, GatewayHandle};

use crate::stage::{Directory, Node, PATIENCE, fleet_key, target, turn, until};
use crate::transfer::{Download, Upload, connect, text};

/// Two nodes behind a relay that can change its route; the first is upgraded.
struct Fleet {
    relay: Relay,
    directory: Directory,
    /// The processes of the first node, the latest last.
    upgraded: Vec<(Node, GatewayHandle)>,
    other: Node,
    members: String,
    _turn: SemaphorePermit<'static>,
}

impl Fleet {
    async fn start() -> Self {
        let turn = turn().await;
        let directory = Directory::new();
        directory.certify();
        let keyring = Keyring::new(fleet_key());
        write_key_file(&directory.file("fleet.key"), &keyring).unwrap();
        let tunnels = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let [one, two] = tunnels
            .each_ref()
            .map(|tunnel| tunnel.local_addr().unwrap());
        let members = format!(
            "fleet = {{ key_file = \"fleet.key\", member = [\
             {{ id = 1, relay = \"{one}\" }}, {{ id = 2, relay = \"{two}\" }}] }}"
        );
        let [one, two] = tunnels;
        let first = builder(&directory, 1, &members).relay_socket(one);
        let first = start(first);
        let other = start(builder(&directory, 2, &members).relay_socket(two)).0;
        let relay = Relay::start(RelayConfig {
            nodes: vec![first.0.address, other.address],
            delay: Duration::from_millis(1),
            honesty: Honesty::Honest,
        });
        Self {
            relay: relay.await.unwrap(),
            directory,
            upgraded: vec![first],
            other,
            members,
            _turn: turn,
        }
    }

    fn last(&self) -> &(Node, GatewayHandle) {
        self.upgraded.last().unwrap()
    }

    fn upgrade(&mut self) {
        let hand_over = self.last().1.hand_over().unwrap();
        let sockets = hand_over.sockets().unwrap();
        let gateway = builder(&self.directory, 1, &self.members).inherited(sockets);
        let gateway = gateway.bind().unwrap();
        hand_over.pause();
        gateway.take_over();
        hand_over.complete();
        let handle = gateway.handle();
        self.upgraded.push((Node::start(gateway), handle));
    }
}

fn builder(directory: &Directory, id: u32, members: &str) -> GatewayBuilder {
    let config = directory.config(&format!("node.id = {id}\n{members}"));
    Gateway::builder().config(config).handler(Origin::new())
}

fn start(builder: GatewayBuilder) -> (Node, GatewayHandle) {
    let gateway = builder.bind().unwrap();
    let handle = gateway.handle();
    (Node::start(gateway), handle)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forwarded_transfers_run_through_three_generations() {
    let mut fleet = Fleet::start().await;
    let target = target(fleet.relay.address());
    let first = connect(&fleet.directory, &target).await;
    let mut download = Download::begin(&first, 1, LARGE).await;
    let mut upload = Upload::begin(&first, 2);
    upload.send(1 << 20).await;
    // From here on the first node hears of its clients through the other.
    fleet.relay.route_to(1).await.unwrap();
    upload.send(1 << 20).await;
    until(|| fleet.other.metrics.datagrams_forwarded.get() > 0).await;

    fleet.upgrade();
    let forwarded = fleet.other.metrics.datagrams_forwarded.get();
    upload.send(1 << 20).await;
    download.read_to(LARGE / 3).await;
    until(|| fleet.other.metrics.datagrams_forwarded.get() > forwarded + 100).await;

    fleet.upgrade();
    upload.send(1 << 20).await;
    upload.finish().await;
    download.finish().await;

    assert!(text(&first, "/").await.contains("h3"));
    for (node, _) in &fleet.upgraded {
        assert_eq!(node.dropped("no_sibling"), 0);
        assert_eq!(node.dropped("sibling_full"), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hand_over_that_is_given_up_changes_nothing() {
    let fleet = Fleet::start().await;
    let target = target(fleet.relay.address());
    let client = connect(&fleet.directory, &target).await;
    let hand_over = fleet.last().1.hand_over().unwrap();
    let busy = fleet.last().1.hand_over().unwrap_err();
    assert!(matches!(busy, UpgradeError::Busy));
    hand_over.pause();
    let asking = text(&client, "/");
    let answered = tokio::time::timeout(Duration::from_millis(100), asking).await;
    assert!(answered.is_err(), "nobody reads");
    drop(hand_over);
    let answered = tokio::time::timeout(PATIENCE, text(&client, "/")).await;
    assert!(answered.unwrap().contains("h3"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_before_reads_again_when_the_new_one_ends_abruptly() {
    let mut fleet = Fleet::start().await;
    let target = target(fleet.relay.address());
    let client = connect(&fleet.directory, &target).await;
    fleet.upgrade();
    assert!(text(&client, "/").await.contains("h3"));
    let superseded = fleet.upgraded[0].1.hand_over().unwrap_err();
    assert!(matches!(superseded, UpgradeError::Superseded));
    drop(fleet.upgraded.pop());
    assert!(text(&client, "/").await.contains("h3"));
    let new = connect(&fleet.directory, &target).await;
    assert!(text(&new, "/").await.contains("h3"));
    fleet.upgrade();
    assert!(text(&new, "/").await.contains("h3"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_the_last_gateway_is_the_end_of_all() {
    let mut fleet = Fleet::start().await;
    let target = target(fleet.relay.address());
    let client = connect(&fleet.directory, &target).await;
    fleet.upgrade();
    fleet.upgrade();
    assert!(text(&client, "/").await.contains("h3"));
    client.close().await;
    while let Some((node, _)) = fleet.upgraded.pop() {
        if fleet.upgraded.len() == 2 {
            node.end().await.unwrap();
        } else {
            node.ended().await.unwrap();
        }
    }
}

const LARGE: u64 = 16 << 20;

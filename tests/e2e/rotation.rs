//! Claims about keys and members that change under open connections.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::Value;
use wayhold::bridge::Origin;
use wayhold::control::{read_key_record, replace_key_file};
use wayhold::fleet::{Epoch, FleetKey, KeyRecord};
use wayhold::wire::Datagram;

use crate::proxy::Proxy;
use crate::stage::{Node, PATIENCE, Stage, target, until};
use crate::transfer::{Download, Upload, connect, text};

const DOWN: u64 = 6_000_000;
const UP: usize = 1_500_000;

impl Stage {
    /// Takes a step of a rotation in the file that all nodes share.
    fn step(&self, secret: u8) {
        let mut record = self.record();
        let now = Duration::from_secs(1_700_000_000);
        let secret = [secret; FleetKey::LEN];
        record.rotate(now, secret, Duration::ZERO).unwrap();
        replace_key_file(&self.fleet.key_file, &record).unwrap();
    }

    fn record(&self) -> KeyRecord {
        read_key_record(&self.fleet.key_file).unwrap()
    }

    /// Lets a node follow the files.
    fn reload(&self, node: &Node) {
        let handle = node.fleet.as_ref().unwrap();
        handle.commit(handle.prepare(&self.fleet).unwrap());
    }

    /// Waits until every node issues connection IDs of an epoch.
    async fn until_minting(&self, epoch: u32) {
        let minting = |node: &Node| status(node)["minting_epoch"] == epoch;
        until(|| self.nodes.iter().all(minting)).await;
    }
}

fn status(node: &Node) -> Value {
    node.fleet.as_ref().unwrap().status()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_in_the_middle_of_transfers_loses_nothing_wherever_packets_go() {
    let stage = Stage::configured(3, "quic.cid_lifetime = \"1s\"", Origin::new()).await;
    stage.until_minting(1).await;
    let client = connect(&stage.directory, &stage.target()).await;
    let mut download = Download::begin(&client, 21, DOWN).await;
    let mut upload = Upload::begin(&client, 22);
    upload.send(UP).await;
    for _step in ["announce", "activate"] {
        stage.step(2);
        // One node after the other, as copying a file takes.
        for (index, node) in stage.nodes.iter().enumerate() {
            stage.relay.route_to((index + 1) % 3).await.unwrap();
            stage.reload(node);
            assert!(!text(&client, "/").await.is_empty());
        }
    }
    stage.until_minting(2).await;
    tokio::join!(download.read_to(DOWN / 2), upload.send(UP));
    tokio::join!(download.finish(), upload.finish());
    let other = connect(&stage.directory, &stage.target()).await;
    assert!(!text(&other, "/").await.is_empty());
    for node in &stage.nodes {
        for reason in [
            "undecodable_cid",
            "owner_gone",
            "unknown_owner",
            "hop_limit",
        ] {
            assert_eq!(node.dropped(reason), 0, "{reason}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_connection_outlives_every_key_that_it_began_with() {
    let lifetime = "quic.cid_lifetime = \"1s\"";
    let stage = Stage::configured(2, lifetime, Origin::new()).await;
    stage.until_minting(1).await;
    let proxy = Proxy::start(stage.nodes[1].address).await;
    let client = connect(&stage.directory, &target(proxy.address)).await;
    let newest = || {
        let recorded = proxy.recorded();
        recorded
            .iter()
            .rev()
            .find_map(|datagram| match Datagram::parse(datagram) {
                Ok(Datagram::Short(cid)) => Some(u32::from(cid[0] >> 5)),
                _ => None,
            })
    };
    for epoch in [2, 3, 4] {
        for _step in ["announce", "activate"] {
            stage.step(u8::try_from(epoch).unwrap());
            stage.nodes.iter().for_each(|node| stage.reload(node));
            assert!(!text(&client, "/").await.is_empty());
        }
        stage.until_minting(epoch).await;
        let renewed = async {
            while newest() != Some(epoch) {
                text(&client, "/").await;
            }
        };
        tokio::time::timeout(PATIENCE, renewed).await.unwrap();
    }
    assert_eq!(stage.record().keyring.previous().unwrap().epoch(), Epoch(3));
    assert_eq!(stage.nodes[1].dropped("undecodable_cid"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_got_the_new_key_early_issues_ids_that_the_others_can_read() {
    let stage = Stage::start(2).await;
    stage.until_minting(1).await;
    stage.step(2);
    stage.step(2);
    stage.reload(&stage.nodes[0]);
    until(|| status(&stage.nodes[0])["epochs"] == serde_json::json!([2, 1])).await;
    assert_eq!(status(&stage.nodes[0])["minting_epoch"], 1);
    let client = connect(&stage.directory, &stage.target()).await;
    stage.relay.route_to(1).await.unwrap();
    assert!(!text(&client, "/").await.is_empty());
    stage.reload(&stage.nodes[1]);
    stage.until_minting(2).await;
    assert!(!text(&client, "/").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_that_this_node_cannot_follow_changes_nothing_and_says_why() {
    let stage = Stage::start(2).await;
    stage.until_minting(1).await;
    let handle = stage.nodes[0].fleet.as_ref().unwrap();
    let mut others = stage.fleet.clone();
    others.member.remove(0);
    let mut smaller = stage.fleet.clone();
    smaller.link_mtu = 1400;
    let mut twice = stage.fleet.clone();
    twice.member[1].id = twice.member[0].id;
    for (fleet, expected) in [
        (&others, "fleet.member: node 0 is not a member"),
        (&smaller, "fleet.link_mtu: it leaves room for 1303 bytes"),
        (&twice, "fleet.member: two members have the ID 0"),
    ] {
        let error = handle.prepare(fleet).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    std::fs::set_permissions(&stage.fleet.key_file, Permissions::from_mode(0o644)).unwrap();
    let error = handle.prepare(&stage.fleet).unwrap_err().to_string();
    assert!(error.contains("chmod 600"), "{error}");
    assert_eq!(status(&stage.nodes[0])["epochs"], serde_json::json!([1]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_leaves_and_comes_back_while_a_transfer_of_another_goes_on() {
    let stage = Stage::start(3).await;
    stage.until_welcome().await;
    let client = connect(&stage.directory, &stage.target()).await;
    let mut download = Download::begin(&client, 31, DOWN).await;
    stage.relay.route_to(1).await.unwrap();
    let mut without = stage.fleet.clone();
    without.member.pop();
    for node in &stage.nodes[..2] {
        let handle = node.fleet.as_ref().unwrap();
        handle.commit(handle.prepare(&without).unwrap());
    }
    until(|| {
        stage.nodes[..2]
            .iter()
            .all(|node| node.peers().count() == 1)
    })
    .await;
    download.read_to(DOWN / 2).await;
    for node in &stage.nodes[..2] {
        stage.reload(node);
    }
    stage.until_welcome().await;
    stage.relay.route_to(2).await.unwrap();
    download.finish().await;
}

//! Claims about keys and members that change under open connections.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use wayhold::bridge::Origin;
use wayhold::control::{read_key_record, replace_key_file};
use wayhold::fleet::FleetKey;
use wayhold::wire::Datagram;

use crate::proxy::Proxy;
use crate::stage::{Node, PATIENCE, Stage, target, until};
use crate::transfer::{Download, Upload, connect, text};

const DOWN: u64 = 6_000_000;
const UP: usize = 1_500_000;

impl Stage {
    /// Takes a step of a rotation in the file that all nodes share.
    fn step(&self, secret: u8) {
        let mut record = read_key_record(&self.key_file()).unwrap();
        let now = Duration::from_secs(1_700_000_000);
        let secret = [secret; FleetKey::LEN];
        record.rotate(now, secret, Duration::ZERO).unwrap();
        replace_key_file(&self.key_file(), &record).unwrap();
    }

    fn key_file(&self) -> PathBuf {
        self.nodes[0].config().fleet.unwrap().key_file
    }

    /// Waits until every node issues connection IDs of an epoch.
    async fn until_minting(&self, epoch: u32) {
        let minting = |node: &Node| epochs(node)["minting"] == epoch;
        until(|| self.nodes.iter().all(minting)).await;
    }
}

/// Lets a node read its files again.
async fn reload(node: &Node) {
    node.handle.reload(node.config()).await.unwrap();
}

fn epochs(node: &Node) -> Value {
    node.handle.status().unwrap()["key_epochs"].clone()
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
            reload(node).await;
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
            for node in &stage.nodes {
                reload(node).await;
            }
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
    assert_eq!(epochs(&stage.nodes[1])["in_force"], json!([4, 3]));
    assert_eq!(stage.nodes[1].dropped("undecodable_cid"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_got_the_new_key_early_issues_ids_that_the_others_can_read() {
    let stage = Stage::start(2).await;
    stage.until_minting(1).await;
    stage.step(2);
    stage.step(2);
    reload(&stage.nodes[0]).await;
    let expected = json!({ "in_force": [2, 1], "minting": 1 });
    assert_eq!(epochs(&stage.nodes[0]), expected);
    let client = connect(&stage.directory, &stage.target()).await;
    stage.relay.route_to(1).await.unwrap();
    assert!(!text(&client, "/").await.is_empty());
    reload(&stage.nodes[1]).await;
    stage.until_minting(2).await;
    assert!(!text(&client, "/").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_that_this_node_cannot_follow_changes_nothing_and_says_why() {
    let stage = Stage::start(2).await;
    stage.until_minting(1).await;
    let node = &stage.nodes[0];
    let mut others = node.config();
    others.fleet.as_mut().unwrap().member.remove(0);
    let mut twice = node.config();
    let members = &mut twice.fleet.as_mut().unwrap().member;
    members[1].id = members[0].id;
    for (config, expected) in [
        (others, "fleet.member"),
        (twice, "fleet.member: two members have the ID 0"),
    ] {
        let error = node.handle.reload(config).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let open = Permissions::from_mode(0o644);
    std::fs::set_permissions(stage.key_file(), open).unwrap();
    let error = node.handle.reload(node.config()).await.unwrap_err();
    assert!(error.to_string().contains("chmod 600"), "{error}");
    assert_eq!(epochs(node)["in_force"], json!([1]));
    assert_eq!(node.peers().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_leaves_and_comes_back_while_a_transfer_of_another_goes_on() {
    let stage = Stage::start(3).await;
    stage.until_welcome().await;
    let client = connect(&stage.directory, &stage.target()).await;
    let mut download = Download::begin(&client, 31, DOWN).await;
    stage.relay.route_to(1).await.unwrap();
    let whole = stage.nodes[0].config();
    for node in &stage.nodes[..2] {
        let mut without = node.config();
        without.fleet.as_mut().unwrap().member.pop();
        node.handle.reload(without).await.unwrap();
        assert_eq!(node.peers().len(), 1);
    }
    download.read_to(DOWN / 2).await;
    for node in &stage.nodes[..2] {
        let mut with = node.config();
        with.fleet.clone_from(&whole.fleet);
        node.handle.reload(with).await.unwrap();
    }
    stage.until_welcome().await;
    stage.relay.route_to(2).await.unwrap();
    download.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_hear_that_a_node_drains() {
    let stage = Stage::start(3).await;
    stage.until_welcome().await;
    stage.nodes[2].handle.drain().await.unwrap();
    let welcome = |at: usize| {
        let peers = stage.nodes[at].peers();
        let drains = peers.iter().find(|peer| peer["node"] == 2).unwrap();
        (drains["draining"].clone(), drains["welcomes"].clone())
    };
    until(|| (0..2).all(|at| welcome(at) == (json!(true), json!(false)))).await;
    stage.nodes[2].handle.undrain().await.unwrap();
    stage.until_welcome().await;
}

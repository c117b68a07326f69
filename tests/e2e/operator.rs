//! Claims about `wayhold status` and `wayhold where`.

use std::fs;
use std::net::{SocketAddr, UdpSocket};

use serde_json::{Value, json};
use wayhold::cid::Nonce;
use wayhold::control::write_key_file;
use wayhold::fleet::{FleetKey, InstanceId, Keyring, NodeId, server_id};

use crate::process::{Process, outcome};
use crate::stage::{Directory, cid_form, fleet_key, turn};

/// A fleet of nodes 1 and 2, of which this directory's is the first; gives where their tunnels end.
fn found(directory: &Directory) -> [SocketAddr; 2] {
    let relays = free();
    furnish(directory, (1, 9), relays, fleet_key(), "");
    relays
}

/// Two different addresses that nothing uses.
fn free() -> [SocketAddr; 2] {
    let free = [1, 2].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
    free.map(|socket| socket.local_addr().unwrap())
}

/// Makes the directory of one process of a node, with `more` in its configuration.
fn furnish(
    directory: &Directory,
    (node, instance): (u32, u8),
    relays: [SocketAddr; 2],
    key: FleetKey,
    more: &str,
) {
    directory.certify();
    write_key_file(&directory.file("fleet.key"), &Keyring::new(key)).unwrap();
    let text = format!(
        "listen = [{{ addr = \"127.0.0.1:0\", cert = \"tls.pem\", key = \"tls.key\" }}]\n\
         node = {{ id = {node}, instance = {instance} }}\nworkers = 1\n{more}\n\
         [fleet]\nsilent_after = \"10s\"\nkey_file = \"fleet.key\"\n\
         member = [{{ id = 1, relay = \"{}\" }}, {{ id = 2, relay = \"{}\" }}]\n",
        relays[0], relays[1]
    );
    fs::write(directory.file("wayhold.toml"), text).unwrap();
}

/// A connection ID that a process of this node would issue.
fn cid(node: u32, instance: u8) -> String {
    let id = server_id(NodeId::new(node).unwrap(), InstanceId(instance));
    let cid = cid_form().encode(&id, &Nonce::new(&[5; 12]).unwrap(), 0);
    cid.unwrap().to_string()
}

async fn located(directory: &Directory, cid: &str) -> Value {
    let (code, out, errors) =
        outcome(directory, &["where", "-c", "wayhold.toml", "--json", cid]).await;
    assert_eq!(code, Some(0), "{errors}");
    serde_json::from_str(&out).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_tells_the_owner_the_verdict_and_why() {
    let (_turn, directory) = (turn().await, Directory::new());
    found(&directory);
    let process = Process::start(&directory, &["-c", "wayhold.toml"]).await;
    for (node, instance, verdict, why) in [
        (1, 9, "local", "this process"),
        (1, 8, "reset", "that is gone"),
        (2, 9, "forward", "that lives"),
        (3, 9, "drop", "no node of this fleet"),
    ] {
        let location = located(&directory, &cid(node, instance)).await;
        assert_eq!(location["node"], node, "{location}");
        assert_eq!(location["instance"], instance, "{location}");
        assert_eq!(location["epoch"], fleet_key().epoch().0, "{location}");
        assert_eq!(location["verdict"], verdict, "{location}");
        assert!(
            location["why"].as_str().unwrap().contains(why),
            "{location}"
        );
        assert_eq!(
            location["worker"].is_u64(),
            verdict == "local",
            "{location}"
        );
    }
    let unread = located(&directory, "ff112233445566778899aabbccddeeff00").await;
    assert_eq!(unread["reason"], "undecodable_cid");
    let own = cid(1, 9);
    let (code, out, _) = outcome(&directory, &["where", "-c", "wayhold.toml", &own]).await;
    assert_eq!(code, Some(0));
    assert!(
        out.contains("node       1\n") && out.contains("verdict    local\n"),
        "{out}"
    );
    let (code, _, why) = outcome(&directory, &["where", "-c", "wayhold.toml", "xyz"]).await;
    assert_eq!(code, Some(1), "{why}");
    process.terminate().await;
    assert_eq!(process.end().await.code, Some(0));

    let alone = located(&directory, &own).await;
    assert_eq!((&alone["node"], &alone["instance"]), (&1.into(), &9.into()));
    assert_eq!(alone["verdict"], "unknown");
    assert_eq!(alone["epoch"], fleet_key().epoch().0);
    assert!(
        alone["why"]
            .as_str()
            .unwrap()
            .contains("nobody knows who lives")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_is_for_people_and_for_programs() {
    let (_turn, directory) = (turn().await, Directory::new());
    found(&directory);
    let process = Process::start(&directory, &["-c", "wayhold.toml"]).await;
    process.until("/readyz", 200).await;
    let (code, out, _) = outcome(&directory, &["status", "-c", "wayhold.toml", "--json"]).await;
    assert_eq!(code, Some(0));
    let status: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(status["node"], 1);
    assert_eq!(status["instance"], 9);
    assert_eq!(status["phase"], "ready");
    assert_eq!(status["fleet"]["peers"][0]["node"], 2);
    assert!(status["workers"].as_u64() > Some(0));
    let (code, out, _) = outcome(&directory, &["status", "-c", "wayhold.toml"]).await;
    assert_eq!(code, Some(0));
    assert!(out.starts_with("phase           ready\n"), "{out}");
    assert!(out.contains("quic 0, tcp 0"), "{out}");
    assert!(out.contains("node  state  findings  heard ms ago"), "{out}");
    process.terminate().await;
    assert_eq!(process.end().await.code, Some(0));
    let (code, _, why) = outcome(&directory, &["status", "-c", "wayhold.toml"]).await;
    assert_eq!(code, Some(1));
    assert!(why.contains("no gateway answers on"), "{why}");
}

/// What `wayhold status --json` shows.
async fn shown(directory: &Directory) -> Value {
    let arguments = ["status", "-c", "wayhold.toml", "--json"];
    let (code, out, errors) = outcome(directory, &arguments).await;
    assert_eq!(code, Some(0), "{errors}");
    serde_json::from_str(&out).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_a_peer_is_in_the_log_and_in_status() {
    let (_turn, directory) = (turn().await, Directory::new());
    let relays = found(&directory);
    let configured = ["-c", "wayhold.toml"];
    let process = Process::start(&directory, &configured).await;
    let named = async |finding: &str| {
        let line = process.said(&format!("finding=\"{finding}\""), 1).await;
        assert!(line.contains("WARN") && line.contains("peer=2"), "{line}");
        let status = shown(&directory).await;
        let findings = &status["fleet"]["peers"][0]["findings"];
        let findings = findings.as_array().unwrap();
        assert!(findings.contains(&json!(finding)), "{status}");
        let gauge = format!("wayhold_fleet_findings{{finding=\"{finding}\"}}");
        assert_eq!(process.metric(&gauge).await, 1);
    };

    let stranger = Directory::new();
    let stolen = FleetKey::new(fleet_key().epoch(), [0x77; FleetKey::LEN]);
    furnish(&stranger, (2, 1), relays, stolen, "");
    let other = Process::start(&stranger, &configured).await;
    named("other_key").await;
    other.terminate().await;
    assert_eq!(other.end().await.code, Some(0));

    let peer = Directory::new();
    let config = "cid.first_octet = \"length\"";
    furnish(&peer, (2, 2), relays, fleet_key(), config);
    let second = Process::start(&peer, &configured).await;
    named("other_config").await;
    let status = shown(&directory).await;
    let seen = &status["fleet"]["peers"][0];
    for (member, value) in [
        ("node", json!(2)),
        ("relay", json!(relays[1])),
        ("state", json!("live")),
        ("draining", json!(false)),
        ("instance", json!(2)),
        ("tunnel_version", json!(2)),
        ("epochs", json!([1, 1])),
        ("minting_epoch", json!(1)),
        ("heard_by", json!([])),
        ("unheard_by", json!([])),
    ] {
        assert_eq!(seen[member], value, "{member}: {seen}");
    }
    assert!(seen["heard_ms_ago"].is_u64(), "{seen}");
    for counter in ["received", "local", "forwarded", "tunnelled", "resets"] {
        assert!(status["datagrams"][counter].is_u64(), "{status}");
    }
    assert!(status["dropped"].is_object(), "{status}");

    // Its node's ID is also that of a process that listens elsewhere.
    let twin = Directory::new();
    let elsewhere = [relays[0], free()[0]];
    furnish(&twin, (2, 3), elsewhere, fleet_key(), config);
    let third = Process::start(&twin, &configured).await;
    named("duplicate_node").await;
    for process in [third, second, process] {
        process.terminate().await;
        assert_eq!(process.end().await.code, Some(0));
    }
}

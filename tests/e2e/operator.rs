//! Claims about `wayhold status` and `wayhold where`.

use std::fs;

use serde_json::Value;
use wayhold::cid::Nonce;
use wayhold::control::write_key_file;
use wayhold::fleet::{InstanceId, Keyring, NodeId, server_id};

use crate::process::{Process, outcome};
use crate::stage::{Directory, cid_form, fleet_key, turn};

/// A fleet of nodes 1 and 2, of which this directory's is the first.
fn found(directory: &Directory) {
    directory.certify();
    write_key_file(&directory.file("fleet.key"), &Keyring::new(fleet_key())).unwrap();
    let free = [1, 2].map(|_| std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
    let relay = free.each_ref().map(|socket| socket.local_addr().unwrap());
    let text = format!(
        "listen = [{{ addr = \"127.0.0.1:0\", cert = \"tls.pem\", key = \"tls.key\" }}]\n\
         node = {{ id = 1, instance = 9 }}\nworkers = 1\n\
         [fleet]\nsilent_after = \"10s\"\nkey_file = \"fleet.key\"\n\
         member = [{{ id = 1, relay = \"{}\" }}, {{ id = 2, relay = \"{}\" }}]\n",
        relay[0], relay[1]
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

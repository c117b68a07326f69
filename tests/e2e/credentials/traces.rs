//! Claims about traces of QUIC connections.

use serde_json::Value;
use wayhold::Gateway;
use wayhold::bridge::Origin;

use crate::stage::{Directory, Node, target, turn, until};
use crate::transfer::{connect, text};

/// The records of the only trace in a directory, if there is one.
fn records(directory: &Directory) -> Vec<Value> {
    let Ok(mut entries) = std::fs::read_dir(directory.file("qlog")) else {
        return Vec::new();
    };
    let Some(entry) = entries.next() else {
        return Vec::new();
    };
    let text = std::fs::read(entry.unwrap().path()).unwrap();
    let whole = text
        .rsplitn(2, |&byte| byte == b'\n')
        .nth(1)
        .unwrap_or_default();
    let records = whole.split(|&byte| byte == 0x1e).skip(1);
    records
        .map(|record| serde_json::from_slice(record).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_traced_connection_is_a_sequence_of_json_texts_and_can_be_turned_off() {
    let (_turn, directory) = (turn().await, Directory::new());
    directory.certify();
    let traced = directory.config("log.qlog_dir = \"qlog\"\nlog.qlog_one_in = 1\n");
    let gateway = Gateway::builder().config(traced).handler(Origin::new());
    let node = Node::start(gateway.bind().unwrap());
    let client = connect(&directory, &target(node.address)).await;
    text(&client, "/").await;
    let of = |name: &str, records: &[Value]| {
        records
            .iter()
            .filter(|record| record["name"] == name)
            .count()
    };
    until(|| of("transport:packet_received", &records(&directory)) > 2).await;
    let records = records(&directory);
    assert_eq!(records[0]["qlog_format"], "JSON-SEQ");
    assert!(of("transport:packet_sent", &records) > 2, "{records:?}");
    client.close().await;
    assert_eq!(node.metrics.qlog_traces.get(), 1);
    node.handle.reload(directory.config("")).await.unwrap();
    let client = connect(&directory, &target(node.address)).await;
    text(&client, "/").await;
    client.close().await;
    assert_eq!(node.metrics.qlog_traces.get(), 1);
}

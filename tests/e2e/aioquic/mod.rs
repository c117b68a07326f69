//! An HTTP/3 client that shares no code with the gateway: aioquic, in Python.

use std::net::Ipv4Addr;

use serde_json::Value;
use wayhold::bridge::Origin;
use wayhold::testbed::Move;

use crate::python::Python;
use crate::stage::Stage;
use crate::tap::Tap;
use crate::transfer::digest;
use crate::udp::Proxy;
use crate::websocket::backend::{Backend, Speaks};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_independent_client_fetches_uploads_and_survives_a_rebinding_and_a_flip() {
    let stage = Stage::start(2).await;
    let trusted = stage.directory.file("tls.pem");
    let client = Python::aioquic(stage.relay.address(), &trusted);
    let Some(mut client) = client.await else {
        return;
    };

    let small = client.ask("get /bytes/100000?seed=5").await;
    assert_eq!(small["status"], 200);
    assert_eq!(small["sha256"], digest(5, 100_000));

    let uploaded = client.ask("upload /upload 2500000").await;
    assert_eq!(uploaded["status"], 200);
    let seen: Value = serde_json::from_str(uploaded["body"].as_str().unwrap()).unwrap();
    assert_eq!(seen["bytes"], 2_500_000);
    assert_eq!(seen["sha256"], uploaded["sha256"]);

    client.ask("start /bytes/5000000?seed=6").await;
    stage.relay.make(Move::Flip).await.unwrap();
    client.ask("rebind").await;
    let large = client.ask("finish").await;
    assert_eq!(large["status"], 200);
    assert_eq!(large["sha256"], digest(6, 5_000_000));

    assert!(
        stage.sum(|metrics| metrics.datagrams_forwarded.get()) > 0,
        "the flip was forwarded"
    );
    stage.until_moved().await;
    client.quit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_an_independent_client_refer_to_the_table_that_it_filled() {
    let stage = Stage::start(1).await;
    let trusted = stage.directory.file("tls.pem");
    let client = Python::aioquic(stage.relay.address(), &trusted);
    let Some(mut client) = client.await else {
        return;
    };
    for _ in 0..10 {
        let small = client.ask("get /bytes/100?seed=5").await;
        assert_eq!(small["sha256"], digest(5, 100));
    }
    let referring = stage.sum(|metrics| metrics.qpack_references.get());
    assert!((1..=10).contains(&referring), "{referring} requests refer");
    client.quit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_independent_client_has_udp_carried_through_a_rebinding() {
    let proxy = Proxy::start("").await;
    let trusted = proxy.directory.file("tls.pem");
    let client = Python::aioquic(proxy.node.address, &trusted);
    let Some(mut client) = client.await else {
        return;
    };
    let path = proxy.path();
    for text in ["before", "behind"] {
        let answer = client.ask(&format!("tunnel {path} {text}")).await;
        assert_eq!(answer["status"], 200);
        assert_eq!(answer["capsule_protocol"], "?1");
        assert_eq!(answer["packet"], text);
        client.ask("rebind").await;
    }
    assert_eq!(proxy.node.metrics.udp.tunnels.get(), 1);
    client.quit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_independent_client_speaks_websocket_through_a_rebinding_and_a_flip() {
    let backend = Backend::echoing(Speaks::Http1).await;
    let stage = Stage::built(2, &backend.route(), |builder| builder).await;
    let trusted = stage.directory.file("tls.pem");
    let client = Python::aioquic(stage.relay.address(), &trusted);
    let Some(mut client) = client.await else {
        return;
    };
    assert_eq!(client.ask("websocket /chat").await["status"], 200);
    client.ask("begin 2000000").await;
    stage.relay.make(Move::Flip).await.unwrap();
    client.ask("rebind").await;
    let ended = client.ask("end").await;
    assert_eq!(ended["echo"], ended["sha256"]);
    stage.until_moved().await;
    client.ask("begin 2000").await;
    let ended = client.ask("end").await;
    assert_eq!(ended["echo"], ended["sha256"]);
    assert_eq!(client.ask("close").await["closed"], true);
    assert!(stage.sum(|metrics| metrics.datagrams_forwarded.get()) > 0);
    client.quit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_independent_client_returns_with_early_data_through_another_node() {
    let stage = Stage::configured(2, "quic.early_data = \"owner\"", Origin::new()).await;
    stage.until_welcome().await;
    let trusted = stage.directory.file("tls.pem");
    let nodes = stage.nodes.iter().map(|node| node.address);
    let tap = Tap::start(Ipv4Addr::LOCALHOST.into(), nodes).await;
    let client = Python::aioquic(tap.address, &trusted);
    let Some(mut client) = client.await else {
        return;
    };
    assert_eq!(client.ask("get /bytes/1000?seed=5").await["status"], 200);
    tap.route(1);
    let returned = client.ask("return /bytes/100000?seed=7").await;
    assert_eq!(returned["early"], true);
    assert_eq!(returned["sha256"], digest(7, 100_000));
    assert!(stage.nodes[1].metrics.datagrams_forwarded.get() > 0);
    assert_eq!(stage.nodes[1].metrics.datagrams_local.get(), 0);
    client.quit().await;
}

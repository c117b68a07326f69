//! Claims about the connection IDs that a gateway issues, read by whoever has the fleet's key.

use tokio::net::UdpSocket;
use tokio::time::timeout;
use wayhold::Gateway;
use wayhold::bridge::Origin;
use wayhold::fleet::{InstanceId, NodeId, split_server_id};
use wayhold::wire::{Datagram, LongKind};

use crate::initial;
use crate::proxy::Proxy;
use crate::stage::{Directory, INSTANCE, Node, PATIENCE, Stage, cid_form, target, turn};
use crate::transfer::{connect, text};

/// Who issued a connection ID, as every node of the fleet reads it.
fn issuer(cid: &[u8]) -> Option<(NodeId, InstanceId)> {
    let config = cid_form();
    let decoded = config
        .decode(cid)
        .or_else(|_error| config.decode_prefix(cid))
        .ok()?;
    split_server_id(&decoded.server_id)
}

fn node(id: u32) -> (NodeId, InstanceId) {
    (NodeId::new(id).unwrap(), InstanceId(INSTANCE))
}

/// Sends a genuine Initial to a node and gives the kind and source of what comes back first.
async fn first_answer(stage: &Stage, index: usize) -> (LongKind, Vec<u8>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let opening = initial::capture(&stage.directory).await;
    socket
        .send_to(&opening, stage.nodes[index].address)
        .await
        .unwrap();
    let mut buffer = vec![0; 2000];
    let len = timeout(PATIENCE, socket.recv(&mut buffer))
        .await
        .unwrap()
        .unwrap();
    match Datagram::parse(&buffer[..len]).unwrap() {
        Datagram::Long(header) => (header.kind, header.source.to_vec()),
        Datagram::Short(_) => panic!("a short header before the handshake"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_answer_names_its_node_and_instance() {
    let stage = Stage::start(2).await;
    for index in 0..2 {
        let (kind, source) = first_answer(&stage, index).await;
        assert_eq!(kind, LongKind::Initial);
        assert_eq!(issuer(&source), Some(node(u32::try_from(index).unwrap())));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_names_its_node_and_a_client_that_follows_it_is_served() {
    let stage = Stage::configured(2, "quic.retry = true", Origin::new()).await;
    let (kind, source) = first_answer(&stage, 1).await;
    assert_eq!(kind, LongKind::Retry);
    assert_eq!(issuer(&source), Some(node(1)));
    let client = connect(&stage.directory, &stage.target()).await;
    text(&client, "/").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ids_that_replace_others_name_their_node() {
    let lifetime = "quic.cid_lifetime = \"1s\"";
    let stage = Stage::configured(2, lifetime, Origin::new()).await;
    let proxy = Proxy::start(stage.nodes[1].address).await;
    let client = connect(&stage.directory, &target(proxy.address)).await;
    let used = || -> Vec<Vec<u8>> {
        let mut used: Vec<_> = proxy
            .recorded()
            .iter()
            .filter_map(|datagram| match Datagram::parse(datagram) {
                Ok(Datagram::Short(rest)) => Some(rest[..17].to_vec()),
                _ => None,
            })
            .collect();
        used.dedup();
        used
    };
    let replaced = async {
        while used().len() < 3 {
            text(&client, "/").await;
        }
    };
    timeout(PATIENCE, replaced).await.unwrap();
    for cid in used() {
        assert_eq!(issuer(&cid), Some(node(1)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_resets_no_connection_of_another() {
    let _turn = turn().await;
    let directory = Directory::new();
    directory.certify();
    let mut config = directory.config("");
    config.listen.push(config.listen[0].clone());
    let gateway = Gateway::builder().config(config).bind().unwrap();
    let listeners = gateway.local_addresses();
    let node = Node::start(gateway);
    for (own, other) in [(0, 1), (1, 0)] {
        let proxy = Proxy::start(listeners[own]).await;
        let client = connect(&directory, &target(proxy.address)).await;
        for _ in 0..20 {
            text(&client, "/").await;
        }
        let stray = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let short = |datagram: &Vec<u8>| datagram[0] & 0x80 == 0;
        let recorded = proxy.recorded();
        assert!(recorded.iter().any(short));
        for datagram in recorded.iter().filter(|datagram| short(datagram)) {
            stray.send_to(datagram, listeners[other]).await.unwrap();
        }
        // The first answer is the one to this; what came before got none.
        let mut probe = vec![0xc0, 9, 9, 9, 9, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0];
        probe.resize(1200, 0);
        stray.send_to(&probe, listeners[other]).await.unwrap();
        let mut answer = [0; 1500];
        let len = timeout(PATIENCE, stray.recv(&mut answer))
            .await
            .unwrap()
            .unwrap();
        let Ok(Datagram::Long(header)) = Datagram::parse(&answer[..len]) else {
            panic!("a reset");
        };
        assert_eq!(header.kind, LongKind::VersionNegotiation);
        text(&client, "/").await;
        client.close().await;
    }
    node.end().await.unwrap();
}

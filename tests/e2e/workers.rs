//! Claims about the workers of a listener, the ways back to clients, and resets for those whose
//! process is gone.

use std::net::{SocketAddr, UdpSocket};

use tokio::time::timeout;
use wayhold::bridge::Origin;
use wayhold::client::Http3Client;
use wayhold::control::write_key_file;
use wayhold::fleet::Keyring;
use wayhold::telemetry::HandedOver;
use wayhold::testbed::Move;
use wayhold::{Fault, Gateway};

use crate::proxy::Proxy;
use crate::raw::Raw;
use crate::stage::{Directory, Node, PATIENCE, Solo, Stage, fleet_key, target, turn, until};
use crate::transfer::{Download, Upload, connect, text};

const CLIENTS: usize = 8;
const REBINDS: usize = 6;

fn handed_over(node: &Node, cause: HandedOver) -> u64 {
    node.metrics.handed_over.get_or_create(&cause).get()
}

/// Moves clients to new ports again and again, with a request at each.
async fn wander(node: &Node, directory: &Directory) {
    let mut clients: Vec<Http3Client> = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(connect(directory, &target(node.address)).await);
    }
    for _ in 0..REBINDS {
        for client in &clients {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            client.rebind(socket).unwrap();
            text(client, "/").await;
        }
    }
    for client in clients {
        client.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kernel_leads_clients_to_their_workers_wherever_they_move() {
    let solo = Solo::start("workers = 4", Origin::new()).await;
    wander(&solo.node, &solo.directory).await;
    for cause in [HandedOver::DIRECT, HandedOver::MERGED, HandedOver::WAITED] {
        assert_eq!(handed_over(&solo.node, cause), 0, "{cause:?}");
    }
    assert_eq!(solo.node.open(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_kernel_workers_hand_each_other_what_is_theirs() {
    let _turn = turn().await;
    let directory = Directory::new();
    directory.certify();
    let gateway = Gateway::builder()
        .config(directory.config("workers = 4"))
        .fault(Fault::NoKernelSteering);
    let node = Node::start(gateway.bind().unwrap());
    wander(&node, &directory).await;
    assert!(handed_over(&node, HandedOver::DIRECT) > 0);
    assert_eq!(node.dropped("queue_full"), 0);
    let client = connect(&directory, &target(node.address)).await;
    let mut upload = Upload::begin(&client, 3);
    upload.send(3_000_000).await;
    upload.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_gateway_on_the_address_of_a_group_is_refused() {
    let solo = Solo::start("workers = 4\n", Origin::new()).await;
    let other = Directory::new();
    other.certify();
    let config = other.config_on(&solo.node.address.to_string(), "workers = 4");
    let error = Gateway::builder().config(config).bind().unwrap_err();
    assert!(error.to_string().contains("in use"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limits_of_connections_hold_for_all_workers_together() {
    let solo = Solo::start("workers = 4\nlimits.connections = 2", Origin::new()).await;
    let mut open = Vec::new();
    let address = solo.node.address;
    while let Ok(raw) = Raw::try_connect(&solo.directory, address).await {
        open.push(raw);
    }
    assert_eq!(open.len(), 2);
    assert_eq!(solo.node.refused("connection_limit"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_come_back_by_way_of_the_node_that_was_reached() {
    let more = "fleet.return = \"ingress\"\nworkers = 2";
    let stage = Stage::configured(2, more, Origin::new()).await;
    let [owner, ingress] = [0, 1].map(|node| &stage.nodes[node]);
    let mut proxy = Proxy::start(owner.address).await;
    let client = connect(&stage.directory, &target(proxy.address)).await;
    let mut download = Download::begin(&client, 5, SIZE).await;
    let mut upload = Upload::begin(&client, 6);
    upload.send(200_000).await;
    assert_eq!(owner.metrics.replies_tunnelled.get(), 0);
    // From here on only what comes from the other node's address reaches the client.
    proxy.lead_strictly_to(ingress.address).await;
    tokio::join!(download.read_to(SIZE / 2), upload.send(1_000_000));
    let [tunnelled, emitted] = [
        owner.metrics.replies_tunnelled.get(),
        ingress.metrics.replies_emitted.get(),
    ];
    assert!(
        tunnelled >= emitted && emitted > 0,
        "{emitted} of {tunnelled}"
    );
    until(|| owner.metrics.return_paths.get() == 1).await;
    assert_eq!(ingress.metrics.return_paths.get(), 0);
    proxy.lead_strictly_to(owner.address).await;
    tokio::join!(download.finish(), upload.finish());
    assert!(ingress.metrics.replies_emitted.get() >= emitted);
    client.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn directly_answered_clients_leave_no_trace_at_the_node_between() {
    let stage = Stage::configured(2, "workers = 2", Origin::new()).await;
    let client = connect(&stage.directory, &stage.target()).await;
    let download = Download::begin(&client, 5, SIZE).await;
    stage.relay.make(Move::Flip).await.unwrap();
    let mut upload = Upload::begin(&client, 6);
    upload.send(1_000_000).await;
    tokio::join!(download.finish(), upload.finish());
    let ingress = &stage.nodes[1];
    assert!(ingress.metrics.datagrams_forwarded.get() > 0);
    assert_eq!(ingress.metrics.return_paths.get(), 0);
    assert!(handed_over(&stage.nodes[0], HandedOver::TUNNEL) > 0);
    assert_eq!(stage.sum(|metrics| metrics.replies_tunnelled.get()), 0);
    client.close().await;
}

/// A node of a fleet whose processes know nothing of each other.
fn process(instance: u8) -> (Directory, Node) {
    let directory = Directory::new();
    directory.certify();
    write_key_file(&directory.file("fleet.key"), &Keyring::new(fleet_key())).unwrap();
    let tunnel = UdpSocket::bind("127.0.0.1:0").unwrap();
    let relay = tunnel.local_addr().unwrap();
    let more = format!(
        "workers = 2\nnode = {{ id = 1, instance = {instance} }}\n\
         fleet = {{ key_file = \"fleet.key\", member = [{{ id = 1, relay = \"{relay}\" }}] }}"
    );
    let gateway = Gateway::builder()
        .config(directory.config(&more))
        .relay_socket(tunnel);
    let node = Node::start(gateway.bind().unwrap());
    (directory, node)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_a_process_that_is_gone_is_reset_at_once() {
    let _turn = turn().await;
    let (directory, before) = process(1);
    let (_other, after) = process(2);
    let mut proxy = Proxy::start(before.address).await;
    let raw = Raw::connect(&directory, proxy.address).await;
    proxy.lead_to(after.address).await;
    let (_send, _receive) = raw.begin(b"anything").await;
    let closed = timeout(PATIENCE, raw.connection.closed()).await.unwrap();
    assert_eq!(closed, quinn::ConnectionError::Reset);
    assert!(after.metrics.resets.get() > 0);
    assert_eq!(before.metrics.resets.get(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resets_are_limited_for_each_source() {
    let _turn = turn().await;
    let (directory, before) = process(1);
    let (_other, after) = process(2);
    let proxy = Proxy::start(before.address).await;
    let raw = Raw::connect(&directory, proxy.address).await;
    let (_send, _receive) = raw.begin(b"anything").await;
    let short = || {
        let mut recorded = proxy.recorded().into_iter();
        recorded.rfind(|datagram| datagram[0] & 0x80 == 0 && datagram.len() > 50)
    };
    until(|| short().is_some()).await;
    let datagram = short().unwrap();
    let flood = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    // Twice what one source is allowed in a second, and some more for the time that it takes.
    for _ in 0..20_000 {
        flood.send_to(&datagram, after.address).await.unwrap();
        if after.dropped("reset_limit") > 0 {
            break;
        }
    }
    until(|| after.dropped("reset_limit") > 0).await;
    assert!(after.metrics.resets.get() >= 1000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_served_at_the_preferred_address_and_answered_from_there() {
    let _turn = turn().await;
    let directory = Directory::new();
    directory.certify();
    // Found free here, and bound again by the gateway: a port cannot be named before it is known.
    let free = UdpSocket::bind("127.0.0.2:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let more = format!("workers = 2\nquic.preferred_address = [\"{free}\"]");
    let mut config = directory.config_on(&free.to_string(), &more);
    let mut first = config.listen[0].clone();
    first.addr = SocketAddr::from(([127, 0, 0, 1], 0));
    config.listen.insert(0, first);
    let node = Node::start(Gateway::builder().config(config).bind().unwrap());
    let mut proxy = Proxy::start(node.address).await;
    let client = connect(&directory, &target(proxy.address)).await;
    let mut download = Download::begin(&client, 5, SIZE).await;
    proxy.lead_strictly_to(free).await;
    let mut upload = Upload::begin(&client, 6);
    upload.send(500_000).await;
    download.read_to(SIZE / 2).await;
    until(|| node.metrics.return_paths.get() == 1).await;
    proxy.lead_strictly_to(node.address).await;
    tokio::join!(download.finish(), upload.finish());
    client.close().await;
}

const SIZE: u64 = 4_000_000;

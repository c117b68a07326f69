//! Claims about clients that move in the middle of a transfer.

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use wayhold::bridge::Origin;
use wayhold::client::Http3Client;
use wayhold::request::{Body, ClientFacts, Handler, RequestError};
use wayhold::telemetry::PathChange;
use wayhold::testbed::Move;
use wayhold::{Fault, Gateway};

use crate::proxy::Proxy;
use crate::stage::{Directory, Node, Solo, Stage, target, turn, until};
use crate::transfer::{Download, Upload, connect, get, text};

/// The origin, and every address that it was told.
#[derive(Clone, Debug, Default)]
struct Witness(Arc<Mutex<Vec<SocketAddr>>>);

impl Handler for Witness {
    async fn handle(
        &self,
        request: Request<Body>,
        client: ClientFacts,
    ) -> Result<Response<Body>, RequestError> {
        self.0.lock().unwrap().push(client.address);
        Origin::new().handle(request, client).await
    }
}

impl Witness {
    fn seen(&self) -> Vec<SocketAddr> {
        self.0.lock().unwrap().clone()
    }
}

const DOWN: u64 = 6_000_000;
const UP: usize = 1_500_000;

/// Moves the client with a body in flight in each direction, and both arrive whole.
async fn move_in_mid_transfer(client: &Http3Client, moves: impl AsyncFnOnce()) {
    let mut download = Download::begin(client, 11, DOWN).await;
    let mut upload = Upload::begin(client, 12);
    upload.send(UP).await;
    moves().await;
    tokio::join!(download.read_to(DOWN / 2), upload.send(UP));
    tokio::join!(download.finish(), upload.finish());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_both_ways_go_on_through_a_nat_rebinding() {
    let solo = Solo::start("", Origin::new()).await;
    let client = connect(&solo.directory, &target(solo.node.address)).await;
    let before = client.local_address().unwrap();
    move_in_mid_transfer(&client, async || {
        client
            .rebind(UdpSocket::bind("127.0.0.1:0").unwrap())
            .unwrap();
    })
    .await;
    assert_ne!(client.local_address().unwrap(), before);
    until(|| solo.node.moves(PathChange::PORT) == 1).await;
    assert_eq!(
        solo.node.moves(PathChange::ADDRESS) + solo.node.moves(PathChange::FAMILY),
        0
    );
    assert_eq!(solo.node.open(), 1);
    client.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_both_ways_go_on_from_ipv4_to_ipv6_and_back() {
    let solo = Solo::start_on("[::]:0", "", Origin::new()).await;
    let port = solo.node.address.port();
    let (v4, v6) = (
        SocketAddr::from(([127, 0, 0, 1], port)),
        SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port)),
    );
    let mut proxy = Proxy::start(v4).await;
    let client = connect(&solo.directory, &target(proxy.address)).await;
    let greeting = text(&client, "/").await;
    assert!(greeting.contains(&proxy.source().to_string()), "{greeting}");

    move_in_mid_transfer(&client, async || proxy.lead_to(v6).await).await;
    until(|| solo.node.moves(PathChange::FAMILY) == 1).await;
    move_in_mid_transfer(&client, async || proxy.lead_to(v4).await).await;
    until(|| solo.node.moves(PathChange::FAMILY) == 2).await;
    assert_eq!(
        solo.node.moves(PathChange::ADDRESS) + solo.node.moves(PathChange::PORT),
        0
    );
    assert_eq!(solo.node.open(), 1);
    client.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_both_ways_go_on_between_the_listeners_of_two_families() {
    let (_turn, directory) = (turn().await, Directory::new());
    directory.certify();
    let mut config = directory.config("workers = 2");
    let mut second = config.listen[0].clone();
    second.addr = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    config.listen.push(second);
    let gateway = Gateway::builder().config(config).bind().unwrap();
    let v6 = gateway.local_addresses()[1];
    let node = Node::start(gateway);
    let mut proxy = Proxy::start(node.address).await;
    let client = connect(&directory, &target(proxy.address)).await;

    move_in_mid_transfer(&client, async || proxy.lead_strictly_to(v6).await).await;
    until(|| node.moves(PathChange::FAMILY) == 1).await;
    move_in_mid_transfer(&client, async || {
        proxy.lead_strictly_to(node.address).await;
    })
    .await;
    until(|| node.moves(PathChange::FAMILY) == 2).await;
    assert_eq!(node.open(), 1);
    client.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_was_not_validated_is_never_shown() {
    let witness = Witness::default();
    let solo = Solo::start("", witness.clone()).await;
    let proxy = Proxy::start(solo.node.address).await;
    let client = connect(&solo.directory, &target(proxy.address)).await;
    let own = proxy.source();
    text(&client, "/").await;
    for round in 1..=3 {
        let spoofed = proxy.spoof_next(SPOOFED).await;
        let mut request = get("/");
        let padding = "x".repeat(PADDING).parse().unwrap();
        request.headers_mut().insert("x-padding", padding);
        let response = client.send(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(
            !proxy.is_about_to_spoof(),
            "the request came from {spoofed}"
        );
        text(&client, "/").await;
        assert_eq!(witness.seen(), vec![own; 1 + 2 * round]);
    }
    client.close().await;
}

/// A request with this much padding makes a datagram of these lengths; acknowledgements are
/// shorter and MTU probes longer.
const PADDING: usize = 900;
const SPOOFED: std::ops::RangeInclusive<usize> = 600..=1150;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_keep_a_client_through_every_order_of_moves_and_flips() {
    let witness = Witness::default();
    let stage = Stage::serving(3, witness.clone()).await;
    let client = connect(&stage.directory, &stage.target()).await;
    let owner = &stage.nodes[0];
    let mut random = Random(0x5eed_0003);
    let (mut download, mut upload) = (
        Download::begin(&client, 21, 12 * STEP).await,
        Upload::begin(&client, 22),
    );
    let (mut ports, mut addresses) = (0, 0);
    for step in 1..=10 {
        let event = random.choose([Move::Rebind, Move::Address, Move::Flip, Move::Flip]);
        match event {
            Move::Rebind => ports += 1,
            Move::Address => addresses += 1,
            Move::Flip => {}
        }
        stage.relay.make(event).await.unwrap();
        tokio::join!(download.read_to(step * STEP), upload.send(200_000));
        until(|| {
            owner.moves(PathChange::PORT) == ports && owner.moves(PathChange::ADDRESS) == addresses
        })
        .await;
    }
    tokio::join!(download.finish(), upload.finish());
    let address = witness.seen()[0];
    assert!(witness.seen().iter().all(|seen| *seen == address));
    let forwarded = stage.sum(|metrics| metrics.datagrams_forwarded.get());
    let tunnelled = owner.metrics.datagrams_tunnelled.get();
    assert!(
        tunnelled > 0 && tunnelled <= forwarded,
        "{tunnelled} of {forwarded}"
    );
    assert_eq!(stage.nodes[1].open() + stage.nodes[2].open(), 0);
    client.close().await;
}

const STEP: u64 = 500_000;

/// A small generator (xorshift), so that a failure repeats.
struct Random(u64);

impl Random {
    fn choose<T: Copy, const N: usize>(&mut self, from: [T; N]) -> T {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        from[usize::try_from(self.0 % N as u64).unwrap()]
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_datagram_that_reaches_the_endpoint_resets_nobody() {
    let stage = Stage::built(2, "", |builder| builder.fault(Fault::StrayCopies)).await;
    let client = connect(&stage.directory, &stage.target()).await;
    move_in_mid_transfer(&client, async || {
        stage.relay.make(Move::Flip).await.unwrap();
    })
    .await;
    assert!(stage.sum(|metrics| metrics.datagrams_forwarded.get()) > 0);
}

//! Claims about the moving relay.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;
use wayhold::testbed::{Honesty, Move, Relay, RelayConfig, kernel_drops};

const LIMIT: Duration = Duration::from_secs(5);
const INITIAL: &[u8] = &[0xc3, 0, 0, 0, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8];

struct Bed {
    relay: Relay,
    nodes: [UdpSocket; 2],
    client: UdpSocket,
}

async fn bed(delay: Duration, honesty: Honesty) -> Bed {
    let nodes = [bind().await, bind().await];
    let config = RelayConfig {
        nodes: nodes
            .iter()
            .map(|node| node.local_addr().unwrap())
            .collect(),
        delay,
        honesty,
    };
    let relay = Relay::start(config).await.unwrap();
    let client = bind().await;
    client.connect(relay.address()).await.unwrap();
    Bed {
        relay,
        nodes,
        client,
    }
}

async fn honest() -> Bed {
    bed(Duration::ZERO, Honesty::Honest).await
}

async fn bind() -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap()
}

async fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2048];
    let (len, from) = timeout(LIMIT, socket.recv_from(&mut buffer))
        .await
        .expect("a datagram in time")
        .unwrap();
    (buffer[..len].to_vec(), from)
}

/// Sends a datagram through the relay and returns where the node saw it come from.
async fn seen_by(bed: &Bed, node: usize, datagram: &[u8]) -> SocketAddr {
    bed.client.send(datagram).await.unwrap();
    let (received, from) = receive(&bed.nodes[node]).await;
    assert_eq!(received, datagram);
    from
}

/// Has this node answer with a connection ID of its own, and the client follow it.
async fn answered_by(bed: &Bed, node: usize, source: SocketAddr) {
    let id = u8::try_from(node).unwrap();
    let answer = [0xc3, 0, 0, 0, 1, 0, 2, 9, id];
    bed.nodes[node].send_to(&answer, source).await.unwrap();
    assert_eq!(receive(&bed.client).await.0, answer);
}

/// What a client sends that follows an answer of this node.
fn handshake_with(node: usize) -> [u8; 9] {
    [0xe3, 0, 0, 0, 1, 2, 9, u8::try_from(node).unwrap(), 0]
}

#[tokio::test]
async fn a_rebind_changes_the_port_and_loses_replies_to_the_old_one() {
    let bed = honest().await;
    let old = seen_by(&bed, 0, b"one").await;
    bed.relay.make(Move::Rebind).await.unwrap();
    bed.nodes[0].send_to(b"to the old port", old).await.unwrap();
    let new = seen_by(&bed, 0, b"two").await;
    assert_eq!(new.ip(), old.ip());
    assert_ne!(new.port(), old.port());

    bed.nodes[0].send_to(b"to the new port", new).await.unwrap();
    let (reply, from) = receive(&bed.client).await;
    assert_eq!(reply, b"to the new port");
    assert_eq!(from, bed.relay.address());
}

#[tokio::test]
async fn replies_on_their_way_are_lost_by_a_rebind() {
    let bed = bed(Duration::from_millis(20), Honesty::Honest).await;
    let old = seen_by(&bed, 0, b"one").await;
    bed.nodes[0].send_to(b"lost", old).await.unwrap();
    bed.relay.make(Move::Rebind).await.unwrap();
    let new = seen_by(&bed, 0, b"two").await;
    bed.nodes[0].send_to(b"found", new).await.unwrap();
    assert_eq!(receive(&bed.client).await.0, b"found");
}

#[tokio::test]
async fn an_address_change_gives_each_flow_an_address_of_its_own() {
    let bed = honest().await;
    let other = bind().await;
    other.connect(bed.relay.address()).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(seen_by(&bed, 0, b"one").await.ip());
        other.send(b"other").await.unwrap();
        seen.push(receive(&bed.nodes[0]).await.1.ip());
        bed.relay.make(Move::Address).await.unwrap();
    }
    assert!(seen.iter().all(IpAddr::is_loopback), "{seen:?}");
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 6);
}

#[tokio::test]
async fn a_flip_leads_to_the_next_node_and_is_counted_as_foreign() {
    let bed = honest().await;
    let source = seen_by(&bed, 0, INITIAL).await;
    answered_by(&bed, 0, source).await;
    seen_by(&bed, 0, &handshake_with(0)).await;
    bed.relay.make(Move::Flip).await.unwrap();
    assert_eq!(seen_by(&bed, 1, b"moved").await, source);
    assert_eq!(seen_by(&bed, 1, b"moved").await, source);
    bed.relay.make(Move::Flip).await.unwrap();
    seen_by(&bed, 0, b"back").await;

    let counts = bed.relay.counts().await.unwrap();
    assert_eq!(counts.delivered, [3, 2]);
    assert_eq!(counts.foreign, [0, 2]);
    assert_eq!((counts.rebinds, counts.addresses, counts.flips), (0, 0, 2));
    assert_eq!((counts.under_way, counts.overflowed), (0, 0));
    let [flow] = counts.flows.try_into().unwrap();
    assert_eq!(flow.client, bed.client.local_addr().unwrap());
    assert_eq!(flow.owner, Some(0));
    assert_eq!(flow.delivered, [3, 2]);
}

#[tokio::test]
async fn the_owner_is_the_node_whose_answer_the_client_follows() {
    let bed = honest().await;
    let source = seen_by(&bed, 0, INITIAL).await;
    bed.relay.make(Move::Flip).await.unwrap();
    // The answer to the first one was lost, so this node begins a connection as well.
    seen_by(&bed, 1, INITIAL).await;
    answered_by(&bed, 1, source).await;
    answered_by(&bed, 0, source).await;
    seen_by(&bed, 1, &handshake_with(1)).await;
    seen_by(&bed, 1, b"established").await;
    let counts = bed.relay.counts().await.unwrap();
    assert_eq!(counts.flows[0].owner, Some(1));
    assert_eq!(counts.foreign, [0, 0]);
    bed.relay.make(Move::Flip).await.unwrap();
    seen_by(&bed, 0, b"moved").await;
    seen_by(&bed, 0, &handshake_with(1)).await;
    assert_eq!(bed.relay.counts().await.unwrap().foreign, [2, 0]);
}

#[tokio::test]
async fn an_id_that_the_client_chose_is_nobodys() {
    let bed = honest().await;
    let source = seen_by(&bed, 0, INITIAL).await;
    answered_by(&bed, 0, source).await;
    seen_by(&bed, 0, &handshake_with(0)).await;
    bed.relay.make(Move::Flip).await.unwrap();
    seen_by(&bed, 1, INITIAL).await;
    seen_by(&bed, 1, b"whose").await;
    let counts = bed.relay.counts().await.unwrap();
    assert_eq!((counts.delivered, counts.foreign), (vec![2, 2], vec![0, 0]));
    assert_eq!(counts.unowned, [0, 1]);
}

#[tokio::test]
async fn any_node_may_answer_and_strangers_may_not() {
    let bed = honest().await;
    let source = seen_by(&bed, 0, INITIAL).await;
    bind().await.send_to(b"stranger", source).await.unwrap();
    bed.nodes[1].send_to(b"other node", source).await.unwrap();
    let (reply, from) = receive(&bed.client).await;
    assert_eq!(reply, b"other node");
    assert_eq!(from, bed.relay.address());
}

#[tokio::test]
async fn a_relay_that_lies_counts_a_flip_and_does_not_make_it() {
    let bed = bed(Duration::ZERO, Honesty::ClaimsFlips).await;
    let source = seen_by(&bed, 0, INITIAL).await;
    answered_by(&bed, 0, source).await;
    seen_by(&bed, 0, &handshake_with(0)).await;
    bed.relay.make(Move::Flip).await.unwrap();
    seen_by(&bed, 0, b"still here").await;
    let counts = bed.relay.counts().await.unwrap();
    assert_eq!((counts.delivered, counts.foreign), (vec![2, 1], vec![0, 1]));
    assert_eq!(counts.flips, 1);
}

#[tokio::test]
async fn what_the_relay_delivered_is_what_the_node_received_and_what_its_kernel_dropped() {
    let bed = honest().await;
    socket2::SockRef::from(&bed.nodes[0])
        .set_recv_buffer_size(8192)
        .unwrap();
    let sent = 200;
    for _ in 0..sent {
        bed.client.send(&[1; 1200]).await.unwrap();
    }
    let delivered = timeout(LIMIT, async {
        loop {
            let counts = bed.relay.counts().await.unwrap();
            if counts.delivered[0] == sent {
                return counts.delivered[0];
            }
            tokio::task::yield_now().await;
        }
    });
    let delivered = delivered.await.expect("all delivered in time");
    let dropped = kernel_drops(bed.nodes[0].local_addr().unwrap()).unwrap();
    let mut received = 0;
    while bed.nodes[0].try_recv(&mut [0; 2048]).is_ok() {
        received += 1;
    }
    assert!(dropped > 0);
    assert_eq!(delivered, received + dropped);
}

#[tokio::test]
async fn delay_is_never_shorter_than_set() {
    let delay = Duration::from_millis(15);
    let bed = bed(delay, Honesty::Honest).await;
    let began = bed.relay.make(Move::Rebind).await.unwrap();
    let source = seen_by(&bed, 0, b"there").await;
    bed.nodes[0].send_to(b"back", source).await.unwrap();
    receive(&bed.client).await;
    let ended = bed.relay.make(Move::Rebind).await.unwrap();
    assert!(ended.duration_since(began) >= 2 * delay);
}

#[tokio::test]
async fn moves_reset_tcp_on_both_sides_and_new_connections_follow_the_route() {
    for event in [Move::Rebind, Move::Address, Move::Flip] {
        let nodes = [
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        ];
        let relay = Relay::start(RelayConfig {
            nodes: nodes
                .iter()
                .map(|node| node.local_addr().unwrap())
                .collect(),
            delay: Duration::from_millis(1),
            honesty: Honesty::Honest,
        })
        .await
        .unwrap();

        let (mut client, mut node, old) = connect(&relay, &nodes[0]).await;
        talk(&mut client, &mut node).await;
        relay.make(event).await.unwrap();
        for stream in [&mut client, &mut node] {
            let error = read(stream).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{event:?}");
        }
        let next = usize::from(event == Move::Flip);
        let (mut client, mut node, new) = connect(&relay, &nodes[next]).await;
        assert_eq!(new.ip() != old.ip(), event == Move::Address);
        talk(&mut client, &mut node).await;

        client.shutdown().await.unwrap();
        assert_eq!(read(&mut node).await.unwrap(), b"");
        node.write_all(b"last words").await.unwrap();
        drop(node);
        assert_eq!(read(&mut client).await.unwrap(), b"last words");
        assert_eq!(read(&mut client).await.unwrap(), b"");
    }
}

#[tokio::test]
async fn flips_pass_by_a_withdrawn_node_until_it_is_announced_again() {
    let bed = honest().await;
    bed.relay.withdraw(0).await.unwrap();
    seen_by(&bed, 1, INITIAL).await;
    bed.relay.make(Move::Flip).await.unwrap();
    seen_by(&bed, 1, INITIAL).await;
    bed.relay.withdraw(1).await.unwrap();
    seen_by(&bed, 1, INITIAL).await;
    bed.relay.announce(0).await.unwrap();
    seen_by(&bed, 1, INITIAL).await;
    bed.relay.make(Move::Flip).await.unwrap();
    seen_by(&bed, 0, INITIAL).await;
    assert_eq!(bed.relay.counts().await.unwrap().flips, 2);
}

async fn connect(relay: &Relay, node: &TcpListener) -> (TcpStream, TcpStream, SocketAddr) {
    let (client, accepted) = timeout(LIMIT, async {
        tokio::join!(TcpStream::connect(relay.address()), node.accept())
    })
    .await
    .expect("a connection in time");
    let (node, source) = accepted.unwrap();
    (client.unwrap(), node, source)
}

async fn talk(client: &mut TcpStream, node: &mut TcpStream) {
    client.write_all(b"hello").await.unwrap();
    assert_eq!(read(node).await.unwrap(), b"hello");
    node.write_all(b"welcome").await.unwrap();
    assert_eq!(read(client).await.unwrap(), b"welcome");
}

async fn read(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut buffer = [0; 64];
    let len = timeout(LIMIT, stream.read(&mut buffer))
        .await
        .expect("an event in time")?;
    Ok(buffer[..len].to_vec())
}

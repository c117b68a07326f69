//! The link emulator between hosts of its own.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use wayhold::link::{Loss, PerMillion, Profile};
use wayhold::sys::link_socket::Batch;
use wayhold::testbed::emulator::{Chosen, Direction, Fate, Network, Packet, Trace};
use wayhold::testbed::lab::{End, Host, Prefix, tap};

use crate::stage::PATIENCE;

const DELAY: Duration = Duration::from_millis(5);

pub(crate) fn an_emulated_link_delivers_everything_in_order() {
    let network = network(1);
    let mut profile = Profile::of(DELAY);
    profile.jitter = DELAY;
    network.emulator().set_profiles(profile, profile, 1);
    let (client, node) = sockets(&network, 0);
    network.emulator().record();
    for number in 0..100 {
        send(&client, &node, number);
    }
    assert!((0..100).map(|_| receive(&node)).eq(0..100));
    let trace = network.emulator().take().unwrap();
    let numbers = delivered(&trace, Direction::ToNode).map(number);
    assert!(numbers.eq(0..100));
}

pub(crate) fn an_emulated_link_loses_exactly_the_chosen_packets() {
    let network = network(1);
    let (client, node) = sockets(&network, 0);
    let other = bind(&network.client, Network::OTHER_CLIENT);
    network.emulator().choose_losses(
        Direction::ToNode,
        Chosen {
            numbers: vec![2, 5],
            client_port: Some(client.local_addr().unwrap().port()),
        },
    );
    network.emulator().record();
    for number in 0..6 {
        send(&other, &node, 100 + number);
        send(&client, &node, number);
    }
    let received: Vec<_> = (0..10).map(|_| receive(&node)).collect();
    assert_eq!(received, [100, 0, 101, 102, 2, 103, 3, 104, 105, 5]);
    let trace = network.emulator().take().unwrap();
    let lost = trace.packets.iter();
    let lost = lost.filter(|packet| packet.fate == Fate::Lost(Loss::Chosen));
    assert_eq!(lost.map(number).collect::<Vec<_>>(), [1, 4]);
}

pub(crate) fn the_emulated_route_flips_and_every_node_reaches_the_client() {
    let network = network(2);
    let (client, first) = sockets(&network, 0);
    let port = first.local_addr().unwrap().port();
    let second = network.nodes[1].run(|| UdpSocket::bind((Network::SERVICE, port)));
    let second = second.unwrap().unwrap();
    second.set_read_timeout(Some(PATIENCE)).unwrap();
    for (round, node) in [(0, 0), (1, 1), (2, 1), (3, 0)] {
        network.emulator().set_route(node).unwrap();
        send(&client, &first, round);
        // Whoever has got it, both answer.
        assert_eq!(receive([&first, &second][node]), round);
        for node in [&first, &second] {
            send(node, &client, round);
            assert_eq!(receive(&client), round);
        }
    }
    assert!(network.emulator().set_route(2).is_err());
    // The cable between the nodes does not lead through the emulator.
    network.emulator().record();
    let (a, b) = (
        bind(&network.nodes[0], Network::peer(0)),
        bind(&network.nodes[1], Network::peer(1)),
    );
    send(&a, &b, 7);
    assert_eq!(receive(&b), 7);
    assert!(network.emulator().take().unwrap().packets.is_empty());
}

pub(crate) fn nothing_passes_an_emulated_link_early_and_lateness_is_reported() {
    let network = network(1);
    let profile = Profile::of(DELAY);
    network.emulator().set_profiles(profile, profile, 1);
    let (client, node) = sockets(&network, 0);
    let begin = network.emulator().lateness().unwrap();
    network.emulator().record();
    for number in 0..20 {
        send(&client, &node, number);
        assert_eq!(receive(&node), number);
        send(&node, &client, number);
        assert_eq!(receive(&client), number);
    }
    let trace = network.emulator().take().unwrap();
    let lateness = network.emulator().lateness().unwrap();
    assert_eq!(trace.packets.len(), 40);
    let mut worst = Duration::ZERO;
    let mut before = None;
    for packet in &trace.packets {
        let Fate::Delivered { at, late } = packet.fate else {
            panic!("{:?}", packet.fate);
        };
        assert_eq!(at.duration_since(packet.sent), DELAY + late);
        // Each is an answer to the one before.
        assert!(before.is_none_or(|before| before < packet.sent));
        before = Some(at);
        worst = worst.max(late);
    }
    assert_eq!((begin.packets, lateness.packets), (0, 40));
    assert!(lateness.worst >= worst && lateness.p99 >= lateness.median);
    assert_eq!((lateness.dropped, lateness.refused), (0, 0));
}

pub(crate) fn tcp_crosses_an_emulated_link_whole_in_packets_of_its_mtu() {
    const BYTES: usize = 1_000_000;
    let network = network(1);
    let mut profile = Profile::of(Duration::from_millis(1));
    profile.loss = PerMillion::percent(1);
    profile.burst = 3;
    network.emulator().set_profiles(profile, profile, 1);
    network.emulator().record();
    let bytes: Vec<_> = (0..251).cycle().take(BYTES).collect();
    let listener = network.nodes[0].run(|| TcpListener::bind((Network::SERVICE, 0)));
    let listener = listener.unwrap().unwrap();
    let address = listener.local_addr().unwrap();
    let echoed = thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut received = Vec::new();
            stream.read_to_end(&mut received).unwrap();
            stream.write_all(&received).unwrap();
        });
        let connect = || TcpStream::connect(address);
        let mut stream = network.client.run(connect).unwrap().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut echoed = Vec::new();
        stream.read_to_end(&mut echoed).unwrap();
        echoed
    });
    assert!(echoed == bytes, "{} bytes", echoed.len());
    let trace = network.emulator().take().unwrap();
    for direction in [Direction::ToNode, Direction::ToClient] {
        let lengths = delivered(&trace, direction).map(|packet| packet.bytes.len());
        assert_eq!(lengths.max(), Some(1500));
    }
    let lost = trace.packets.iter();
    let lost = lost.filter(|packet| packet.fate == Fate::Lost(Loss::Chance));
    assert!(lost.count() > 0);
}

pub(crate) fn a_smaller_mtu_holds_for_what_hosts_send() {
    let network = network(1);
    network.set_mtu(1280).unwrap();
    let listener = network.nodes[0].run(|| TcpListener::bind((Network::SERVICE, 0)));
    let listener = listener.unwrap().unwrap();
    let address = listener.local_addr().unwrap();
    network.emulator().record();
    let mut stream = network
        .client
        .run(|| TcpStream::connect(address))
        .unwrap()
        .unwrap();
    stream.write_all(&[1; 5000]).unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    accepted.set_read_timeout(Some(PATIENCE)).unwrap();
    accepted.read_exact(&mut [0; 5000]).unwrap();
    let trace = network.emulator().take().unwrap();
    let lengths = delivered(&trace, Direction::ToNode).map(|packet| packet.bytes.len());
    assert_eq!(lengths.max(), Some(1280));
    assert!(network.set_mtu(1501).is_err());
}

pub(crate) fn what_the_kernel_drops_at_a_tap_is_counted() {
    const SENT: u64 = 20_000;
    let (host, far) = (Host::new().unwrap(), Host::new().unwrap());
    let address = |last| Ipv4Addr::new(10, 0, 0, last);
    let end = End {
        host: &host,
        interface: "up",
        address: Prefix {
            address: address(2),
            length: 24,
        },
    };
    let tap = tap(end, (&far, "down"), address(1), 1500).unwrap();
    let socket = bind(&host, address(2));
    for _ in 0..SENT {
        socket.send_to(&[0; 1400], (address(1), 9)).unwrap();
    }
    let mut batch = Batch::new(1500);
    let mut received = 0;
    loop {
        tap.socket.receive(&mut batch).unwrap();
        match batch.packets().len() {
            0 => break,
            more => received += more as u64,
        }
        assert!(batch.packets().all(|packet| packet.bytes.len() == 1428));
    }
    let dropped = tap.socket.dropped().unwrap();
    assert!(received > 0 && dropped > 0, "{received} {dropped}");
    assert_eq!(received + dropped, SENT);
    // A reading does not begin anew.
    assert_eq!(tap.socket.dropped().unwrap(), dropped);
}

fn network(nodes: usize) -> Network {
    Network::new(nodes, 1500).unwrap()
}

/// A socket of the client and one of a node, at the service address.
fn sockets(network: &Network, node: usize) -> (UdpSocket, UdpSocket) {
    let client = bind(&network.client, Network::CLIENT);
    (client, bind(&network.nodes[node], Network::SERVICE))
}

fn bind(host: &Host, address: Ipv4Addr) -> UdpSocket {
    let socket = host.run(|| UdpSocket::bind((address, 0))).unwrap().unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn send(from: &UdpSocket, to: &UdpSocket, number: u8) {
    from.send_to(&[number], to.local_addr().unwrap()).unwrap();
}

fn receive(socket: &UdpSocket) -> u8 {
    let mut buffer = [0; 2];
    assert_eq!(socket.recv(&mut buffer).unwrap(), 1);
    buffer[0]
}

fn delivered(trace: &Trace, direction: Direction) -> impl Iterator<Item = &Packet> {
    let packets = trace.packets.iter();
    packets.filter(move |packet| {
        packet.direction == direction && matches!(packet.fate, Fate::Delivered { .. })
    })
}

/// What a datagram of one byte holds.
fn number(packet: &Packet) -> u8 {
    assert_eq!(packet.bytes.len(), 29);
    packet.bytes[28]
}

use std::net::{IpAddr, UdpSocket as Client};
use std::num::NonZeroU16;
use std::time::Duration;

use quinn::udp::{BATCH_SIZE, EcnCodepoint};

use super::receiving::{OVERSIZED, WRONG_FAMILY};
use super::*;
use crate::cid::{ConfigSet, ServerId, WorkerHash};
use crate::edge::endpoints::Endpoints;
use crate::fleet::{Identity, Keyring, View};
use crate::session::SessionKeys;
use crate::steer::{Slots, Steer};
use crate::telemetry::{HandedOver, Reason};
use crate::wire::Ecn;

const ANY: &str = "[::]:0";
const IPV4: &str = "127.0.0.1:0";
const PATIENCE: Duration = Duration::from_secs(10);
const BUFFER: usize = 2048;

struct Owner {
    socket: Arc<SteeredSocket>,
    injector: Injector,
    metrics: Metrics,
}

impl Owner {
    fn bind(address: &str, queue: usize) -> Self {
        let metrics = Metrics::default();
        let steering = Steering::testing(steer(Slots::single(17)), &metrics);
        let parts = SocketParts::testing(address, queue);
        let (socket, endpoint) =
            SteeredSocket::new(parts, Arc::clone(&steering), metrics.clone()).unwrap();
        let injector = endpoint.injector.clone();
        steering.serve(Endpoints::new(Slots::single(17), vec![endpoint]));
        Self {
            socket: Arc::new(socket),
            injector,
            metrics,
        }
    }

    /// Receives once and gives where each datagram came from and what it holds.
    async fn receive(&self) -> Vec<(RecvMeta, Vec<u8>)> {
        let mut storage = vec![0; BATCH_SIZE * BUFFER];
        let mut bufs: Vec<_> = storage.chunks_mut(BUFFER).map(IoSliceMut::new).collect();
        let mut meta = [RecvMeta::default(); BATCH_SIZE];
        let received = std::future::poll_fn(|cx| self.socket.poll_recv(cx, &mut bufs, &mut meta));
        let received = tokio::time::timeout(PATIENCE, received).await.unwrap();
        let datagram = |(meta, buf): (&RecvMeta, &IoSliceMut<'_>)| (*meta, buf[..meta.len].into());
        let all = meta.iter().zip(&bufs).take(received.unwrap());
        all.map(datagram).collect()
    }

    /// Answers as quinn does: to where a datagram came from, from where it was sent to.
    async fn answer(&self, meta: &RecvMeta) {
        self.socket.io().writable().await.unwrap();
        let transmit = Transmit {
            destination: meta.addr,
            ecn: None,
            contents: b"answer",
            segment_size: None,
            src_ip: meta.dst_ip,
        };
        self.socket.try_send(&transmit).unwrap();
    }

    fn inject(&self, source: SocketAddr, destination: &str, datagram: &[u8]) {
        let destination = destination.parse().unwrap();
        let path = Path {
            source,
            destination,
        };
        let batch = Batch {
            bytes: datagram,
            stride: datagram.len(),
            origin: Origin::direct(path, Ecn::Ect0),
        };
        assert_eq!(self.injector.inject(&batch), 1);
    }

    fn source_for(&self, client: SocketAddr, first: &str) -> Option<IpAddr> {
        let first = Some(first.parse().unwrap());
        let departure = self.socket.ways_back.departure(client, first);
        departure.source.map(|source| source.ip())
    }

    fn dropped(&self, reason: &'static str) -> u64 {
        let dropped = &self.metrics.datagrams_dropped;
        dropped.get_or_create(&Reason { reason }).get()
    }

    fn port(&self) -> u16 {
        self.socket.port.local().port()
    }
}

fn steer(slots: Slots) -> Steer {
    let own = Identity::Opaque(ServerId::new(&[1; 8]).unwrap());
    Steer::new(ConfigSet::default(), View::new(own, []), slots)
}

fn client(address: &str) -> Client {
    let client = Client::bind(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

fn initial(mark: u8) -> Vec<u8> {
    let mut datagram = vec![0xc0, 0, 0, 0, 1, 8];
    datagram.resize(14, 0x5a);
    datagram.extend_from_slice(&[0, 0, mark]);
    datagram.resize(1200, mark);
    datagram
}

fn answered_from(client: &Client) -> SocketAddr {
    let mut buffer = [0; 64];
    let (len, from) = client.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..len], b"answer");
    from
}

#[tokio::test]
async fn an_ipv4_client_has_one_address_on_every_kind_of_socket() {
    for bound in [ANY, IPV4] {
        let owner = Owner::bind(bound, 1);
        let client = client(IPV4);
        let service = SocketAddr::new([127, 0, 0, 1].into(), owner.port());
        client.send_to(&initial(1), service).unwrap();
        let received = owner.receive().await;
        let (meta, datagram) = &received[0];
        assert_eq!(meta.addr, client.local_addr().unwrap(), "{bound}");
        assert_eq!(meta.dst_ip, Some(service.ip()), "{bound}");
        assert_eq!(*datagram, initial(1));
        owner.answer(meta).await;
        assert_eq!(answered_from(&client), service, "{bound}");
    }
}

#[tokio::test]
async fn a_client_of_a_peer_is_answered_from_the_address_that_it_asked() {
    for (bound, from, service) in [
        (ANY, IPV4, "127.0.0.2:443"),
        (IPV4, IPV4, "127.0.0.2:443"),
        (ANY, "[::1]:0", "[::1]:443"),
    ] {
        let owner = Owner::bind(bound, 1);
        let client = client(from);
        owner.inject(client.local_addr().unwrap(), service, &initial(1));
        let received = owner.receive().await;
        let (meta, datagram) = &received[0];
        assert_eq!(meta.addr, client.local_addr().unwrap());
        assert_eq!(meta.ecn, Some(EcnCodepoint::Ect0));
        assert_eq!(*datagram, initial(1));
        owner.answer(meta).await;
        let service: SocketAddr = service.parse().unwrap();
        assert_eq!(answered_from(&client).ip(), service.ip());
    }
}

#[tokio::test]
async fn what_this_socket_cannot_answer_or_hold_is_dropped_and_counted() {
    let owner = Owner::bind(IPV4, 3);
    let v6 = "[2001:db8::7]:4000".parse().unwrap();
    let v4 = "192.0.2.7:4000".parse().unwrap();
    owner.inject(v6, "[2001:db8::1]:443", &initial(1));
    owner.inject(v4, "192.0.2.1:443", &[0; BUFFER + 1]);
    owner.inject(v4, "192.0.2.1:443", &initial(2));
    let received = owner.receive().await;
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].1, initial(2));
    assert_eq!(owner.dropped(WRONG_FAMILY), 1);
    assert_eq!(owner.dropped(OVERSIZED), 1);
    let client = client(IPV4);
    client.send_to(b"", owner.socket.port.local()).unwrap();
    client
        .send_to(&initial(3), owner.socket.port.local())
        .unwrap();
    assert_eq!(owner.receive().await.last().unwrap().1, initial(3));
    assert_eq!(owner.dropped("not_quic"), 1);
}

#[tokio::test]
async fn a_flood_from_peers_leaves_clients_their_turn() {
    let owner = Owner::bind(IPV4, 8 * BATCH_SIZE);
    let client = client(IPV4);
    for _ in 0..8 * BATCH_SIZE {
        owner.inject(client.local_addr().unwrap(), "192.0.2.1:443", &initial(1));
    }
    client
        .send_to(&initial(2), owner.socket.port.local())
        .unwrap();
    owner.socket.io().readable().await.unwrap();
    let turns = [owner.receive().await, owner.receive().await];
    let directly = |turn: &Vec<(RecvMeta, Vec<u8>)>| turn[0].1 == initial(2);
    assert_eq!(turns.iter().filter(|turn| directly(turn)).count(), 1);
}

#[tokio::test]
async fn a_waiting_endpoint_is_woken_from_either_side() {
    let owner = Owner::bind(IPV4, 1);
    let client = client(IPV4);
    let from = client.local_addr().unwrap();
    for round in 0..4 {
        let arrive = async {
            tokio::task::yield_now().await;
            if round < 2 {
                owner.inject(from, "192.0.2.1:443", &initial(round));
            } else {
                client
                    .send_to(&initial(round), owner.socket.port.local())
                    .unwrap();
            }
        };
        let (received, ()) = tokio::join!(owner.receive(), arrive);
        assert_eq!(received[0].1, initial(round));
    }
}

#[tokio::test]
async fn a_client_that_changes_family_through_a_peer_is_answered_in_the_new_one() {
    let owner = Owner::bind(ANY, 1);
    let client: SocketAddr = "[2001:db8::7]:4000".parse().unwrap();
    assert_eq!(owner.source_for(client, "192.0.2.1"), None);
    owner.inject(client, "[2001:db8::1]:443", &initial(1));
    owner.receive().await;
    let service = "2001:db8::1".parse().ok();
    assert_eq!(owner.source_for(client, "192.0.2.1"), service);
    let client = "192.0.2.7:4000".parse().unwrap();
    let first = "192.0.2.1".parse().ok();
    assert_eq!(owner.source_for(client, "192.0.2.1"), first);
}

#[tokio::test]
async fn garbage_does_not_choose_the_address_of_answers() {
    let owner = Owner::bind(ANY, 1);
    let attacker = client("[::1]:0");
    let service = SocketAddr::new([0, 0, 0, 0, 0, 0, 0, 1].into(), owner.port());
    attacker.send_to(b"garbage", service).unwrap();
    let from = attacker.local_addr().unwrap();
    while owner.dropped("not_quic") == 0 {
        owner.inject(from, "[2001:db8::1]:443", &initial(1));
        owner.receive().await;
    }
    let other = "[2001:db8::7]:1".parse().unwrap();
    let source = owner.source_for(other, "192.0.2.1");
    assert_eq!(source, "2001:db8::1".parse().ok());
}

#[tokio::test]
async fn a_paused_socket_takes_what_is_put_in_and_reads_on_when_told() {
    let owner = Owner::bind(IPV4, 1);
    let client = client(IPV4);
    let reading = owner.socket.steering.reading().clone();
    reading.pause();
    client
        .send_to(&initial(1), owner.socket.port.local())
        .unwrap();
    owner.socket.io().readable().await.unwrap();
    let from = client.local_addr().unwrap();
    owner.inject(from, "127.0.0.2:443", &initial(2));
    let received = owner.receive().await;
    assert_eq!(received[0].1, initial(2));
    owner.answer(&received[0].0).await;
    assert_eq!(answered_from(&client).ip().to_string(), "127.0.0.2");
    let resume = async {
        tokio::task::yield_now().await;
        reading.resume();
    };
    let (received, ()) = tokio::join!(owner.receive(), resume);
    assert_eq!(received[0].1, initial(1));
}

/// An Initial whose connection ID leads to a worker.
fn initial_for(slots: &Slots, worker: u16) -> Vec<u8> {
    let mut datagram = initial(7)[..300].to_vec();
    while slots.worker_of(&datagram[6..14]) != worker {
        datagram[9] = datagram[9].wrapping_add(1);
    }
    datagram
}

#[tokio::test]
async fn what_the_kernel_merged_goes_to_each_ones_worker_and_is_counted_apart() {
    let two = NonZeroU16::new(2).unwrap();
    let slots = Slots::new(WorkerHash::new([3; 8]), 17, NonZeroU16::MIN, two).unwrap();
    let metrics = Metrics::default();
    let steering = Steering::testing(steer(slots), &metrics);
    let worker = |slot| {
        let mut parts = SocketParts::testing(IPV4, 8);
        parts.slot = Slot(slot);
        SteeredSocket::new(parts, Arc::clone(&steering), metrics.clone()).unwrap()
    };
    let ((first, one), (second, other)) = (worker(0), worker(1));
    steering.serve(Endpoints::new(slots, vec![one, other]));
    let counted = |cause| metrics.handed_over.get_or_create(&cause).get();
    let own = initial_for(&slots, 0);
    let others = initial_for(&slots, 1);
    // The kernel chose this worker by the first of each batch, and in the last one did not choose.
    for (batch, kept, merged, direct) in [
        ([&own, &own, &own], 3, 0, 0),
        ([&own, &others, &own], 2, 1, 0),
        ([&own, &others, &others], 1, 3, 0),
        ([&others, &others, &own], 1, 4, 1),
    ] {
        let mut bytes = batch.map(|datagram| &datagram[..]).concat();
        let mut meta = RecvMeta {
            addr: "192.0.2.7:4000".parse().unwrap(),
            len: bytes.len(),
            stride: 300,
            ..RecvMeta::default()
        };
        first.steer(&mut bytes, &mut meta);
        assert_eq!(bytes[..meta.len], own.repeat(kept));
        assert_eq!(counted(HandedOver::MERGED), merged);
        assert_eq!(counted(HandedOver::DIRECT), direct);
        let mut arrived = Vec::new();
        while arrived.len() < (3 - kept) * 300 {
            let mut buffer = [0; BUFFER];
            let mut meta = [RecvMeta::default()];
            let received = std::future::poll_fn(|cx| {
                second.poll_recv(cx, &mut [IoSliceMut::new(&mut buffer)], &mut meta)
            });
            let received = tokio::time::timeout(PATIENCE, received).await.unwrap();
            assert_eq!(received.unwrap(), 1);
            arrived.extend_from_slice(&buffer[..meta[0].len]);
        }
        assert_eq!(arrived, others.repeat(3 - kept));
    }
}

#[tokio::test]
async fn early_data_without_its_initial_has_three_places_for_a_moment_and_is_counted_once() {
    let metrics = Metrics::default();
    let tokens = SessionKeys::new(&Keyring::testing(5)).tokens;
    let steer = steer(Slots::single(17)).with_owners(tokens);
    let steering = Steering::testing(steer, &metrics);
    let dropped = |reason| {
        let dropped = &metrics.datagrams_dropped;
        dropped.get_or_create(&Reason { reason }).get()
    };
    let path = Path {
        source: "192.0.2.7:4000".parse().unwrap(),
        destination: "192.0.2.1:443".parse().unwrap(),
    };
    let mut early = initial(1);
    early[0] = 0xd0;
    for _ in 0..4 {
        steering.take(&Batch {
            bytes: &early,
            stride: early.len(),
            origin: Origin::direct(path, Ecn::NotEct),
        });
    }
    let ended = async {
        while dropped("early_timeout") < 3 {
            tokio::task::yield_now().await;
            steering.take_released();
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
    assert_eq!((dropped("early_full"), dropped("early_timeout")), (1, 3));
    assert_eq!(metrics.datagrams_received.get(), 4);
}

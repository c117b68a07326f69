//! What passing a datagram to its owner costs a node, beside the barest forwarders that user space can
//! have, which look at nothing: one that receives and sends single datagrams, one that receives and
//! sends what the kernel merged (GRO, GSO).
//!
//! Run it with `cargo bench --bench forward`. Each sample sends a burst from one socket and waits
//! until another has all of it: directly, through the bare forwarder, and through a gateway in
//! whose fleet the other socket plays the owner; once as single datagrams and once as one batch.
//! docs/bench.md says how to read the numbers.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use quinn::udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use tokio::io::Interest;
use tokio::sync::oneshot;
use wayhold::Gateway;
use wayhold::cid::{CidConfig, ConfigId, FirstOctet, Nonce};
use wayhold::config::{AdminAddress, Config, Fleet, Listen, Member};
use wayhold::control::write_key_file;
use wayhold::fleet::{
    Association, Counters, Epoch, FleetKey, InstanceId, Keyring, NodeId, PairKeys, Party, server_id,
};
use wayhold::wire::{BootId, Challenge, Envelope, Heartbeat, Kind};

criterion_group!(benches, forward);
criterion_main!(benches);

fn forward(criterion: &mut Criterion) {
    let key = FleetKey::new(Epoch(1), [7; FleetKey::LEN]);
    let datagram = datagram(&key);
    let (client, mut owner) = (Client::new(), Owner::new(&key));
    let to = address(&owner.socket);
    let bare = [Forwarder::bare(pass(to)), Forwarder::bare(pass_merged(to))];
    let gateway = Forwarder::gateway(&key, &owner.socket);
    owner.confirm(&client, (gateway.address, &datagram));

    let batch = datagram.repeat(usize::try_from(BURST).expect("a few"));
    for (name, merged, bare) in [("single", false, &bare[0]), ("batch", true, &bare[1])] {
        let mut group = criterion.benchmark_group(format!("forward, {name}"));
        group.throughput(Throughput::Elements(BURST));
        for (name, to) in [
            ("no forwarder", to),
            ("bare forwarder", bare.address),
            ("gateway", gateway.address),
        ] {
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    let size = if merged { batch.len() } else { datagram.len() };
                    for part in batch.chunks(size) {
                        client.send(part, datagram.len(), to);
                    }
                    owner.receive(datagram.len());
                });
            });
        }
        group.finish();
    }
    bare.into_iter().for_each(Forwarder::end);
    gateway.end();
}

/// Sends datagrams as they are or as one batch.
struct Client {
    socket: UdpSocket,
    state: UdpSocketState,
}

impl Client {
    fn new() -> Self {
        let socket = bind();
        let state = UdpSocketState::new((&socket).into()).expect("a good socket");
        Self { socket, state }
    }

    fn send(&self, contents: &[u8], size: usize, to: SocketAddr) {
        let transmit = Transmit {
            destination: to,
            ecn: None,
            contents,
            segment_size: (contents.len() > size).then_some(size),
            src_ip: None,
        };
        let sent = self.state.try_send((&self.socket).into(), &transmit);
        sent.expect("loopback takes it");
    }
}

/// A short header (RFC 9000, section 17.3) with a connection ID of the owner.
fn datagram(key: &FleetKey) -> Vec<u8> {
    let id = ConfigId::default().rotated(key.epoch().0);
    let key = key.cid_key(id);
    let config = CidConfig::new(id, 4, 12, FirstOctet::Random, Some(&key)).expect("legal lengths");
    let nonce = Nonce::new(&[0x5a; 12]).expect("a legal length");
    let cid = config.encode(&server_id(node(OWNER), InstanceId(0)), &nonce, 0);
    let mut bytes = vec![0x41];
    bytes.extend_from_slice(&cid.expect("the configuration's lengths"));
    bytes.resize(1200, 0x5a);
    bytes
}

/// Something that forwards, on a thread of its own.
struct Forwarder {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Forwarder {
    fn bare(
        pass: impl AsyncFnOnce(tokio::net::UdpSocket) -> io::Result<()> + Send + 'static,
    ) -> Self {
        let socket = bind();
        socket.set_nonblocking(true).expect("every socket can");
        let (stop, stopped) = oneshot::channel();
        Self {
            address: address(&socket),
            stop,
            thread: std::thread::spawn(move || {
                runtime().block_on(async {
                    let socket = tokio::net::UdpSocket::from_std(socket).expect("a good socket");
                    tokio::select! {
                        _ = stopped => {}
                        ended = pass(socket) => ended.expect("loopback takes it"),
                    }
                });
            }),
        }
    }

    fn gateway(key: &FleetKey, owner: &UdpSocket) -> Self {
        let relay = bind();
        let key_file = std::env::temp_dir().join(format!("wayhold-bench-{}", std::process::id()));
        write_key_file(&key_file, &Keyring::new(key.clone())).expect("the file is new");
        let members = vec![
            Member::new(node(GATEWAY), address(&relay)),
            Member::new(node(OWNER), address(owner)),
        ];
        let mut config = Config::default();
        config.listen = vec![Listen::new((Ipv4Addr::LOCALHOST, 0).into())];
        config.admin.listen = AdminAddress::Off;
        config.node.id = node(GATEWAY);
        config.fleet = Some(Fleet::new(&key_file, members));
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a name");
        let builder = Gateway::builder()
            .config(config)
            .relay_socket(relay)
            .identity(
                made.cert.pem().as_bytes(),
                made.signing_key.serialize_pem().as_bytes(),
            );
        let (stop, stopped) = oneshot::channel();
        let (bound, address) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            runtime().block_on(async {
                let gateway = builder.bind().expect("free ports of loopback");
                bound
                    .send(gateway.local_addresses()[0])
                    .expect("it is awaited");
                let served = gateway.serve(async { drop(stopped.await) }).await;
                served.expect("there are no requests");
            });
        });
        let address = address.recv().expect("it binds");
        std::fs::remove_file(&key_file).expect("it was written");
        Self {
            address,
            stop,
            thread,
        }
    }

    fn end(self) {
        drop(self.stop);
        self.thread.join().expect("it does not panic");
    }
}

fn pass(to: SocketAddr) -> impl AsyncFnOnce(tokio::net::UdpSocket) -> io::Result<()> {
    async move |socket| {
        let mut buffer = [0; 2048];
        loop {
            let (len, _) = socket.recv_from(&mut buffer).await?;
            socket.send_to(&buffer[..len], to).await?;
        }
    }
}

fn pass_merged(to: SocketAddr) -> impl AsyncFnOnce(tokio::net::UdpSocket) -> io::Result<()> {
    async move |socket| {
        let state = UdpSocketState::new((&socket).into())?;
        let mut buffer = vec![0; MERGED];
        let mut meta = [RecvMeta::default()];
        loop {
            socket.readable().await?;
            let mut slices = [IoSliceMut::new(&mut buffer)];
            let receive = || state.recv((&socket).into(), &mut slices, &mut meta);
            if socket.try_io(Interest::READABLE, receive).is_err() {
                continue;
            }
            let [RecvMeta { len, stride, .. }] = meta;
            let transmit = Transmit {
                destination: to,
                ecn: None,
                contents: &buffer[..len],
                segment_size: (len > stride).then_some(stride),
                src_ip: None,
            };
            let send = || state.try_send((&socket).into(), &transmit);
            socket.async_io(Interest::WRITABLE, send).await?;
        }
    }
}

/// The owner's end of the tunnel.
struct Owner {
    socket: UdpSocket,
    state: UdpSocketState,
    association: Association,
    challenges: u8,
    buffer: Vec<u8>,
}

impl Owner {
    fn new(key: &FleetKey) -> Self {
        let socket = bind();
        let state = UdpSocketState::new((&socket).into()).expect("a good socket");
        let keys = PairKeys::new(&Keyring::new(key.clone()), node(GATEWAY), node(OWNER));
        let own = Party {
            node: node(OWNER),
            instance: InstanceId(0),
            boot: BootId([2; 16]),
        };
        Self {
            socket,
            state,
            association: Association::new(own, node(GATEWAY), keys, Counters::new()),
            challenges: 0,
            buffer: vec![0; BATCH_SIZE * MERGED],
        }
    }

    /// Answers the gateway's heartbeats until it forwards, and checks that what it forwards is
    /// authentic.
    fn confirm(&mut self, client: &Client, (gateway, datagram): (SocketAddr, &[u8])) {
        loop {
            let (message, from) = self.next();
            if Kind::of(&message) == Ok(Kind::Datagram) {
                let sealed = Envelope::parse(&message).expect("a whole envelope");
                self.association
                    .open(&sealed)
                    .expect("the gateway sealed it");
                return;
            }
            self.answer(&message, from);
            client.send(datagram, datagram.len(), gateway);
        }
    }

    fn next(&self) -> (Vec<u8>, SocketAddr) {
        let mut buffer = vec![0; 2048];
        let begin = now();
        while begin.elapsed() < PATIENCE {
            if let Ok((len, from)) = self.socket.recv_from(&mut buffer) {
                buffer.truncate(len);
                return (buffer, from);
            }
            std::thread::yield_now();
        }
        panic!("the gateway beats");
    }

    fn answer(&mut self, heartbeat: &[u8], to: SocketAddr) {
        let sealed = Heartbeat::parse(heartbeat).expect("a whole heartbeat");
        self.association
            .on_heartbeat(&sealed)
            .expect("one key for both");
        let mut answer = Vec::new();
        self.challenges = self.challenges.wrapping_add(1);
        self.association
            .tick(Challenge([self.challenges.max(1); 16]));
        self.association.heartbeat(None, &mut answer);
        self.socket.send_to(&answer, to).expect("loopback takes it");
    }

    /// Takes a burst of datagrams of at least this size; heartbeats in between are shorter.
    fn receive(&mut self, size: usize) {
        let mut meta = [RecvMeta::default(); BATCH_SIZE];
        let mut arrived = 0;
        let mut heartbeats = Vec::new();
        let begin = now();
        while arrived < BURST {
            assert!(begin.elapsed() < PATIENCE, "a burst fits every queue");
            let mut chunks = self.buffer.chunks_exact_mut(MERGED).map(IoSliceMut::new);
            let mut slices: [_; BATCH_SIZE] =
                std::array::from_fn(|_| chunks.next().expect("there are as many"));
            let received = self
                .state
                .recv((&self.socket).into(), &mut slices, &mut meta);
            let Ok(received) = received else {
                std::thread::yield_now();
                continue;
            };
            for (chunk, meta) in self.buffer.chunks_exact(MERGED).zip(&meta[..received]) {
                for message in chunk[..meta.len].chunks(meta.stride) {
                    if message.len() >= size {
                        arrived += 1;
                    } else {
                        heartbeats.push((message.to_vec(), meta.addr));
                    }
                }
            }
        }
        for (heartbeat, from) in heartbeats {
            self.answer(&heartbeat, from);
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("the system has room for it")
}

fn bind() -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port of loopback")
}

fn address(socket: &UdpSocket) -> SocketAddr {
    socket.local_addr().expect("it is bound")
}

fn node(id: u32) -> NodeId {
    NodeId::new(id).expect("a small number")
}

const GATEWAY: u32 = 1;
const OWNER: u32 = 2;
/// Few enough that no socket's queue overflows at the kernel's default size.
const BURST: u64 = 32;
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest batch that the kernel merges.
const MERGED: usize = 65_535;

#[expect(clippy::disallowed_methods, reason = "a patience needs an end")]
fn now() -> Instant {
    Instant::now()
}

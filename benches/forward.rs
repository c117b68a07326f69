//! What passing a datagram to its owner costs a node, beside the barest forwarder that user space
//! can have: receive one datagram, send one datagram, look at nothing.
//!
//! Run it with `cargo bench --bench forward`. Each sample sends a burst from one socket and waits
//! until another has all of it: directly, through the bare forwarder, and through a gateway in
//! whose fleet the other socket plays the owner. docs/bench.md says how to read the numbers.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread::JoinHandle;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
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
    let (client, owner) = (bind(), bind());
    owner
        .set_read_timeout(Some(PATIENCE))
        .expect("it is not zero");
    let key = FleetKey::new(Epoch(1), [7; FleetKey::LEN]);
    let datagram = datagram(&key);
    let bare = Forwarder::bare(address(&owner));
    let gateway = Forwarder::gateway(&key, &owner);
    Peer::new(&key).confirm(&client, &owner, (gateway.address, &datagram));

    let mut group = criterion.benchmark_group("forward");
    group.throughput(Throughput::Elements(BURST));
    for (name, to) in [
        ("no forwarder", address(&owner)),
        ("bare forwarder", bare.address),
        ("gateway", gateway.address),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| burst(&client, to, &datagram, &owner));
        });
    }
    group.finish();
    bare.end();
    gateway.end();
}

fn burst(client: &UdpSocket, to: SocketAddr, datagram: &[u8], owner: &UdpSocket) {
    for _ in 0..BURST {
        client.send_to(datagram, to).expect("loopback takes it");
    }
    let mut buffer = [0; 2048];
    let mut arrived = 0;
    while arrived < BURST {
        let len = owner.recv(&mut buffer).expect("a burst fits every queue");
        // Heartbeats arrive in between; they are shorter.
        arrived += u64::from(len >= datagram.len());
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
    fn bare(to: SocketAddr) -> Self {
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
                        ended = pass(&socket, to) => ended.expect("loopback takes it"),
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

async fn pass(socket: &tokio::net::UdpSocket, to: SocketAddr) -> io::Result<()> {
    let mut buffer = [0; 2048];
    loop {
        let (len, _) = socket.recv_from(&mut buffer).await?;
        socket.send_to(&buffer[..len], to).await?;
    }
}

/// The owner's end of the tunnel.
struct Peer(Association);

impl Peer {
    fn new(key: &FleetKey) -> Self {
        let keys = PairKeys::new(&Keyring::new(key.clone()), node(GATEWAY), node(OWNER));
        let own = Party {
            node: node(OWNER),
            instance: InstanceId(0),
            boot: BootId([2; 16]),
        };
        let counters = Counters::new();
        Self(Association::new(own, node(GATEWAY), keys, counters))
    }

    /// Answers the gateway's heartbeats until it forwards, and checks that what it forwards is
    /// authentic.
    fn confirm(
        mut self,
        client: &UdpSocket,
        owner: &UdpSocket,
        (gateway, datagram): (SocketAddr, &[u8]),
    ) {
        let mut buffer = [0; 2048];
        for challenge in 1_u8.. {
            let (len, from) = owner.recv_from(&mut buffer).expect("the gateway beats");
            if Kind::of(&buffer[..len]) == Ok(Kind::Datagram) {
                let sealed = Envelope::parse(&buffer[..len]).expect("a whole envelope");
                self.0.open(&sealed).expect("the gateway sealed it");
                return;
            }
            let sealed = Heartbeat::parse(&buffer[..len]).expect("a whole heartbeat");
            self.0.on_heartbeat(&sealed).expect("one key for both");
            let mut answer = Vec::new();
            self.0.tick(Challenge([challenge; 16]));
            self.0.heartbeat(None, &mut answer);
            owner.send_to(&answer, from).expect("loopback takes it");
            client
                .send_to(datagram, gateway)
                .expect("loopback takes it");
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

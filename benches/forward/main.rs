//! What passing a datagram to its owner costs a node, beside the barest forwarders that user space can
//! have, which look at nothing: one that receives and sends single datagrams, one that receives and
//! sends what the kernel merged (GRO, GSO).
//!
//! Run it with `cargo bench --bench forward`. Bursts go from one socket to another: directly, through
//! the bare forwarder, and through a gateway in whose fleet the other socket plays the owner; once as
//! single datagrams and once as one batch. The three ways take turns on one processor, so that they meet
//! the same machine, and the figures of each round stay in a file. docs/bench.md says how to read them.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use quinn::udp::{Transmit, UdpSocketState};
use wayhold::cid::{CidConfig, ConfigId, FirstOctet, Nonce};
use wayhold::fleet::{Epoch, FleetKey, InstanceId, NodeId, server_id};
use wayhold::sys::processor::stay_here;

mod forwarder;
mod owner;
mod report;

use forwarder::Forwarder;
use owner::Owner;
use report::{Round, Sample};

fn main() -> std::io::Result<()> {
    // On several processors the kernel may place the gateway and the bare forwarder differently. A
    // thread that is woken from another one runs twice as long for a batch as one that takes turns.
    stay_here()?;
    let key = FleetKey::new(Epoch(1), [7; FleetKey::LEN]);
    let datagram = datagram(&key);
    let (client, mut owner) = (Client::new(), Owner::new(&key));
    let to = address(&owner.socket);
    let gateway = Forwarder::gateway(&key, &owner.socket);
    owner.confirm(&client, (gateway.address, &datagram));

    let kinds = [
        ("single", 1, Forwarder::bare(to)),
        ("batch", BURST, Forwarder::bare_merged(to)),
    ];
    for (kind, merged, bare) in kinds {
        let contents = datagram.repeat(merged);
        let mut run = |to: SocketAddr, forwarder: Option<&Forwarder>| {
            let processor = || forwarder.map_or(Duration::ZERO, Forwarder::processor_time);
            let (before, begin) = (processor(), now());
            for _ in 0..BURSTS {
                for _ in 0..BURST / merged {
                    client.send(&contents, datagram.len(), to);
                }
                owner.receive(datagram.len());
            }
            let elapsed = begin.elapsed();
            Sample {
                elapsed,
                processor: processor().saturating_sub(before),
            }
        };
        let mut round = || Round {
            directly: run(to, None),
            bare: run(bare.address, Some(&bare)),
            gateway: run(gateway.address, Some(&gateway)),
        };
        round();
        let rounds: Vec<_> = (0..ROUNDS).map(|_| round()).collect();
        report::print(kind, &rounds);
        let raw = format!("{}/forward-{kind}.csv", env!("CARGO_TARGET_TMPDIR"));
        fs::write(raw, report::raw(&rounds))?;
        bare.end();
    }
    gateway.end();
    Ok(())
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
/// Datagrams; few enough that no socket's queue overflows at the kernel's default size.
const BURST: usize = 32;
/// As many of one way take some milliseconds.
const BURSTS: usize = 50;
const ROUNDS: usize = 200;
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest batch that the kernel merges.
const MERGED: usize = 65_535;

#[expect(clippy::disallowed_methods, reason = "it measures")]
fn now() -> Instant {
    Instant::now()
}

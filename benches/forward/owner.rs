use std::io::IoSliceMut;
use std::net::{SocketAddr, UdpSocket};

use quinn::udp::{BATCH_SIZE, RecvMeta, UdpSocketState};
use wayhold::fleet::{Association, Counters, FleetKey, InstanceId, Keyring, PairKeys, Party};
use wayhold::wire::{BootId, Challenge, Envelope, Heartbeat, Kind};

use super::{BURST, Client, GATEWAY, MERGED, OWNER, PATIENCE, bind, node, now};

/// The owner's end of the tunnel.
pub(crate) struct Owner {
    pub(crate) socket: UdpSocket,
    state: UdpSocketState,
    association: Association,
    challenges: u8,
    buffer: Vec<u8>,
}

impl Owner {
    pub(crate) fn new(key: &FleetKey) -> Self {
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
    pub(crate) fn confirm(&mut self, client: &Client, (gateway, datagram): (SocketAddr, &[u8])) {
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
            // They are shorter than those that are counted: more than one may be on its way.
            client.send(&datagram[..PROBE], PROBE, gateway);
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
    pub(crate) fn receive(&mut self, size: usize) {
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
                    } else if Kind::of(message) == Ok(Kind::Heartbeat) {
                        heartbeats.push((message.to_vec(), meta.addr));
                    }
                }
            }
        }
        assert_eq!(arrived, BURST, "each datagram is forwarded once");
        for (heartbeat, from) in heartbeats {
            self.answer(&heartbeat, from);
        }
    }
}

/// Bytes of a datagram that asks whether the gateway forwards.
const PROBE: usize = 100;

//! Those who mean no good: what they see, and what they make of it.

use std::collections::VecDeque;
use std::net::SocketAddr;

use wayhold::link::{PerMillion, Random};
use wayhold::wire::{Datagram, Ecn, LongKind};

use crate::client::Client;
use crate::endpoint::{Output, Received};
use crate::issuer::CID_LEN;
use crate::plan::below;
use crate::tls::Hello;
use crate::world::World;

/// What an attacker on the way has seen, and what it is about to do.
#[derive(Debug, Default)]
pub(crate) struct Adversary {
    datagrams: VecDeque<Received>,
    /// Datagrams of connections whose process is gone.
    of_gone: Vec<Received>,
    tunnelled: VecDeque<(usize, Vec<u8>)>,
    spoofing: Vec<usize>,
    strangers: u16,
}

impl Adversary {
    pub(crate) fn capture(&mut self, received: &Received) {
        if received.bytes[0] & 0x80 == 0 {
            keep(&mut self.datagrams, received.clone());
        }
    }

    pub(crate) fn capture_tunnelled(&mut self, to: usize, bytes: &[u8]) {
        keep(&mut self.tunnelled, (to, bytes.to_vec()));
    }

    /// Takes the next of a client's packets for another address.
    pub(crate) fn aim(&mut self, client: usize) {
        self.spoofing.push(client);
    }

    pub(crate) fn spoofs(&mut self, client: usize, received: &Received) -> bool {
        let aimed = self.spoofing.contains(&client) && received.bytes[0] & 0x80 == 0;
        if aimed {
            self.spoofing.retain(|aimed| *aimed != client);
        }
        aimed
    }

    fn stranger(&mut self) -> SocketAddr {
        self.strangers += 1;
        let [high, low] = self.strangers.to_be_bytes();
        SocketAddr::from(([172, 16, high, low], 9999))
    }
}

impl World {
    /// A packet arrives before its original, with an address that is not its sender's.
    pub(crate) fn spoof(&mut self, site: usize, original: &Received) {
        self.checker.count("spoofed");
        let from = self.adversary.stranger();
        self.send_as(site, from, original.bytes.clone());
    }

    /// What looks like early data of a flow arrives before its first packet.
    pub(crate) fn overtake(&mut self, site: usize, first: &Received) {
        let Ok(Datagram::Long(header)) = Datagram::parse(&first.bytes) else {
            return;
        };
        if header.kind == LongKind::Initial && self.random.happens(PerMillion::percent(10)) {
            let bytes = early_data(header.destination);
            let early = Received { bytes, ..*first };
            self.inject(site, early);
        }
    }

    /// Someone opens a connection with an address that is not theirs.
    pub(crate) fn spoof_initial(&mut self, site: usize) {
        let mut out = Output::default();
        let random = self.random.fork();
        let mut client = Client::new(254, Hello::OnePacket, self.now, random);
        drop(client.go_on(self.now, &mut out));
        let from = self.adversary.stranger();
        for sent in out.sent {
            self.send_as(site, from, sent.bytes);
        }
    }

    /// Packets that are almost those of clients; gives how many of those are known.
    pub(crate) fn mutate(&mut self, site: usize) -> usize {
        let known = self.adversary.datagrams.len();
        if known == 0 {
            return 0;
        }
        let from = self.adversary.stranger();
        for _ in 0..4 {
            let seen = self
                .adversary
                .datagrams
                .iter()
                .chain(&self.adversary.of_gone);
            let seen: Vec<_> = seen.collect();
            let at = below(&mut self.random, seen.len());
            let original = seen[at].bytes.clone();
            for bytes in mutations(&mut self.random, &original) {
                self.send_as(site, from, bytes);
            }
        }
        known
    }

    /// Everything that was seen on the way to a node's end of the tunnels arrives again; gives how much
    /// that is.
    pub(crate) fn replay(&mut self, site: usize) -> usize {
        let seen = self.adversary.tunnelled.iter();
        let seen: Vec<_> = seen.filter(|(to, _)| *to == site).cloned().collect();
        let count = seen.len();
        for (to, bytes) in seen {
            self.inject_tunnelled(to, bytes);
        }
        count
    }

    /// Keeps some of what was sent to processes that have just died.
    pub(crate) fn remember_the_dead(&mut self) {
        let cid = |received: &&Received| received.bytes[1..=CID_LEN].to_vec();
        let seen = self.adversary.datagrams.iter();
        let of_gone = seen.filter(|received| self.checker.is_of_gone(&cid(received)));
        let of_gone: Vec<_> = of_gone.take(SEEN).cloned().collect();
        self.adversary.of_gone = of_gone;
    }

    /// More packets under connection IDs of processes that are gone than are answered in a second.
    pub(crate) fn flood_resets(&mut self, site: usize) {
        let Some(original) = self.adversary.of_gone.first().cloned() else {
            return;
        };
        let from = self.adversary.stranger();
        for _ in 0..1200 {
            self.send_as(site, from, original.bytes[..=CID_LEN + 12].to_vec());
        }
    }

    /// More first packets than a draining node hands over for one source.
    pub(crate) fn flood_initials(&mut self, site: usize) {
        let from = self.adversary.stranger();
        for _ in 0..110 {
            let bytes = long(&mut self.random, Form::INITIAL, &[7; 4], 1200);
            self.send_as(site, from, bytes);
        }
    }

    fn send_as(&mut self, site: usize, from: SocketAddr, bytes: Vec<u8>) {
        let received = Received {
            from,
            ecn: Ecn::NotEct,
            bytes,
        };
        self.inject(site, received);
    }
}

/// The first byte and the version of a long header.
#[derive(Clone, Copy)]
struct Form(u8, u32);

impl Form {
    const INITIAL: Self = Self(0xc0, 1);
    const EARLY: Self = Self(0xd0, 1);
    const HANDSHAKE: Self = Self(0xe0, 1);
    const RETRY: Self = Self(0xf0, 1);
    const NEGOTIATION: Self = Self(0xc0, 0);
    const OTHER: Self = Self(0xc0, 0x1a2a_3a4a);
}

fn mutations(random: &mut Random, original: &[u8]) -> Vec<Vec<u8>> {
    let cid = original[1..=CID_LEN].to_vec();
    let mut drawn = vec![0; CID_LEN];
    random.fill(&mut drawn);
    drawn[0] &= 0x1f;
    let short = |cid: &[u8], len: usize| {
        let mut bytes = vec![0x40];
        bytes.extend_from_slice(cid);
        bytes.resize(len, 0);
        bytes
    };
    let mut unroutable = cid.clone();
    unroutable[0] |= 0xe0;
    vec![
        original[..15].to_vec(),
        short(&unroutable, 60),
        short(&drawn, 60),
        short(&cid, 60),
        short(&cid, 21),
        long(random, Form::EARLY, &[7; 8], 200),
        long(random, Form::HANDSHAKE, &[7; 8], 200),
        long(random, Form::HANDSHAKE, &cid, 200),
        long(random, Form::RETRY, &[7; 8], 200),
        long(random, Form::NEGOTIATION, &[7; 8], 200),
        long(random, Form::OTHER, &[7; 8], 1200),
        long(random, Form::OTHER, &[7; 8], 300),
        long(random, Form::OTHER, &cid, 1200),
    ]
}

/// A packet with a long header and nothing in it; a connection ID of eight bytes or less begins one that
/// is drawn.
fn long(random: &mut Random, form: Form, cid: &[u8], len: usize) -> Vec<u8> {
    let mut cid = cid.to_vec();
    if cid.len() <= 8 {
        let mut drawn = [0; 8];
        random.fill(&mut drawn);
        cid.extend_from_slice(&drawn);
    }
    let mut bytes = vec![form.0];
    bytes.extend_from_slice(&form.1.to_be_bytes());
    bytes.push(cid.len() as u8);
    bytes.extend_from_slice(&cid);
    bytes.push(0);
    bytes.resize(len, 0);
    // An Initial has no token and fills the rest of the datagram.
    if form.0 == Form::INITIAL.0 && form.1 == Form::INITIAL.1 {
        let at = 8 + cid.len();
        let rest = (len - at - 2) as u16;
        bytes[at..at + 2].copy_from_slice(&(0x4000 | rest).to_be_bytes());
    }
    bytes
}

/// A 0-RTT packet that nobody can read.
fn early_data(cid: &[u8]) -> Vec<u8> {
    let mut bytes = vec![Form::EARLY.0, 0, 0, 0, 1, cid.len() as u8];
    bytes.extend_from_slice(cid);
    bytes.resize(200, 0);
    bytes
}

fn keep<T>(seen: &mut VecDeque<T>, item: T) {
    if seen.len() == SEEN {
        seen.pop_front();
    }
    seen.push_back(item);
}

/// How much an attacker remembers.
const SEEN: usize = 96;

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::bench::RoundTrips;
use crate::bench::trace::{Exchange, Marks};
use crate::link::Loss;
use crate::testbed::emulator::{Direction, Fate, Packet, Trace};

/// A link that takes 25 ms each way, and a client whose span begins at 0. Times are microseconds.
pub(super) struct Wire {
    pub(super) start: Instant,
    pub(super) trace: Trace,
    pub(super) marks: Marks,
}

pub(super) const RTT: Duration = Duration::from_millis(50);
const ONE_WAY: u64 = 25_000;

impl Wire {
    #[expect(
        clippy::disallowed_methods,
        reason = "an Instant has no other beginning"
    )]
    pub(super) fn new() -> Self {
        // Far enough from the beginning for packets before the span.
        let start = Instant::now() + Duration::from_secs(1);
        Self {
            start,
            trace: Trace::default(),
            marks: Marks::from(start),
        }
    }

    pub(super) fn at(&self, micros: u64) -> Instant {
        self.start + Duration::from_micros(micros)
    }

    pub(super) fn client(&mut self, sent: u64, bytes: Vec<u8>) -> &mut Self {
        self.add(Direction::ToNode, sent, Some(sent + ONE_WAY), bytes)
    }

    pub(super) fn node(&mut self, sent: u64, bytes: Vec<u8>) -> &mut Self {
        self.add(Direction::ToClient, sent, Some(sent + ONE_WAY), bytes)
    }

    pub(super) fn client_loses(&mut self, sent: u64, bytes: Vec<u8>) -> &mut Self {
        self.add(Direction::ToNode, sent, None, bytes)
    }

    pub(super) fn node_loses(&mut self, sent: u64, bytes: Vec<u8>) -> &mut Self {
        self.add(Direction::ToClient, sent, None, bytes)
    }

    pub(super) fn add(
        &mut self,
        direction: Direction,
        sent: u64,
        arrived: Option<u64>,
        bytes: Vec<u8>,
    ) -> &mut Self {
        let late = Duration::ZERO;
        let fate = arrived.map_or(Fate::Lost(Loss::Chance), |arrived| Fate::Delivered {
            at: self.at(arrived),
            late,
        });
        self.push(direction, self.at(sent), fate, bytes)
    }

    pub(super) fn push(
        &mut self,
        direction: Direction,
        sent: Instant,
        fate: Fate,
        bytes: Vec<u8>,
    ) -> &mut Self {
        self.trace.packets.push(Packet {
            direction,
            sent,
            fate,
            bytes: Bytes::from(bytes),
        });
        self
    }

    pub(super) fn marks(
        &mut self,
        ready: Option<u64>,
        handshake: Option<u64>,
        first_byte: u64,
    ) -> &mut Self {
        self.marks.ready = ready.map(|mark| self.at(mark));
        self.marks.handshake = handshake.map(|mark| self.at(mark));
        self.marks.first_byte = Some(self.at(first_byte));
        self
    }

    pub(super) fn exchange(&self) -> Exchange<'_> {
        Exchange::of(&self.trace, self.marks, RTT)
    }

    /// Ready, handshake, first byte.
    pub(super) fn trips(&self) -> [Option<u32>; 3] {
        let RoundTrips {
            ready,
            handshake,
            first_byte,
        } = self.exchange().round_trips().expect("a whole trace");
        [ready, handshake, first_byte]
    }
}

pub(super) fn float(len: usize) -> f64 {
    f64::from(u32::try_from(len).unwrap())
}

pub(super) const fn trips(ready: u32, handshake: u32, first_byte: u32) -> [Option<u32>; 3] {
    [Some(ready), Some(handshake), Some(first_byte)]
}

const CLIENT: ([u8; 4], u16) = ([10, 0, 0, 1], 40_000);
const NODE: ([u8; 4], u16) = ([10, 0, 0, 2], 443);

pub(super) const SYN: u8 = 0x02;
pub(super) const SYN_ACK: u8 = 0x12;
pub(super) const ACK: u8 = 0x10;
pub(super) const FIN_ACK: u8 = 0x11;

/// A segment of the client: its flags, and how far the two streams are.
pub(super) fn from_client(flags: u8, sequence: u32, acknowledged: u32, payload: &[u8]) -> Vec<u8> {
    let segment = segment(flags, [sequence, acknowledged], payload);
    ipv4(6, CLIENT, NODE, segment)
}

pub(super) fn from_node(flags: u8, sequence: u32, acknowledged: u32, payload: &[u8]) -> Vec<u8> {
    let segment = segment(flags, [sequence, acknowledged], payload);
    ipv4(6, NODE, CLIENT, segment)
}

pub(super) fn from_another_port(mut packet: Vec<u8>, to_node: bool) -> Vec<u8> {
    let at = if to_node { 20 } else { 22 };
    packet[at..at + 2].copy_from_slice(&40_001_u16.to_be_bytes());
    packet
}

fn segment(flags: u8, [sequence, acknowledged]: [u32; 2], payload: &[u8]) -> Vec<u8> {
    let mut segment = vec![0; 4];
    segment.extend_from_slice(&sequence.to_be_bytes());
    segment.extend_from_slice(&acknowledged.to_be_bytes());
    segment.extend_from_slice(&[5 << 4, flags, 0, 0, 0, 0, 0, 0]);
    segment.extend_from_slice(payload);
    segment
}

/// A datagram of the client.
pub(super) fn client_udp(payload: &[u8]) -> Vec<u8> {
    ipv4(17, CLIENT, NODE, udp(payload))
}

pub(super) fn node_udp(payload: &[u8]) -> Vec<u8> {
    ipv4(17, NODE, CLIENT, udp(payload))
}

fn udp(payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len() + 8).unwrap();
    let mut datagram = vec![0; 4];
    datagram.extend_from_slice(&len.to_be_bytes());
    datagram.extend_from_slice(&[0, 0]);
    datagram.extend_from_slice(payload);
    datagram
}

fn ipv4(
    protocol: u8,
    (source, source_port): ([u8; 4], u16),
    (destination, destination_port): ([u8; 4], u16),
    mut body: Vec<u8>,
) -> Vec<u8> {
    body[..2].copy_from_slice(&source_port.to_be_bytes());
    body[2..4].copy_from_slice(&destination_port.to_be_bytes());
    let total = u16::try_from(body.len() + 20).unwrap().to_be_bytes();
    let mut packet = vec![0x45, 0, total[0], total[1], 0, 0, 0, 0, 64, protocol, 0, 0];
    packet.extend_from_slice(&source);
    packet.extend_from_slice(&destination);
    packet.extend_from_slice(&body);
    packet
}

/// A TLS record whose body is as long as this and begins with `first`.
pub(super) fn record(kind: u8, first: u8, len: u16) -> Vec<u8> {
    let mut record = vec![kind, 3, 3];
    record.extend_from_slice(&len.to_be_bytes());
    record.push(first);
    record.resize(5 + usize::from(len), 0);
    record
}

pub(super) fn client_hello() -> Vec<u8> {
    record(22, 1, 240)
}

pub(super) fn server_flight() -> Vec<u8> {
    [record(22, 2, 120), record(20, 1, 1), encrypted(900)].concat()
}

pub(super) fn encrypted(len: u16) -> Vec<u8> {
    record(23, 9, len)
}

const NODE_CID: [u8; 8] = [7; 8];

/// A long-header packet of this type with its length, so that others can follow.
pub(super) fn long(kind: u8, token: Option<&[u8]>, len: u16) -> Vec<u8> {
    let mut packet = vec![0xc0 | kind << 4, 0, 0, 0, 1];
    packet.push(8);
    packet.extend_from_slice(&NODE_CID);
    packet.push(8);
    packet.extend_from_slice(&NODE_CID);
    if let Some(token) = token {
        packet.push(u8::try_from(token.len()).unwrap());
        packet.extend_from_slice(token);
    }
    packet.extend_from_slice(&(0x4000 | len).to_be_bytes());
    packet.resize(packet.len() + usize::from(len), 0xaa);
    packet
}

/// An Initial that makes a datagram of 1200 bytes.
pub(super) fn initial() -> Vec<u8> {
    long(0, Some(&[]), 1174)
}

pub(super) fn initial_with_token() -> Vec<u8> {
    long(0, Some(&[5; 32]), 1142)
}

pub(super) fn short_initial(len: u16) -> Vec<u8> {
    long(0, Some(&[]), len)
}

pub(super) fn zero_rtt(len: u16) -> Vec<u8> {
    long(1, None, len)
}

pub(super) fn handshake(len: u16) -> Vec<u8> {
    long(2, None, len)
}

pub(super) fn retry() -> Vec<u8> {
    let mut packet = long(3, None, 0);
    packet.extend_from_slice(&[3; 60]);
    packet
}

/// A short-header packet with so many bytes of frames, and one of packet number.
pub(super) fn one_rtt(frames: usize) -> Vec<u8> {
    let mut packet = vec![0x40];
    packet.extend_from_slice(&NODE_CID);
    packet.resize(packet.len() + 1 + frames + 16, 0xbb);
    packet
}

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::lateness::Histogram;
use super::recorder::{Place, Recorder};
use super::{Chosen, Direction, Fate, Lateness, Limits, Packet, Trace};
use crate::link::{Fate as Course, Link, Loss, Profile, Random};

/// Decides what becomes of packets, and keeps those that are under way; it has no socket and no
/// clock.
#[derive(Debug)]
pub(super) struct Router {
    to_node: Way,
    to_client: Way,
    route: usize,
    under_way: BinaryHeap<Transfer>,
    /// Of all that is under way.
    bytes: usize,
    limit: usize,
    accepted: u64,
    recorder: Recorder,
    delivered: Histogram,
    overflowed: u64,
    refused: u64,
}

/// Where packets come from and go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Port {
    Client,
    Node(usize),
}

/// A packet that will arrive.
#[derive(Debug)]
pub(super) struct Transfer {
    at: Instant,
    /// Packets that arrive at the same time keep their order.
    number: u64,
    pub(super) to: Port,
    pub(super) bytes: Bytes,
    place: Option<Place>,
}

/// One direction.
#[derive(Debug)]
struct Way {
    link: Link,
    /// A link's time never goes back, and two sockets are read one after the other.
    latest: Option<Instant>,
    chosen: Chosen,
    counted: u64,
}

impl Router {
    pub(super) fn new(limits: Limits) -> Self {
        let plain = Profile {
            mtu: usize::MAX,
            ..Profile::of(Duration::ZERO)
        };
        Self {
            to_node: Way::new(plain, 0),
            to_client: Way::new(plain, 0),
            route: 0,
            under_way: BinaryHeap::new(),
            bytes: 0,
            limit: limits.under_way,
            accepted: 0,
            recorder: Recorder::new(limits),
            delivered: Histogram::new(),
            overflowed: 0,
            refused: 0,
        }
    }

    pub(super) fn set_profiles(&mut self, to_node: Profile, to_client: Profile, seed: u64) {
        let mut seeds = Random::new(seed);
        self.to_node.link = Link::new(to_node, seeds.number());
        self.to_client.link = Link::new(to_client, seeds.number());
    }

    pub(super) fn choose_losses(&mut self, direction: Direction, chosen: Chosen) {
        let way = self.way(direction);
        way.chosen = chosen;
        way.counted = 0;
    }

    pub(super) fn set_route(&mut self, node: usize) {
        self.route = node;
    }

    pub(super) fn record(&mut self) {
        self.recorder.begin();
    }

    pub(super) fn take(&mut self) -> Trace {
        self.recorder.take()
    }

    pub(super) fn lateness(&self) -> Lateness {
        Lateness {
            overflowed: self.overflowed,
            refused: self.refused,
            ..self.delivered.lateness()
        }
    }

    /// Takes a packet that was sent then.
    pub(super) fn accept(&mut self, from: Port, sent: Instant, bytes: Bytes) {
        let (direction, to) = match from {
            Port::Client => (Direction::ToNode, Port::Node(self.route)),
            Port::Node(_) => (Direction::ToClient, Port::Client),
        };
        let room = self.limit.saturating_sub(self.bytes + COST);
        let way = self.way(direction);
        let course = if way.is_chosen(direction, &bytes) {
            Course::Lost(Loss::Chosen)
        } else {
            way.send(sent, bytes.len())
        };
        let course = if matches!(course, Course::Arrives { .. }) && bytes.len() > room {
            self.overflowed += 1;
            Course::Lost(Loss::Queue)
        } else {
            course
        };
        let fate = match course {
            Course::Lost(loss) => Fate::Lost(loss),
            Course::Arrives { .. } => Fate::UnderWay,
        };
        let place = self.recorder.add(Packet {
            direction,
            sent,
            fate,
            bytes: bytes.clone(),
        });
        if let Course::Arrives { at, again } = course {
            if let Some(again) = again {
                self.put(again, to, bytes.clone(), None);
            }
            self.put(at, to, bytes, place);
        }
    }

    /// Takes note of a packet of which there is only a part.
    pub(super) fn too_long(&mut self) {
        self.refused += 1;
    }

    /// When the next packet arrives.
    pub(super) fn next(&self) -> Option<Instant> {
        self.under_way.peek().map(|transfer| transfer.at)
    }

    /// Moves packets that have arrived into `batch`, at most so many, all at the same port.
    pub(super) fn arrived(&mut self, now: Instant, most: usize, batch: &mut Vec<Transfer>) {
        while batch.len() < most
            && let Some(next) = self.under_way.peek()
            && next.at <= now
            && batch
                .first()
                .is_none_or(|first: &Transfer| first.to == next.to)
            && let Some(transfer) = self.under_way.pop()
        {
            self.bytes -= transfer.bytes.len() + COST;
            batch.push(transfer);
        }
    }

    /// Takes note that a packet was delivered then.
    pub(super) fn delivered(&mut self, transfer: &Transfer, at: Instant) {
        let late = at.saturating_duration_since(transfer.at);
        self.delivered.add(late);
        self.settle(transfer, Fate::Delivered { at, late });
    }

    /// Takes note that a packet could not be delivered.
    pub(super) fn refused(&mut self, transfer: &Transfer, loss: Loss) {
        self.refused += 1;
        self.settle(transfer, Fate::Lost(loss));
    }

    fn settle(&mut self, transfer: &Transfer, fate: Fate) {
        if let Some(place) = transfer.place {
            self.recorder.settle(place, fate);
        }
    }

    fn put(&mut self, at: Instant, to: Port, bytes: Bytes, place: Option<Place>) {
        self.bytes += bytes.len() + COST;
        self.accepted += 1;
        self.under_way.push(Transfer {
            at,
            number: self.accepted,
            to,
            bytes,
            place,
        });
    }

    fn way(&mut self, direction: Direction) -> &mut Way {
        match direction {
            Direction::ToNode => &mut self.to_node,
            Direction::ToClient => &mut self.to_client,
        }
    }
}

impl Way {
    fn new(profile: Profile, seed: u64) -> Self {
        Self {
            link: Link::new(profile, seed),
            latest: None,
            chosen: Chosen::default(),
            counted: 0,
        }
    }

    fn send(&mut self, sent: Instant, len: usize) -> Course {
        let sent = self.latest.map_or(sent, |latest| latest.max(sent));
        self.latest = Some(sent);
        self.link.send(sent, len)
    }

    fn is_chosen(&mut self, direction: Direction, packet: &[u8]) -> bool {
        if self.chosen.numbers.is_empty() {
            return false;
        }
        if let Some(port) = self.chosen.client_port
            && client_port(direction, packet) != Some(port)
        {
            return false;
        }
        self.counted += 1;
        self.chosen.numbers.contains(&self.counted)
    }
}

impl Ord for Transfer {
    /// The greatest is the one that arrives first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl PartialOrd for Transfer {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Transfer {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Transfer {}

/// The client's port of a TCP segment or UDP datagram in an IPv4 packet (RFC 791, section 3.1).
fn client_port(direction: Direction, packet: &[u8]) -> Option<u16> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let is_tcp_or_udp = matches!(packet.get(9)?, 6 | 17);
    let fragment = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & 0x1fff;
    if !is_tcp_or_udp || fragment != 0 {
        return None;
    }
    let at = match direction {
        Direction::ToNode => header,
        Direction::ToClient => header + 2,
    };
    Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]))
}

/// What a packet takes beside its bytes.
const COST: usize = 128;

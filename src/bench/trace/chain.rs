use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use super::exchange::{CLOCK_ERROR, Passage};
use super::packet::Transport;
use crate::link::Loss;
use crate::testbed::emulator::{Direction, Fate};

/// The depth of every packet, in the same order; they come in the order in which they were sent.
pub(super) fn depths(passages: &[Passage<'_>], rtt: Duration) -> Vec<u32> {
    let mut client = End::new(1, rtt);
    let mut node = End::new(0, rtt);
    let depths = passages.iter().map(|passage| {
        let (sender, receiver) = match passage.packet.direction {
            Direction::ToNode => (&mut client, &mut node),
            Direction::ToClient => (&mut node, &mut client),
        };
        let depth = sender.send(passage);
        if let Some(at) = passage.delivered() {
            receiver.expect(at, Arrival::of(passage, depth));
        }
        depth
    });
    depths.collect()
}

/// Half the depth of the deepest packet that the client had at a moment.
pub(super) fn round_trips(passages: &[Passage<'_>], depths: &[u32], mark: Instant) -> u32 {
    let arrived = arrived(passages, depths, mark);
    arrived.map(|(depth, _)| depth / 2).max().unwrap_or(0)
}

/// When the first of the deepest packets that the client had at a moment came in.
pub(super) fn last_round_trip(
    passages: &[Passage<'_>],
    depths: &[u32],
    mark: Instant,
) -> Option<Instant> {
    let arrived = arrived(passages, depths, mark);
    let first = arrived.max_by_key(|(depth, at)| (*depth, Reverse(*at)));
    first.map(|(_, at)| at)
}

/// The depth and time of what the client had at a moment and that is more than an acknowledgment.
fn arrived(
    passages: &[Passage<'_>],
    depths: &[u32],
    mark: Instant,
) -> impl Iterator<Item = (u32, Instant)> {
    let passages = passages.iter().zip(depths);
    passages
        .filter(move |(passage, _)| {
            passage.packet.direction == Direction::ToClient
                && !passage.only_acknowledges
                && passage.delivered_by(mark)
        })
        .filter_map(|(passage, depth)| Some((*depth, passage.delivered()?)))
}

/// One side, and what it waited for so far.
#[derive(Debug)]
struct End {
    rtt: Duration,
    /// The depth of a packet that depends on none.
    opening: u32,
    /// What is on its way to this side.
    coming: BinaryHeap<Reverse<(Instant, Arrival)>>,
    /// The deepest packet that was delivered and is more than an acknowledgment.
    deepest: Option<u32>,
    /// The highest byte that was acknowledged.
    acknowledged: Option<u32>,
    /// When acknowledgments of something new were delivered, and their depths.
    acknowledgments: VecDeque<(Instant, u32)>,
    /// When packets of this side were sent that were lost, and their depths.
    lost: VecDeque<(Instant, u32)>,
    /// The deepest packet that was lost long enough ago for an answer to be missed.
    missed: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Arrival {
    depth: u32,
    only_acknowledges: bool,
    /// Of TCP.
    acknowledgment: Option<u32>,
}

impl Arrival {
    fn of(passage: &Passage<'_>, depth: u32) -> Self {
        Self {
            depth,
            only_acknowledges: passage.only_acknowledges,
            acknowledgment: match &passage.transport {
                Transport::Tcp(segment) => Some(segment.acknowledgment),
                Transport::Udp(_) | Transport::Other => None,
            },
        }
    }
}

impl End {
    fn new(opening: u32, rtt: Duration) -> Self {
        Self {
            rtt,
            opening,
            coming: BinaryHeap::new(),
            deepest: None,
            acknowledged: None,
            acknowledgments: VecDeque::new(),
            lost: VecDeque::new(),
            missed: None,
        }
    }

    fn expect(&mut self, at: Instant, arrival: Arrival) {
        self.coming.push(Reverse((at, arrival)));
    }

    /// Takes what was delivered until this side sends a packet, and gives that packet's depth.
    fn send(&mut self, passage: &Passage<'_>) -> u32 {
        let sent = passage.packet.sent;
        self.receive_until(sent + CLOCK_ERROR);
        self.miss_until(sent);
        let carries = match &passage.transport {
            Transport::Tcp(segment) => !segment.payload.is_empty(),
            Transport::Udp(_) => true,
            Transport::Other => false,
        };
        let released = carries.then(|| self.released(sent)).flatten();
        let answered = self.deepest.max(released).map(|depth| depth + 1);
        let missed = self.missed.map(|depth| depth + 2);
        let depth = answered.max(missed).unwrap_or(self.opening);
        if is_missed(passage) {
            self.lost.push_back((sent, depth));
        }
        depth
    }

    fn receive_until(&mut self, moment: Instant) {
        while let Some(Reverse((at, arrival))) = self.coming.peek().copied()
            && at <= moment
        {
            self.coming.pop();
            let news = arrival.acknowledgment.is_none_or(|acknowledgment| {
                let before = self.acknowledged;
                before.is_none_or(|before| is_after(acknowledgment, before))
            });
            if news {
                self.acknowledged = arrival.acknowledgment;
            }
            if !arrival.only_acknowledges {
                self.deepest = self.deepest.max(Some(arrival.depth));
            } else if news {
                self.acknowledgments.push_back((at, arrival.depth));
            }
        }
    }

    /// The deepest acknowledgment that came in just before a moment.
    fn released(&mut self, sent: Instant) -> Option<u32> {
        let prompt = self.rtt / PROMPT;
        while let Some((at, _)) = self.acknowledgments.front()
            && *at + prompt < sent
        {
            self.acknowledgments.pop_front();
        }
        self.acknowledgments.iter().map(|(_, depth)| *depth).max()
    }

    fn miss_until(&mut self, sent: Instant) {
        while let Some((lost, depth)) = self.lost.front()
            && *lost + self.rtt <= sent
        {
            self.missed = self.missed.max(Some(*depth));
            self.lost.pop_front();
        }
    }
}

/// Whether a packet was lost whose sender waits for an answer.
fn is_missed(passage: &Passage<'_>) -> bool {
    let Fate::Lost(loss) = passage.packet.fate else {
        return false;
    };
    let probe = match &passage.transport {
        Transport::Udp(datagram) => loss == Loss::Mtu && !datagram.kinds().long,
        Transport::Tcp(_) | Transport::Other => false,
    };
    !probe && !passage.only_acknowledges
}

/// Whether a sequence number comes after another (RFC 9293, section 3.4).
pub(super) fn is_after(number: u32, before: u32) -> bool {
    number != before && number.wrapping_sub(before) < 1 << 31
}

/// The part of a round trip within which a sender that waited for an acknowledgment goes on. The kernel
/// does so in microseconds; a larger part takes more responses that only happened to come then.
const PROMPT: u32 = 4;

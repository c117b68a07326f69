use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;

use bytes::Bytes;

/// Which node issued the connection IDs that clients learn in their handshakes, as its answers show.
///
/// The first Initial does not tell who owns a connection: when its answer is lost, the client sends it
/// again, and by then the route may lead to another node, which begins a connection as well. The client
/// follows the first answer that it gets, and names in all further packets the ID which that node chose.
#[derive(Debug, Default)]
pub(super) struct Issuers {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    nodes: HashMap<Bytes, usize>,
    /// The keys of `nodes` in the order in which they came.
    order: VecDeque<Bytes>,
}

impl Issuers {
    /// Notes the ID that an answer of this node carries, if it is one of a handshake.
    pub(super) fn note(&self, answer: &[u8], node: usize) {
        let source = LongIds::parse(answer).map(|ids| ids.source);
        if let Some(source) = source.filter(|source| !source.is_empty()) {
            let mut known = self.known.lock().expect("no holder panics");
            known.note(source, node);
        }
    }

    /// Whom a client's datagram names as the owner of its connection.
    pub(super) fn named_by(&self, datagram: &[u8]) -> Named {
        if datagram.first().is_some_and(|first| first & LONG == 0) {
            return Named::AsBefore;
        }
        let Some(LongIds { destination, .. }) = LongIds::parse(datagram) else {
            return Named::Nobody;
        };
        let known = self.known.lock().expect("no holder panics");
        let node = known.nodes.get(destination);
        node.map_or(Named::Nobody, |node| Named::Node(*node))
    }
}

impl Known {
    fn note(&mut self, id: &[u8], node: usize) {
        // Whoever shows an ID first has issued it: the answers after that may go another way.
        if self.nodes.contains_key(id) {
            return;
        }
        if self.order.len() >= CAPACITY
            && let Some(oldest) = self.order.pop_front()
        {
            self.nodes.remove(&oldest);
        }
        let id = Bytes::copy_from_slice(id);
        self.nodes.insert(id.clone(), node);
        self.order.push_back(id);
    }
}

/// Whom a datagram names by its first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// The node that issued its connection ID.
    Node(usize),
    /// Nobody: its client chose the ID, and any node begins a connection with it.
    Nobody,
    /// The owner of its client's connection: it belongs to one that is established (RFC 9000, section
    /// 17.3).
    AsBefore,
}

/// The connection IDs of a packet with a long header of QUIC version 1 (RFC 8999, section 5.1).
#[derive(Clone, Copy, Debug)]
struct LongIds<'a> {
    destination: &'a [u8],
    source: &'a [u8],
}

impl<'a> LongIds<'a> {
    fn parse(datagram: &'a [u8]) -> Option<Self> {
        let [first, 0, 0, 0, 1, rest @ ..] = datagram else {
            return None;
        };
        let (destination, rest) = take(rest)?;
        let (source, _) = take(rest)?;
        (first & LONG != 0).then_some(Self {
            destination,
            source,
        })
    }
}

/// Splits off a connection ID behind its length.
fn take(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*len))
}

/// The header form bit (RFC 8999, section 5).
const LONG: u8 = 0x80;
/// Handshakes that may be under way at once: four times the largest storm.
const CAPACITY: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    fn long(destination: &[u8], source: &[u8]) -> Vec<u8> {
        let mut packet = vec![0xc3, 0, 0, 0, 1];
        for id in [destination, source] {
            packet.push(u8::try_from(id.len()).unwrap());
            packet.extend_from_slice(id);
        }
        packet
    }

    #[test]
    fn a_client_names_the_node_whose_id_it_uses() {
        let issuers = Issuers::default();
        issuers.note(&long(b"client", b"first"), 0);
        issuers.note(&long(b"client", b"second"), 1);
        let named = |destination| issuers.named_by(&long(destination, b"client"));
        assert_eq!(named(b"first"), Named::Node(0));
        assert_eq!(named(b"second"), Named::Node(1));
        assert_eq!(named(b"of the client's choice"), Named::Nobody);
        assert_eq!(issuers.named_by(b"short"), Named::AsBefore);
    }

    #[test]
    fn an_id_stays_with_the_node_that_showed_it_first() {
        let issuers = Issuers::default();
        issuers.note(&long(b"client", b"id"), 0);
        issuers.note(&long(b"client", b"id"), 1);
        assert_eq!(issuers.named_by(&long(b"id", b"client")), Named::Node(0));
    }

    #[test]
    fn what_has_no_id_of_a_node_is_not_noted() {
        let issuers = Issuers::default();
        let mut negotiation = long(b"client", b"chosen");
        negotiation[4] = 0;
        let whole = long(b"client", b"cut off");
        let answers = [
            &negotiation,
            &whole[..whole.len() - 1],
            &long(b"client", b""),
            b"short",
            b"",
        ];
        for answer in answers {
            issuers.note(answer, 0);
        }
        assert!(issuers.known.lock().unwrap().nodes.is_empty());
    }

    #[test]
    fn the_oldest_id_is_forgotten_first() {
        let issuers = Issuers::default();
        let id = |number: usize| number.to_be_bytes();
        for number in 0..=CAPACITY {
            issuers.note(&long(b"client", &id(number)), 0);
        }
        let named = |number| issuers.named_by(&long(&id(number), b"client"));
        assert_eq!(named(0), Named::Nobody);
        assert_eq!(named(1), Named::Node(0));
        assert_eq!(issuers.known.lock().unwrap().nodes.len(), CAPACITY);
    }
}

use std::collections::BTreeMap;

use super::chain::is_after;
use super::exchange::Passage;
use super::packet::{Flags, Segment, Transport};
use super::quic::Coalesced;
use super::tls::{Content, Records};
use crate::testbed::emulator::Direction;
use crate::wire::{Datagram, LongKind};

/// Names the packets of an exchange, in the order in which they were sent.
#[derive(Debug, Default)]
pub(super) struct Labels {
    client: Stream,
    node: Stream,
}

/// One direction of a TCP connection.
#[derive(Debug, Default)]
struct Stream {
    records: Records,
    /// The sequence number after everything that was sent.
    next: Option<u32>,
    /// What was in the segments so far, by their sequence numbers: as many as a drawing has steps.
    seen: BTreeMap<u32, Vec<Content>>,
}

impl Labels {
    /// A few words for a packet.
    pub(super) fn of(&mut self, passage: &Passage<'_>) -> String {
        match &passage.transport {
            Transport::Tcp(segment) => self.segment(passage.packet.direction, segment),
            Transport::Udp(udp) => datagram(udp.payload),
            Transport::Other => "IP".to_owned(),
        }
    }

    fn segment(&mut self, direction: Direction, segment: &Segment<'_>) -> String {
        let answered = !self.node.seen.is_empty();
        let stream = match direction {
            Direction::ToNode => &mut self.client,
            Direction::ToClient => &mut self.node,
        };
        let mut names = control(segment.flags);
        let (contents, again) = stream.read(segment);
        let early = direction == Direction::ToNode && !answered;
        let shown = contents
            .iter()
            .filter(|content| **content != Content::ChangeCipherSpec || contents.len() == 1);
        names.extend(shown.map(|content| match content {
            Content::Encrypted if early => "early data".to_owned(),
            content => content.to_string(),
        }));
        if names.is_empty() {
            names.push("ACK".to_owned());
        }
        let name = names.join("+");
        if again { format!("{name} again") } else { name }
    }
}

impl Stream {
    /// What is in a segment, and whether all of it was sent before.
    fn read(&mut self, segment: &Segment<'_>) -> (Vec<Content>, bool) {
        let opens = segment.flags.has(Flags::SYN | Flags::FIN);
        if segment.payload.is_empty() && !opens {
            return (Vec::new(), false);
        }
        let begin = segment.payload_sequence();
        let controls = u32::from(segment.flags.has(Flags::FIN));
        let len = u32::try_from(segment.payload.len()).unwrap_or(u32::MAX);
        let end = begin.wrapping_add(len).wrapping_add(controls);
        let next = self.next.unwrap_or(segment.sequence);
        if !is_after(end, next) {
            let seen = self.seen.get(&begin).cloned();
            let unknown = !segment.payload.is_empty();
            return (
                seen.unwrap_or_else(|| Vec::from_iter(unknown.then_some(Content::Unknown))),
                true,
            );
        }
        if is_after(begin, next) && self.next.is_some() {
            self.records.lose();
        }
        self.next = Some(end);
        let old = next.wrapping_sub(begin) as usize;
        let new = if is_after(next, begin) { old } else { 0 };
        let payload = segment.payload.get(new..).unwrap_or_default();
        let contents = self.records.read(payload);
        if !contents.is_empty() {
            self.seen.insert(begin, contents.clone());
        }
        (contents, false)
    }
}

fn control(flags: Flags) -> Vec<String> {
    let names = [
        (Flags::SYN, "SYN"),
        (Flags::FIN, "FIN"),
        (Flags::RST, "RST"),
    ];
    let set = names.iter().filter(|(flag, _)| flags.has(*flag));
    set.map(|(flag, name)| {
        if *flag == Flags::SYN && flags.has(Flags::ACK) {
            "SYN-ACK".to_owned()
        } else {
            (*name).to_owned()
        }
    })
    .collect()
}

fn datagram(payload: &[u8]) -> String {
    let mut names = Vec::new();
    for packet in Coalesced(payload) {
        let name = match packet {
            Datagram::Short(_) => "1-RTT",
            Datagram::Long(header) => match header.kind {
                LongKind::Initial => "Initial",
                LongKind::ZeroRtt => "0-RTT",
                LongKind::Handshake => "Handshake",
                LongKind::Retry => "Retry",
                LongKind::VersionNegotiation => "Version Negotiation",
                LongKind::OtherVersion => "other version",
            },
        };
        if names.last() != Some(&name) {
            names.push(name);
        }
    }
    if names.is_empty() {
        "UDP".to_owned()
    } else {
        names.join("+")
    }
}

use super::exchange::Passage;
use super::packet::{Flags, Transport};
use super::quic::{Coalesced, source_len};
use crate::testbed::emulator::Direction;
use crate::wire::Datagram;

/// Marks the packets that acknowledge and do nothing else.
pub(super) fn mark(passages: &mut [Passage<'_>]) {
    let mut cid_len = None;
    for passage in passages {
        let direction = passage.packet.direction;
        passage.only_acknowledges = match &passage.transport {
            Transport::Tcp(segment) => {
                segment.payload.is_empty()
                    && !segment.flags.has(Flags::SYN | Flags::FIN | Flags::RST)
            }
            Transport::Udp(datagram) if direction == Direction::ToClient => {
                cid_len = source_len(datagram.payload).or(cid_len);
                // A short response has as little room.
                false
            }
            Transport::Udp(datagram) => {
                cid_len.is_some_and(|cid_len| has_room_for_ack_only(datagram.payload, cid_len))
            }
            Transport::Other => false,
        };
    }
}

fn has_room_for_ack_only(datagram: &[u8], cid_len: usize) -> bool {
    let first = Coalesced(datagram).next();
    matches!(first, Some(Datagram::Short(_)))
        && datagram.len() <= FIRST_BYTE + cid_len + MOST_ACKNOWLEDGMENT + TAG
}

const FIRST_BYTE: usize = 1;
const TAG: usize = 16;
/// A packet number of four bytes and an ACK frame of one range (RFC 9000, section 19.3) with counts of ECN.
const MOST_ACKNOWLEDGMENT: usize = 15;

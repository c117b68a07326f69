use std::io::{self, Write};
use std::time::Instant;

use super::{Direction, Fate, Lateness, Packet, Trace};
use crate::link::Loss;
use crate::sys::timer::Clocks;

/// Writes traces for packet analysers, as pcapng (draft-ietf-opsawg-pcapng) with nanoseconds.
///
/// What it shows is the client's end of the link: packets of the client when they were sent, those of nodes
/// when they arrived. Unlike there, packets that never arrived are in it as well, when they were sent; a
/// comment says what became of them.
#[derive(Debug)]
pub struct Capture<W> {
    to: W,
    clocks: Clocks,
}

impl<W: Write> Capture<W> {
    /// Begins a file. `clocks` says what the wall clock showed at some instant.
    ///
    /// # Errors
    /// Those of writing.
    pub fn begin(to: W, clocks: Clocks) -> io::Result<Self> {
        let mut capture = Self { to, clocks };
        let mut section = Vec::new();
        section.extend(BYTE_ORDER.to_le_bytes());
        section.extend(VERSION.map(u16::to_le_bytes).as_flattened());
        section.extend(UNKNOWN_LENGTH.to_le_bytes());
        capture.block(SECTION_HEADER, &section)?;
        let mut interface = Vec::new();
        interface.extend(RAW_IP.to_le_bytes());
        // Reserved, and no limit for the length of packets.
        interface.extend([0; 6]);
        option(&mut interface, INTERFACE_NAME, b"client");
        option(&mut interface, TIME_RESOLUTION, &[NANOSECONDS]);
        option(&mut interface, END_OF_OPTIONS, &[]);
        capture.block(INTERFACE_DESCRIPTION, &interface)?;
        Ok(capture)
    }

    /// Adds the secrets of the connections in traces to come, in the form of `SSLKEYLOGFILE` (RFC 9850).
    /// Whoever has the file can read these connections.
    ///
    /// # Errors
    /// Those of writing, and `InvalidInput` for 4 GiB or more.
    pub fn secrets(&mut self, key_log: &[u8]) -> io::Result<()> {
        let mut secrets = Vec::new();
        secrets.extend(TLS_KEY_LOG.to_le_bytes());
        secrets.extend(length(key_log)?.to_le_bytes());
        padded(&mut secrets, key_log);
        self.block(DECRYPTION_SECRETS, &secrets)
    }

    /// Adds the packets of a trace.
    ///
    /// # Errors
    /// Those of writing.
    pub fn trace(&mut self, trace: &Trace) -> io::Result<()> {
        let mut packets: Vec<_> = trace
            .packets
            .iter()
            .map(|packet| (seen(packet), packet))
            .collect();
        packets.sort_by_key(|(at, _)| *at);
        packets
            .into_iter()
            .try_for_each(|(at, packet)| self.packet(at, packet))
    }

    /// Ends the file and gives what it was written to, flushed.
    ///
    /// # Errors
    /// Those of writing.
    pub fn end(mut self) -> io::Result<W> {
        self.to.flush()?;
        Ok(self.to)
    }

    fn packet(&mut self, at: Instant, packet: &Packet) -> io::Result<()> {
        let time = self.clocks.wall_of(at).as_nanos();
        let [high, low] = [time >> 32, time & u128::from(u32::MAX)];
        let bytes = length(&packet.bytes)?;
        let interface = 0_u32;
        let mut body = Vec::with_capacity(packet.bytes.len() + 96);
        body.extend(interface.to_le_bytes());
        for half in [high, low] {
            let half = u32::try_from(half).map_err(io::Error::other)?;
            body.extend(half.to_le_bytes());
        }
        // All of it was captured.
        body.extend([bytes, bytes].map(u32::to_le_bytes).as_flattened());
        padded(&mut body, &packet.bytes);
        let direction = match packet.direction {
            Direction::ToClient => INBOUND,
            Direction::ToNode => OUTBOUND,
        };
        option(&mut body, PACKET_FLAGS, &direction.to_le_bytes());
        if let Some(comment) = comment(packet.fate) {
            option(&mut body, COMMENT, comment.as_bytes());
        }
        option(&mut body, END_OF_OPTIONS, &[]);
        self.block(ENHANCED_PACKET, &body)
    }

    fn block(&mut self, kind: u32, body: &[u8]) -> io::Result<()> {
        let length = length(body)?.saturating_add(BLOCK_OVERHEAD).to_le_bytes();
        self.to.write_all(&kind.to_le_bytes())?;
        self.to.write_all(&length)?;
        self.to.write_all(body)?;
        self.to.write_all(&length)
    }
}

/// When the client's end sees a packet.
fn seen(packet: &Packet) -> Instant {
    match (packet.direction, packet.fate) {
        (Direction::ToClient, Fate::Delivered { at, .. }) => at,
        _ => packet.sent,
    }
}

fn comment(fate: Fate) -> Option<String> {
    match fate {
        Fate::Delivered { late, .. } if late > Lateness::TOLERANCE => {
            Some(format!("delivered {late:?} later than the link would have"))
        }
        Fate::Delivered { .. } => None,
        Fate::UnderWay => Some("not delivered before the trace ended".to_owned()),
        Fate::Lost(loss) => Some(format!("lost, {}", cause(loss))),
    }
}

fn cause(loss: Loss) -> &'static str {
    match loss {
        Loss::Cut => "since the link was cut",
        Loss::Mtu => "since it was longer than the MTU",
        Loss::Queue => "since the queue was full",
        Loss::Chance => "by chance",
        Loss::Chosen => "as was wanted of this packet",
    }
}

fn option(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len()).expect("names and comments are short");
    body.extend([kind, length].map(u16::to_le_bytes).as_flattened());
    padded(body, value);
}

/// Everything begins at a multiple of four bytes.
fn padded(body: &mut Vec<u8>, bytes: &[u8]) {
    body.extend(bytes);
    body.resize(body.len().next_multiple_of(4), 0);
}

fn length(bytes: &[u8]) -> io::Result<u32> {
    let length = u32::try_from(bytes.len());
    length.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const DECRYPTION_SECRETS: u32 = 10;
/// The kind and twice the length.
const BLOCK_OVERHEAD: u32 = 12;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const VERSION: [u16; 2] = [1, 0];
const UNKNOWN_LENGTH: u64 = u64::MAX;
/// `LINKTYPE_RAW`: packets that begin with an IP header.
const RAW_IP: u16 = 101;
const TLS_KEY_LOG: u32 = 0x544c_534b;
const END_OF_OPTIONS: u16 = 0;
const COMMENT: u16 = 1;
const INTERFACE_NAME: u16 = 2;
const PACKET_FLAGS: u16 = 2;
const TIME_RESOLUTION: u16 = 9;
/// Ten to the minus ninth.
const NANOSECONDS: u8 = 9;
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;

    const WALL: Duration = Duration::new(1_700_000_000, 123_456_789);

    fn clocks() -> Clocks {
        Clocks {
            wall: WALL,
            ..Clocks::read()
        }
    }

    /// The blocks of a file, each with its kind.
    fn blocks(mut file: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let word = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
        let mut blocks = Vec::new();
        while !file.is_empty() {
            let length = word(&file[4..8]) as usize;
            assert_eq!(length % 4, 0);
            assert_eq!(word(&file[length - 4..length]) as usize, length);
            blocks.push((word(&file[..4]), file[8..length - 4].to_vec()));
            file = &file[length..];
        }
        blocks
    }

    #[test]
    fn a_file_begins_with_its_section_and_one_interface_of_raw_packets() {
        let file = Capture::begin(Vec::new(), clocks()).unwrap().end().unwrap();
        assert_eq!(
            file,
            [
                &[0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0][..],
                &[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0],
                &[0xff; 8],
                &[28, 0, 0, 0],
                &[1, 0, 0, 0, 44, 0, 0, 0, 101, 0, 0, 0, 0, 0, 0, 0],
                &[2, 0, 6, 0],
                b"client\0\0",
                &[9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0, 44, 0, 0, 0],
            ]
            .concat()
        );
    }

    #[test]
    fn packets_are_in_the_order_in_which_the_client_sees_them() {
        let clocks = clocks();
        let ms = |ms| clocks.instant + Duration::from_millis(ms);
        let packet = |direction, sent, fate, bytes: &'static [u8]| Packet {
            direction,
            sent,
            fate,
            bytes: Bytes::from_static(bytes),
        };
        let late = Duration::ZERO;
        let arrives = |at| Fate::Delivered { at, late };
        let trace = Trace {
            packets: vec![
                packet(Direction::ToClient, ms(0), arrives(ms(25)), b"second"),
                packet(
                    Direction::ToNode,
                    ms(10),
                    Fate::Lost(Loss::Chance),
                    b"first",
                ),
            ],
            left_out: 0,
        };
        let mut capture = Capture::begin(Vec::new(), clocks).unwrap();
        capture.trace(&trace).unwrap();
        let blocks = blocks(&capture.end().unwrap());
        let time = |wall: Duration| {
            let nanoseconds = u64::try_from(wall.as_nanos()).unwrap();
            let [low, high] =
                [0, 32].map(|shift| u32::try_from(nanoseconds >> shift & 0xffff_ffff));
            [high.unwrap().to_le_bytes(), low.unwrap().to_le_bytes()].concat()
        };
        let first = [
            &[0; 4][..],
            &time(WALL + Duration::from_millis(10)),
            &[5, 0, 0, 0, 5, 0, 0, 0],
            b"first\0\0\0",
            &[2, 0, 4, 0, 2, 0, 0, 0, 1, 0, 15, 0],
            b"lost, by chance\0",
            &[0; 4],
        ];
        let second = [
            &[0; 4][..],
            &time(WALL + Duration::from_millis(25)),
            &[6, 0, 0, 0, 6, 0, 0, 0],
            b"second\0\0",
            &[2, 0, 4, 0, 1, 0, 0, 0, 0, 0, 0, 0],
        ];
        assert_eq!(blocks[2..], [(6, first.concat()), (6, second.concat())]);
    }

    #[test]
    fn secrets_come_before_what_they_open() {
        let mut capture = Capture::begin(Vec::new(), clocks()).unwrap();
        capture.secrets(b"CLIENT_RANDOM 0 1\n").unwrap();
        let blocks = blocks(&capture.end().unwrap());
        let body = [b"KSLT\x12\0\0\0".as_slice(), b"CLIENT_RANDOM 0 1\n\0\0"].concat();
        assert_eq!(blocks[2..], [(10, body)]);
    }

    #[test]
    fn what_became_of_a_packet_is_said_where_it_matters() {
        let at = clocks().instant;
        let delivered = |late| comment(Fate::Delivered { at, late });
        assert_eq!(delivered(Duration::from_micros(80)), None);
        let late = delivered(Duration::from_millis(3)).unwrap();
        assert!(late.contains("3ms later"), "{late}");
        assert!(
            comment(Fate::UnderWay)
                .unwrap()
                .contains("before the trace ended")
        );
    }
}

//! HTTP datagrams in QUIC DATAGRAM frames (RFC 9297, section 2).

use std::collections::{HashMap, VecDeque};

use bytes::{BufMut, Bytes, BytesMut};

use super::{Rules, StreamId, Violation, varint};

/// What became of a QUIC DATAGRAM frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The request on this stream takes it.
    Deliver(StreamId, Bytes),
    /// It came before its request was read, and waits for that.
    Held,
    /// As [`Fate::Held`], and an older one was dropped to make room.
    Displaced,
    /// Its stream has ended; it is dropped.
    Late,
    /// The request on this stream has no use for datagrams, and is reset for the violation.
    Refused(StreamId, Violation),
}

/// The datagrams of one connection, and what its open requests do with them.
///
/// Those that came before their requests are held: 16 of them, the newest.
#[derive(Debug, Default)]
pub(super) struct Datagrams {
    requests: HashMap<StreamId, Use>,
    early: VecDeque<(StreamId, Bytes)>,
}

/// What an open request does with datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// Its head has not come.
    Unknown,
    Taken,
    None,
}

impl Datagrams {
    /// Notes a request whose head is not read yet.
    pub(super) fn open(&mut self, stream: StreamId) {
        self.requests.insert(stream, Use::Unknown);
    }

    /// Notes that a request takes datagrams, and gives those that came before.
    pub(super) fn take(&mut self, stream: StreamId) -> Vec<Bytes> {
        self.decide(stream, Use::Taken);
        let mut taken = Vec::new();
        self.early.retain(|(of, payload)| {
            if *of == stream {
                taken.push(payload.clone());
            }
            *of != stream
        });
        taken
    }

    /// Notes that a request has no use for datagrams.
    pub(super) fn refuse(&mut self, stream: StreamId, rules: Rules) -> Result<(), Violation> {
        self.decide(stream, Use::None);
        let before = self.early.len();
        self.early.retain(|(of, _)| *of != stream);
        if self.early.len() < before {
            rules.refuse(Violation::UselessDatagram)?;
        }
        Ok(())
    }

    /// Notes that a request has ended.
    pub(super) fn close(&mut self, stream: StreamId) {
        self.requests.remove(&stream);
        self.early.retain(|(of, _)| *of != stream);
    }

    /// Takes a frame. `next` is the first request stream that was not opened, and no stream from `end` on
    /// can be.
    pub(super) fn receive(
        &mut self,
        frame: &Bytes,
        (next, end): (StreamId, u64),
        rules: Rules,
    ) -> Result<Fate, Violation> {
        let Some((quarter, payload)) = varint::split(frame) else {
            rules.refuse(Violation::ShortDatagram)?;
            return Ok(Fate::Late);
        };
        if quarter > MAX_QUARTER {
            rules.refuse(Violation::DatagramOfNoStream)?;
            return Ok(Fate::Late);
        }
        if quarter >= end {
            rules.refuse(Violation::DatagramBeyondLimit)?;
            return Ok(Fate::Late);
        }
        let stream = StreamId::new(quarter << 2);
        let payload = frame.slice_ref(payload);
        Ok(match self.requests.get(&stream) {
            Some(Use::Taken) => Fate::Deliver(stream, payload),
            Some(Use::None) => match rules.refuse(Violation::UselessDatagram) {
                Ok(()) => Fate::Late,
                Err(violation) => Fate::Refused(stream, violation),
            },
            Some(Use::Unknown) => self.hold(stream, &payload),
            None if stream >= next => self.hold(stream, &payload),
            None => Fate::Late,
        })
    }

    fn hold(&mut self, stream: StreamId, payload: &Bytes) -> Fate {
        // A slice would keep the whole batch of packets that it came in.
        let payload = Bytes::copy_from_slice(payload);
        self.early.push_back((stream, payload));
        if self.early.len() > EARLY {
            self.early.pop_front();
            return Fate::Displaced;
        }
        Fate::Held
    }

    fn decide(&mut self, stream: StreamId, what: Use) {
        if let Some(decided) = self.requests.get_mut(&stream) {
            *decided = what;
        }
    }
}

/// The payload of a QUIC DATAGRAM frame that carries an HTTP datagram of a request.
pub fn datagram(stream: StreamId, payload: &[u8]) -> Bytes {
    let quarter = stream.index();
    let mut frame = BytesMut::with_capacity(varint::len(quarter) + payload.len());
    varint::put(&mut frame, quarter);
    frame.put_slice(payload);
    frame.freeze()
}

/// A client that does not wait for its response sends a few (RFC 9298, section 5).
const EARLY: usize = 16;
/// 2^60 - 1 (RFC 9297, section 2.1).
const MAX_QUARTER: u64 = varint::MAX >> 2;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(index: u64) -> StreamId {
        StreamId::new(index * 4)
    }

    fn receive(datagrams: &mut Datagrams, frame: &[u8]) -> Result<Fate, Violation> {
        let frame = Bytes::copy_from_slice(frame);
        datagrams.receive(&frame, (id(2), 130), Rules::default())
    }

    #[test]
    fn a_datagram_goes_to_the_request_that_takes_it() {
        let mut datagrams = Datagrams::default();
        datagrams.open(id(1));
        assert!(datagrams.take(id(1)).is_empty());
        let frame = datagram(id(1), b"hello");
        assert_eq!(&frame[..], b"\x01hello");
        let delivered = Fate::Deliver(id(1), Bytes::from_static(b"hello"));
        assert_eq!(receive(&mut datagrams, &frame), Ok(delivered));
        let empty = Fate::Deliver(id(1), Bytes::new());
        assert_eq!(receive(&mut datagrams, b"\x01"), Ok(empty));
        datagrams.close(id(1));
        assert_eq!(receive(&mut datagrams, &frame), Ok(Fate::Late));
    }

    #[test]
    fn datagrams_before_their_request_wait_and_are_bounded() {
        let mut datagrams = Datagrams::default();
        datagrams.open(id(1));
        // One of a stream that is open, and one of a stream that is not.
        assert_eq!(receive(&mut datagrams, b"\x01a"), Ok(Fate::Held));
        assert_eq!(receive(&mut datagrams, b"\x02b"), Ok(Fate::Held));
        assert_eq!(datagrams.take(id(1)), [Bytes::from_static(b"a")]);
        assert!(datagrams.take(id(1)).is_empty());
        for number in 0..40_u8 {
            let fate = receive(&mut datagrams, &[3, number]).unwrap();
            let displaced = usize::from(number) + 1 >= EARLY;
            assert_eq!(fate == Fate::Displaced, displaced, "{number}");
        }
        datagrams.open(id(3));
        let held: Vec<u8> = datagrams
            .take(id(3))
            .iter()
            .map(|payload| payload[0])
            .collect();
        assert_eq!(held, (24..40).collect::<Vec<_>>());
        assert!(datagrams.take(id(2)).is_empty(), "it was the oldest");
    }

    #[test]
    fn a_request_without_a_use_for_datagrams_is_reset_for_one() {
        let mut datagrams = Datagrams::default();
        datagrams.open(id(0));
        datagrams.open(id(1));
        let rules = Rules::default();
        assert_eq!(datagrams.refuse(id(0), rules), Ok(()));
        let refused = Fate::Refused(id(0), Violation::UselessDatagram);
        assert_eq!(receive(&mut datagrams, b"\0x"), Ok(refused));
        assert_eq!(receive(&mut datagrams, b"\x01x"), Ok(Fate::Held));
        assert_eq!(
            datagrams.refuse(id(1), rules),
            Err(Violation::UselessDatagram)
        );
    }

    #[test]
    fn a_datagram_names_a_stream_that_there_can_be() {
        let mut datagrams = Datagrams::default();
        for (frame, violation) in [
            (&b""[..], Violation::ShortDatagram),
            (b"\x40", Violation::ShortDatagram),
            (b"\xd0\0\0\0\0\0\0\0", Violation::DatagramOfNoStream),
            (
                b"\xff\xff\xff\xff\xff\xff\xff\xff",
                Violation::DatagramOfNoStream,
            ),
            (
                b"\xcf\xff\xff\xff\xff\xff\xff\xff",
                Violation::DatagramBeyondLimit,
            ),
            (b"\x40\x82", Violation::DatagramBeyondLimit),
        ] {
            assert_eq!(receive(&mut datagrams, frame), Err(violation), "{frame:x?}");
        }
        assert_eq!(receive(&mut datagrams, b"\x40\x81"), Ok(Fate::Held));
    }

    proptest! {
        #[test]
        fn no_frame_panics(
            frame in proptest::collection::vec(any::<u8>(), 0..20),
            open in proptest::collection::vec(0..4_u64, 0..4),
        ) {
            let mut datagrams = Datagrams::default();
            for index in open {
                datagrams.open(id(index));
            }
            drop(receive(&mut datagrams, &frame));
            prop_assert!(datagrams.early.len() <= EARLY);
        }
    }
}

//! What the streams of a connection have in common: control and QPACK streams, which requests are served,
//! priorities and allowances, in any order of events.

#![expect(
    clippy::panic_in_result_fn,
    reason = "a violation ends an input, and a wrong one fails it"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use wayhold::http3::{Admission, Connection, OneWay, Priority, Step, StreamId, Terms, Violation};

use super::fields::{put_frame, put_varint};
use super::input::Input;

pub(crate) fn target(input: &[u8]) {
    let mut input = Input::new(input);
    let mut play = Play::new();
    while !input.is_empty() {
        if play.step(&mut input).is_err() {
            return;
        }
    }
}

/// A connection, the same connection whose bytes come one by one, and what must be true of both.
struct Play {
    whole: Side,
    single: Side,
    now: Instant,
    model: Model,
}

struct Side {
    connection: Connection,
    streams: BTreeMap<u8, OneWay>,
}

#[derive(Default)]
struct Model {
    next: u64,
    end: Option<u64>,
    early: BTreeMap<u64, (u8, bool)>,
    /// Streams that were accepted.
    accepted: BTreeSet<u64>,
    kinds: BTreeMap<u8, u64>,
    settings: bool,
    /// Whether anything wrong was sent on a QPACK stream.
    wrong: bool,
    /// Glitches and cancellations that were let pass.
    glitches: u64,
    cancelled: u64,
    answered: u64,
    seconds: u64,
    /// Cancellations that are granted for certain: full at 200, and filled at once.
    store: u64,
}

type Steps = Result<Vec<Step>, Violation>;

impl Play {
    fn new() -> Self {
        let now = start();
        let side = || Side {
            connection: Connection::new(Terms::default(), now),
            streams: BTreeMap::new(),
        };
        Self {
            whole: side(),
            single: side(),
            now,
            model: Model {
                store: 200,
                ..Model::default()
            },
        }
    }

    fn step(&mut self, input: &mut Input<'_>) -> Result<(), Violation> {
        match input.below(16) {
            0 | 1 => self.admit(input),
            2 => return self.control(input),
            3 | 4 => return self.prioritise(input),
            5 => return self.noise(input),
            6 => return self.qpack(input),
            7 => {
                let id = input.below(6);
                return self.end_stream(u8::try_from(id).expect("below 6"));
            }
            8 => self.go_away(),
            9 => self.warn(),
            10 => {
                let seconds = input.below(8) as u64;
                self.now += Duration::from_secs(seconds);
                self.model.pass(seconds);
            }
            11 => {
                for _ in 0..input.below(64) {
                    self.whole.connection.count_answered();
                    self.single.connection.count_answered();
                    self.model.answered += 1;
                    self.model.store = 200.min(self.model.store + 1);
                }
            }
            12 => return self.count_glitches(input.byte()),
            _ => {
                for _ in 0..input.pick(&[1, 8, 60, 190]) {
                    self.count_cancelled()?;
                }
            }
        }
        Ok(())
    }

    /// Opens request streams in the order of their IDs, of which some may never be heard of.
    fn admit(&mut self, input: &mut Input<'_>) {
        let id = self.model.next + 4 * input.pick(&[0, 0, 0, 0, 1, 5]);
        let both = [&mut self.whole, &mut self.single]
            .map(|side| side.connection.admit(StreamId::new(id)));
        let served = self.model.end.is_none_or(|end| id < end);
        let early = self.model.early.remove(&id);
        for admission in both {
            match admission {
                Admission::Accepted(_, priority) => {
                    assert!(served, "nothing at or above the last GOAWAY");
                    assert_eq!(
                        priority.map(|priority| (priority.urgency(), priority.is_incremental())),
                        early
                    );
                }
                Admission::Rejected(code) => {
                    assert!(!served && code.value() == 0x10b, "H3_REQUEST_REJECTED");
                }
            }
        }
        if served {
            assert!(self.model.accepted.insert(id), "each stream once");
            self.model.next = id + 4;
        }
    }

    /// GOAWAY names the first stream that was not accepted, and never another.
    fn go_away(&mut self) {
        let end = *self.model.end.get_or_insert(self.model.next);
        let expected = frame_with(7, end);
        assert_eq!(self.whole.connection.end(), expected);
        assert_eq!(self.single.connection.end(), expected);
        assert!(self.model.accepted.iter().all(|id| *id < end));
    }

    fn warn(&self) {
        let most = (1_u64 << 62) - 4;
        assert_eq!(Connection::announce_end(), frame_with(7, most));
        assert!(
            self.model.end.is_none_or(|end| end <= most),
            "GOAWAY never grows"
        );
    }

    fn control(&mut self, input: &mut Input<'_>) -> Result<(), Violation> {
        let mut bytes = Vec::new();
        if !self.model.settings {
            self.begin(0, 0, &mut bytes);
            let mut payload = Vec::new();
            for _ in 0..input.below(4) {
                put_varint(
                    &mut payload,
                    input.pick(&[6, 8, 0x33, 1, 7, 0x21, 0x40, 2]),
                    input.below(3),
                );
                put_varint(&mut payload, input.u64(), input.below(3));
            }
            put_frame(&mut bytes, 4, &payload);
            self.model.settings = true;
        }
        for _ in 0..input.below(4) {
            let kind = input.pick(&[7, 0xd, 3, 0x21, 0x40, 4, 0, 1, 5, 0xf_0701]);
            let mut payload = Vec::new();
            put_varint(&mut payload, input.u64() >> input.below(60), input.below(3));
            put_frame(&mut bytes, kind, &payload);
        }
        self.send(0, &bytes).map(drop)
    }

    /// Sends one `PRIORITY_UPDATE` and wants to see what follows from it.
    fn prioritise(&mut self, input: &mut Input<'_>) -> Result<(), Violation> {
        let mut bytes = Vec::new();
        if !self.model.settings {
            self.begin(0, 0, &mut bytes);
            put_frame(&mut bytes, 4, &[]);
            self.model.settings = true;
        }
        let id = 4 * (u64::from(input.byte()) + u64::from(input.one_in(8)) * self.model.next / 4);
        let (urgency, incremental) = (input.byte() & 7, input.one_in(2));
        let mut payload = Vec::new();
        put_varint(&mut payload, id, 0);
        payload.extend_from_slice(
            format!("u={urgency}{}", if incremental { ", i" } else { "" }).as_bytes(),
        );
        put_frame(&mut bytes, 0xf_0700, &payload);
        let steps = self.send(0, &bytes);
        let opened = id < self.model.next;
        match &steps {
            Ok(steps) if opened => {
                let [Step::Reprioritise(stream, priority)] = steps[..] else {
                    panic!("an open stream gets its priority: {steps:?}");
                };
                assert_eq!(
                    (stream.value(), values(priority)),
                    (id, (urgency, incremental))
                );
            }
            Ok(steps) => {
                assert!(steps.is_empty() && id / 4 < self.model.next / 4 + 128);
                let early = &mut self.model.early;
                if early.len() < 64 || early.contains_key(&id) {
                    early.insert(id, (urgency, incremental));
                }
            }
            Err(Violation::PriorityBeyondLimit) => assert!(id / 4 >= self.model.next / 4 + 128),
            Err(violation) => assert_eq!(*violation, Violation::Glitches),
        }
        steps.map(drop)
    }

    /// Sends anything on any stream but the control stream, of which the model knows what is on it.
    fn noise(&mut self, input: &mut Input<'_>) -> Result<(), Violation> {
        let id = 1 + u8::try_from(input.below(5)).expect("below 5");
        let mut bytes = Vec::new();
        self.begin(id, input.pick(&[0x21, 0x40, 2, 3, 1]), &mut bytes);
        bytes.extend_from_slice(input.bytes(24));
        self.send(id, &bytes).map(drop)
    }

    /// Sends instructions on a QPACK stream, of which all are read that a peer without a table may send.
    fn qpack(&mut self, input: &mut Input<'_>) -> Result<(), Violation> {
        let (id, kind, legal): (u8, u64, &[u8]) = input.pick(QPACK);
        let mut bytes = Vec::new();
        self.begin(id, kind, &mut bytes);
        let wrong = input.one_in(8);
        for _ in 0..input.below(8) {
            bytes.push(if wrong {
                input.byte()
            } else {
                input.pick(legal)
            });
        }
        self.model.wrong |= wrong;
        let steps = self.send(id, &bytes);
        if let (Err(violation), false) = (&steps, self.model.wrong) {
            assert!(
                !INSTRUCTIONS.contains(violation),
                "{violation:?} for what is legal"
            );
        }
        steps.map(drop)
    }

    fn begin(&mut self, id: u8, kind: u64, bytes: &mut Vec<u8>) {
        if self.model.kinds.insert(id, kind).is_none() {
            put_varint(bytes, kind, 0);
        }
    }

    fn end_stream(&mut self, id: u8) -> Result<(), Violation> {
        let both = [&mut self.whole, &mut self.single].map(|side| {
            let stream = side.streams.entry(id).or_default();
            let ended = side.connection.one_way_ended(stream);
            side.streams.remove(&id);
            ended
        });
        self.model.kinds.remove(&id);
        assert_eq!(both[0], both[1]);
        if id == 0 && self.model.settings {
            assert_eq!(both[0], Err(Violation::ClosedCriticalStream));
        }
        both[0]
    }

    /// Sends bytes whole and one by one; both have to come to the same.
    fn send(&mut self, id: u8, bytes: &[u8]) -> Steps {
        if bytes.is_empty() {
            return Ok(Vec::new());
        }
        let whole = self.whole.receive(id, bytes, self.now);
        let mut single = Ok(Vec::new());
        for byte in bytes.chunks(1) {
            match self.single.receive(id, byte, self.now) {
                Ok(steps) => {
                    let so_far = single.as_mut().expect("it goes on");
                    so_far.extend(steps);
                }
                Err(violation) => {
                    single = Err(violation);
                    break;
                }
            }
        }
        if let Ok(steps) = &mut single {
            // A stream that means nothing is stopped at each of its bytes.
            steps.dedup_by(|one, other| matches!((one, other), (Step::Stop(_), Step::Stop(_))));
        }
        // Which of two violations in the same bytes of a QPACK stream comes first may depend on them.
        let spent = [&whole, &single].contains(&&Err(Violation::Glitches));
        if !(id > 0 && spent && whole.is_err() && single.is_err()) {
            assert_eq!(whole, single, "cuts do not matter");
        }
        whole
    }

    fn count_glitches(&mut self, count: u8) -> Result<(), Violation> {
        let both = [&mut self.whole, &mut self.single]
            .map(|side| side.connection.count_glitches(count.into(), self.now));
        assert_eq!(both[0], both[1]);
        if both[0].is_ok() {
            self.model.glitches += u64::from(count);
            let most = 1000 + 100 * self.model.seconds + self.model.answered;
            assert!(
                self.model.glitches <= most,
                "the allowance bounds what means nothing"
            );
        }
        both[0]
    }

    fn count_cancelled(&mut self) -> Result<(), Violation> {
        let both = [&mut self.whole, &mut self.single]
            .map(|side| side.connection.count_cancelled(self.now));
        assert_eq!(both[0], both[1]);
        self.model.cancel(both[0].is_ok());
        both[0]
    }
}

impl Side {
    fn receive(&mut self, id: u8, bytes: &[u8], now: Instant) -> Steps {
        let stream = self.streams.entry(id).or_default();
        let mut input = Bytes::copy_from_slice(bytes);
        let mut steps = Vec::new();
        loop {
            match self.connection.receive(stream, &mut input, now)? {
                Step::More => break assert!(input.is_empty(), "all of it was used"),
                stop @ Step::Stop(_) => {
                    steps.push(stop);
                    break;
                }
                step @ Step::Reprioritise(..) => steps.push(step),
            }
        }
        Ok(steps)
    }
}

impl Model {
    fn pass(&mut self, seconds: u64) {
        self.seconds += seconds;
        self.store = 200.min(self.store + 50 * seconds);
    }

    fn cancel(&mut self, within: bool) {
        if within {
            self.cancelled += 1;
            self.store = self.store.saturating_sub(1);
            let most = 200 + 50 * self.seconds + self.answered;
            assert!(
                self.cancelled <= most,
                "the allowance bounds what comes to nothing"
            );
        } else {
            assert_eq!(self.store, 0, "what is granted can be spent");
        }
    }
}

fn frame_with(kind: u64, id: u64) -> Vec<u8> {
    let (mut payload, mut frame) = (Vec::new(), Vec::new());
    put_varint(&mut payload, id, 0);
    put_frame(&mut frame, kind, &payload);
    frame
}

fn values(priority: Priority) -> (u8, bool) {
    (priority.urgency(), priority.is_incremental())
}

#[expect(
    clippy::disallowed_methods,
    reason = "virtual time has to begin somewhere"
)]
fn start() -> Instant {
    Instant::now()
}

/// Where the QPACK streams are, their types, and what is legal on them.
const QPACK: &[(u8, u64, &[u8])] = &[(6, 2, &[0x20]), (7, 3, &[0x40, 0x7e, 0x41])];
const INSTRUCTIONS: &[Violation] = &[
    Violation::LargeInsertion,
    Violation::InstructionReference,
    Violation::InstructionInteger,
    Violation::InstructionString,
    Violation::TableCapacity,
    Violation::Acknowledgment,
    Violation::CancelledInteger,
];

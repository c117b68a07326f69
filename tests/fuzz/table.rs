//! QPACK's dynamic table: instructions and sections of any kind beside a model that keeps all that was ever
//! inserted.

#![expect(
    clippy::panic_in_result_fn,
    reason = "a violation ends an input, and a wrong one fails it"
)]

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use wayhold::http3::{
    Code, Connection, Consequence, OneWay, Part, RequestStream, Step, StreamId, Terms, Violation,
};

use super::fields::{self, Fields, put_frame};
use super::input::Input;

pub(crate) fn target(input: &[u8]) {
    let mut input = Input::new(input);
    let mut play = Play::new();
    while !input.is_empty() {
        let goes_on = if input.one_in(3) {
            play.section(&mut input)
        } else {
            play.instruction(&mut input)
        };
        if goes_on == Outcome::Closed {
            return;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    GoesOn,
    Closed,
}

/// A connection that takes instructions whole, another that takes them byte by byte, and the model.
struct Play {
    sides: [(Connection, OneWay); 2],
    now: Instant,
    model: Model,
    /// Of the next request.
    id: u64,
}

#[derive(Default)]
struct Model {
    capacity: usize,
    /// Everything that was ever inserted.
    all: Vec<(Vec<u8>, Vec<u8>)>,
    /// How many of it were evicted.
    evicted: usize,
    /// How many the client knows to have come.
    known: u64,
}

impl Model {
    fn size(&self) -> usize {
        self.all[self.evicted..].iter().map(size).sum()
    }

    fn shrink(&mut self, room: usize) {
        while self.size() > room {
            self.evicted += 1;
        }
    }

    fn insert(&mut self, line: (Vec<u8>, Vec<u8>)) -> bool {
        if size(&line) > self.capacity {
            return false;
        }
        self.shrink(self.capacity - size(&line));
        self.all.push(line);
        true
    }

    fn get(&self, absolute: Option<u64>) -> Option<(Vec<u8>, Vec<u8>)> {
        let absolute = usize::try_from(absolute?).ok()?;
        if absolute < self.evicted {
            return None;
        }
        self.all.get(absolute).cloned()
    }

    fn inserted(&self) -> u64 {
        self.all.len() as u64
    }
}

fn size((name, value): &(Vec<u8>, Vec<u8>)) -> usize {
    32 + name.len() + value.len()
}

impl Play {
    fn new() -> Self {
        let now = fields::start();
        let side = || {
            let mut side = (Connection::new(Terms::default(), now), OneWay::default());
            receive(&mut side, &[2], now).expect("a type");
            side
        };
        Self {
            sides: [side(), side()],
            now,
            model: Model::default(),
            id: 0,
        }
    }

    /// One instruction, of which the model says whether it is legal.
    fn instruction(&mut self, input: &mut Input<'_>) -> Outcome {
        let model = &mut self.model;
        let mut bytes = Vec::new();
        let legal = match input.below(8) {
            0 => {
                let capacity = input.pick(&[0, 34, 70, 200, 1000, 4096, 4096, 4097, 1 << 40]);
                put_integer(&mut bytes, 0x20, 5, capacity);
                let capacity = usize::try_from(capacity).expect("64 bits");
                model.capacity = capacity;
                model.shrink(capacity);
                capacity <= 4096
            }
            1 => {
                let index = below(model.inserted(), input);
                put_integer(&mut bytes, 0, 5, index);
                let entry = model.get(relative(model.inserted(), index));
                entry.is_some_and(|entry| model.insert(entry))
            }
            2 | 3 => {
                let index = below(model.inserted(), input);
                put_integer(&mut bytes, 0x80, 6, index);
                let value = value(&mut bytes, input);
                let entry = model.get(relative(model.inserted(), index));
                entry.is_some_and(|(name, _)| model.insert((name, value)))
            }
            4 => {
                let (index, name): (u64, &[u8]) =
                    input.pick(&[(2, b"age"), (5, b"cookie"), (95, b"user-agent"), (99, b"")]);
                put_integer(&mut bytes, 0xc0, 6, index);
                let value = value(&mut bytes, input);
                index < 99 && model.insert((name.to_vec(), value))
            }
            _ => {
                let name = input.pick(&[
                    &b"a"[..],
                    b"bc",
                    b"def",
                    b"a-name-of-more-than-31-characters",
                ]);
                put_integer(&mut bytes, 0x40, 5, name.len() as u64);
                bytes.extend_from_slice(name);
                let value = value(&mut bytes, input);
                model.insert((name.to_vec(), value))
            }
        };
        let now = self.now;
        let results = [0, 1].map(|side| {
            let size = if side == 0 { bytes.len() } else { 1 };
            let mut pieces = bytes.chunks(size);
            pieces.try_for_each(|piece| receive(&mut self.sides[side], piece, now))
        });
        assert_eq!(results[0], results[1], "cuts do not matter");
        match results[0] {
            Ok(()) => {
                assert!(legal, "{bytes:x?} is not legal");
                Outcome::GoesOn
            }
            Err(violation) => {
                assert!(!legal, "{bytes:x?} is legal: {violation:?}");
                let code = Consequence::Close(Code::EncoderStreamError);
                assert_eq!(violation.consequence(), code);
                Outcome::Closed
            }
        }
    }

    /// A section, as the trailers of a request, of which the model says what it is.
    fn section(&mut self, input: &mut Input<'_>) -> Outcome {
        let inserted = self.model.inserted();
        let required = if input.one_in(8) {
            inserted + 1 + u64::from(input.byte())
        } else {
            inserted - below(inserted, input).min(inserted)
        };
        let mut section = Vec::new();
        let encoded = if required == 0 { 0 } else { required % 256 + 1 };
        put_integer(&mut section, 0, 8, encoded);
        let delta = below(required, input);
        let behind = input.one_in(2);
        let sign = if behind { 0x80 } else { 0 };
        put_integer(&mut section, sign, 7, delta);
        let base = if behind {
            required.checked_sub(delta + 1)
        } else {
            Some(required + delta)
        };
        // What was asked for before 128 others came, or more than 128 ahead, wraps around to something else.
        let known = required <= inserted && required + 128 > inserted;
        let mut expected = base.filter(|_| known).map(|_| Fields::new());
        for _ in 0..input.below(12) {
            let line = self.line(&mut section, required, base.unwrap_or(0), input);
            expected = expected.zip(line).map(|(mut lines, line)| {
                lines.push(line);
                lines
            });
        }
        if required + 128 <= inserted || required > inserted + 128 {
            // It means another count, and the model does not say what comes of that.
            return Outcome::GoesOn;
        }
        self.read(&section, required, expected)
    }

    /// Appends a line of any form that refers to the table, and gives what it is.
    fn line(
        &self,
        section: &mut Vec<u8>,
        required: u64,
        base: u64,
        input: &mut Input<'_>,
    ) -> Option<(Vec<u8>, Vec<u8>)> {
        let form = input.below(4);
        let most = if form < 2 {
            base
        } else {
            required.saturating_sub(base)
        };
        let index = below(most, input);
        let (flags, prefix) = [(0x80, 6), (0x40, 4), (0x10, 4), (0, 3)][form];
        put_integer(section, flags, prefix, index);
        let literal = (form % 2 == 1).then(|| value(section, input));
        let absolute = if form < 2 {
            relative(base, index)
        } else {
            base.checked_add(index)
        };
        let (name, value) = self.model.get(absolute.filter(|index| *index < required))?;
        Some((name, literal.unwrap_or(value)))
    }

    fn read(&mut self, section: &[u8], required: u64, expected: Option<Fields>) -> Outcome {
        let id = StreamId::new(self.id);
        self.id += 4;
        let head: Fields = [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", "a"),
            (":path", "/"),
        ]
        .map(|(name, value)| (name.into(), value.into()))
        .to_vec();
        let mut bytes = Vec::new();
        put_frame(&mut bytes, 1, &fields::section(&head));
        put_frame(&mut bytes, 1, section);
        let results = self.sides.each_mut().map(|(connection, _)| {
            let result = trailers(connection, id, &bytes);
            (result, connection.take_answers())
        });
        assert_eq!(results[0], results[1]);
        let [(result, answers), _] = results;
        match (result, expected) {
            (Ok(lines), Some(expected)) => {
                assert_eq!(lines, by_name(&expected));
                assert_eq!(answers.unwrap_or_default(), self.answers(id, required));
                Outcome::GoesOn
            }
            (Err(violation), None) => {
                let code = Consequence::Close(Code::DecompressionFailed);
                assert_eq!(violation.consequence(), code, "{violation:?}");
                Outcome::Closed
            }
            (result, expected) => panic!("{result:?}, not {expected:?}"),
        }
    }

    /// What has to be said of a section that was read.
    fn answers(&mut self, id: StreamId, required: u64) -> Vec<u8> {
        let (mut answers, model) = (Vec::new(), &mut self.model);
        if required > 0 {
            put_integer(&mut answers, 0x80, 7, id.value());
            model.known = model.known.max(required);
        }
        let more = model.inserted() - model.known;
        if more > 0 {
            put_integer(&mut answers, 0, 6, more);
            model.known = model.inserted();
        }
        answers
    }
}

fn receive(side: &mut (Connection, OneWay), bytes: &[u8], now: Instant) -> Result<(), Violation> {
    let mut input = Bytes::copy_from_slice(bytes);
    let step = side.0.receive(&mut side.1, &mut input, now)?;
    assert!(step == Step::More && input.is_empty());
    Ok(())
}

/// Reads a request with trailers.
fn trailers(
    connection: &mut Connection,
    id: StreamId,
    bytes: &[u8],
) -> Result<BTreeMap<Vec<u8>, Vec<Vec<u8>>>, Violation> {
    let mut stream = RequestStream::new(Terms::default());
    let mut input = Bytes::copy_from_slice(bytes);
    let mut read = Fields::new();
    loop {
        match stream.next(&mut input)? {
            Some(Part::Head(_)) => {}
            Some(Part::Referring) => assert!(connection.read_section(id, &mut stream)?.is_none()),
            None => break,
            Some(part) => panic!("{part:?}"),
        }
    }
    stream.finish()?;
    if let Some(Part::Trailers(trailers)) = stream.next(&mut input)? {
        let lines = trailers.iter();
        read.extend(lines.map(|(name, value)| (name.as_str().into(), value.as_bytes().into())));
    }
    Ok(by_name(&read))
}

fn by_name(lines: &Fields) -> BTreeMap<Vec<u8>, Vec<Vec<u8>>> {
    let mut map: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
    for (name, value) in lines {
        map.entry(name.clone()).or_default().push(value.clone());
    }
    map
}

/// Appends a string and gives it.
fn value(bytes: &mut Vec<u8>, input: &mut Input<'_>) -> Vec<u8> {
    let value = vec![b'v'; input.pick(&[0, 1, 2, 30, 150])];
    put_integer(bytes, 0, 7, value.len() as u64);
    bytes.extend_from_slice(&value);
    value
}

/// A number below this one, or seldom a larger one.
fn below(most: u64, input: &mut Input<'_>) -> u64 {
    if input.one_in(32) {
        return input.u64() >> 2;
    }
    u64::from(input.byte()) % most.max(1)
}

fn relative(base: u64, index: u64) -> Option<u64> {
    base.checked_sub(index)?.checked_sub(1)
}

/// An integer in its shortest form (RFC 7541, section 5.1).
fn put_integer(out: &mut Vec<u8>, flags: u8, prefix: u32, value: u64) {
    let most = (1_u64 << prefix) - 1;
    let Some(mut rest) = value.checked_sub(most) else {
        out.push(flags | value.to_le_bytes()[0]);
        return;
    };
    out.push(flags | most.to_le_bytes()[0]);
    while rest >= 0x80 {
        out.push(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    out.push(rest.to_le_bytes()[0]);
}

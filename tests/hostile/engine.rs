//! Plays rows on the engine alone, with any rule switched off.

use std::time::Instant;

use bytes::Bytes;
use wayhold::http3::{
    Admission, Connection, Fate, Head, Offer, OneWay, Part, RequestStream, Rules, Step as Next,
    StreamId, Terms, Violation,
};

use crate::row::{End, Expect, Row, Step};

/// What came of a row: of each request stream what was seen, and the violation that ended it all.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Played {
    seen: Vec<String>,
    pub(crate) closed_by: Option<Violation>,
    pub(crate) last_reset_by: Option<Violation>,
}

/// Plays a row under these rules.
pub(crate) fn play(row: &Row, rules: Rules, now: Instant) -> Played {
    let mut terms = Terms::default();
    terms.rules = rules;
    terms.datagrams = Offer::Yes;
    let mut play = Play {
        connection: Connection::new(terms, now),
        now,
        requests: 0,
        deaf: false,
        answers: Vec::new(),
        played: Played::default(),
    };
    for step in &row.steps {
        if let Err(violation) = play.step(step) {
            play.played.closed_by = Some(violation);
            break;
        }
    }
    play.played
}

/// Whether the engine alone brings about what a row expects. What it lets pass, the service may refuse.
pub(crate) fn agrees(row: &Row, played: &Played) -> bool {
    use wayhold::http3::Consequence::{Close, Reset, TooLarge};
    let consequence = played.closed_by.or(played.last_reset_by);
    match (row.expect, consequence.map(Violation::consequence)) {
        (Expect::Close(code), Some(Close(closed))) => code == closed,
        (Expect::Reset(code), Some(Reset(reset))) => code == reset,
        (Expect::Status(431 | 413), Some(TooLarge)) | (Expect::Status(_), None) => true,
        // The driver sees this one.
        (Expect::Close(_), None) => matches!(row.steps[..], [Step::StopControl]),
        _ => false,
    }
}

struct Play {
    connection: Connection,
    now: Instant,
    requests: u64,
    /// Whether the client leaves no room for answers.
    deaf: bool,
    answers: Vec<u8>,
    played: Played,
}

impl Play {
    /// Fails with what closes the connection.
    fn step(&mut self, step: &Step) -> Result<(), Violation> {
        match step {
            // What takes time is for the driver.
            Step::StopControl
            | Step::Pings(_)
            | Step::Open(_)
            | Step::Drip(..)
            | Step::DripOneWay(_)
            | Step::Unread(_)
            | Step::Sip(_) => Ok(()),
            Step::Deaf => {
                self.deaf = true;
                Ok(())
            }
            Step::Answers(expected) => {
                self.expect_answers(expected);
                Ok(())
            }
            Step::Datagram(frame) => self.datagram(frame),
            Step::OneWay(bytes, end) => self.one_way(bytes, *end),
            Step::Request(pieces, end) => {
                let id = StreamId::new(self.requests * 4);
                self.requests += 1;
                // Nothing is rejected without a GOAWAY.
                let Admission::Accepted(mut stream, priority) = self.connection.admit(id) else {
                    return Ok(());
                };
                self.played.seen.push(format!("request {priority:?}"));
                let result = self.request((id, &mut stream), pieces, *end);
                if !self.deaf {
                    self.take_answers();
                }
                if *end != End::Open || result.is_err() {
                    self.connection.close_request(id);
                }
                self.played.last_reset_by = None;
                if let Err(violation) = result {
                    if let wayhold::http3::Consequence::Close(_) = violation.consequence() {
                        return Err(violation);
                    }
                    self.played.seen.push(format!("{violation:?}"));
                    self.played.last_reset_by = Some(violation);
                }
                if result.is_err() || *end != End::Finished {
                    self.connection.abandoned(id)?;
                }
                if result.is_err() || matches!(end, End::Reset | End::Stopped) {
                    self.connection.count_cancelled(self.now)
                } else {
                    self.connection.count_answered();
                    Ok(())
                }
            }
        }
    }

    fn one_way(&mut self, bytes: &[u8], end: End) -> Result<(), Violation> {
        let mut stream = OneWay::default();
        let mut input = Bytes::copy_from_slice(bytes);
        loop {
            match self.connection.receive(&mut stream, &mut input, self.now)? {
                Next::More => break,
                Next::Stop(code) => {
                    self.played.seen.push(format!("stop {code}"));
                    return Ok(());
                }
                Next::Reprioritise(id, priority) => {
                    self.played.seen.push(format!("{id} {priority:?}"));
                }
            }
        }
        match end {
            End::Open | End::Stopped => Ok(()),
            End::Finished | End::Reset => self.connection.one_way_ended(&stream),
        }
    }

    fn expect_answers(&mut self, expected: &[u8]) {
        self.take_answers();
        let answers = std::mem::take(&mut self.answers);
        self.played
            .seen
            .push(format!("as expected: {}", answers == expected));
    }

    fn take_answers(&mut self) {
        if let Some(answers) = self.connection.take_answers() {
            self.answers.extend_from_slice(&answers);
            self.played.seen.push(format!("{answers:?}"));
        }
    }

    fn datagram(&mut self, frame: &[u8]) -> Result<(), Violation> {
        let fate = self
            .connection
            .receive_datagram(&Bytes::copy_from_slice(frame))?;
        self.played.seen.push(format!("{fate:?}"));
        if let Fate::Refused(_, violation) = fate {
            self.played.last_reset_by = Some(violation);
        }
        Ok(())
    }

    /// As the driver does it when it has read a head.
    fn decide(&mut self, id: StreamId, head: &Head) -> Result<(), Violation> {
        if head.protocol.as_deref() == Some(b"connect-udp") {
            let early = self.connection.take_datagrams(id);
            self.played.seen.push(format!("{early:?}"));
            return Ok(());
        }
        self.connection.refuse_datagrams(id)
    }

    fn request(
        &mut self,
        (id, stream): (StreamId, &mut RequestStream),
        pieces: &[Vec<u8>],
        end: End,
    ) -> Result<(), Violation> {
        for piece in pieces {
            self.read(id, stream, piece)?;
        }
        match end {
            End::Finished | End::Stopped => {
                stream.finish()?;
                self.read(id, stream, &[])
            }
            End::Open | End::Reset => Ok(()),
        }
    }

    fn read(
        &mut self,
        id: StreamId,
        stream: &mut RequestStream,
        piece: &[u8],
    ) -> Result<(), Violation> {
        let mut input = Bytes::copy_from_slice(piece);
        loop {
            let mut part = stream.next(&mut input);
            if let Ok(Some(Part::Referring)) = part {
                part = self.connection.read_section(id, stream);
                if let Ok(None) = part {
                    continue;
                }
            }
            let glitches = stream.take_glitches();
            self.connection.count_glitches(glitches, self.now)?;
            match part? {
                Some(Part::Head(head)) => {
                    self.played.seen.push(format!("{head:?}"));
                    self.decide(id, &head)?;
                }
                Some(Part::Data(data)) => self.played.seen.push(format!("{data:?}")),
                Some(Part::Trailers(trailers)) => {
                    self.played.seen.push(format!("{trailers:?}"));
                }
                // The others were read.
                Some(Part::Referring) | None => return Ok(()),
            }
        }
    }
}

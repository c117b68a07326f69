use std::collections::BTreeMap;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::allowance::{Allowance, Spent};
use super::control::{ControlStream, PriorityUpdate};
use super::datagram::{Datagrams, Fate};
use super::one_way::{Kind, OneWay};
use super::qpack::{Answers, Table};
use super::{Code, Offer, Part, Priority, RequestStream, StreamId, Terms, Violation};
use super::{frame, settings, varint};

/// What the streams of one connection have in common: its control and QPACK streams, which requests are
/// accepted, and how much that comes to nothing the client may ask for.
///
/// It holds at most one control frame of 4096 bytes, 64 priorities, a dynamic table of 4096 bytes, a part of an
/// instruction for it and 2048 bytes of answers, about 40 KiB in all for a client that does its worst.
#[derive(Debug)]
pub struct Connection {
    terms: Terms,
    control: ControlStream,
    critical: Critical,
    /// The first request stream that has not been accepted.
    next_request: StreamId,
    /// The first request stream that never will be, once GOAWAY said so.
    end: Option<StreamId>,
    /// Priorities that came before their streams.
    early: BTreeMap<StreamId, Priority>,
    /// What the client inserted for its requests to refer to.
    table: Table,
    answers: Answers,
    datagrams: Datagrams,
    glitches: Allowance,
    insertions: Allowance,
    cancellations: Allowance,
}

/// Which critical streams the client has opened.
#[derive(Debug, Default)]
struct Critical {
    control: bool,
    encoder: bool,
    decoder: bool,
}

/// Whether a request stream is served.
#[derive(Debug)]
pub enum Admission {
    /// It is read with this; the priority is what a `PRIORITY_UPDATE` said already.
    Accepted(Box<RequestStream>, Option<Priority>),
    /// It is reset with this code, and the client may repeat the request elsewhere (RFC 9114, section
    /// 4.1.1).
    Rejected(Code),
}

/// What to do with a stream of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Read more.
    More,
    /// Stop the stream with this code; nothing on it means anything here.
    Stop(Code),
    /// The client wants another priority for a request whose stream is open. There may be more to be had
    /// of the same bytes.
    Reprioritise(StreamId, Priority),
}

impl Connection {
    /// A connection on which nothing has come.
    pub fn new(terms: Terms, now: Instant) -> Self {
        Self {
            terms,
            control: ControlStream::default(),
            critical: Critical::default(),
            next_request: StreamId::new(0),
            end: None,
            early: BTreeMap::new(),
            table: Table::default(),
            answers: Answers::default(),
            datagrams: Datagrams::default(),
            glitches: Allowance::full(GLITCHES, GLITCHES_PER_SECOND, now),
            insertions: Allowance::full(INSERTIONS, INSERTIONS_PER_SECOND, now),
            cancellations: Allowance::full(CANCELLATIONS, CANCELLATIONS_PER_SECOND, now),
        }
    }

    /// The first bytes of the gateway's control stream: its type and SETTINGS.
    pub fn opening(&self) -> Bytes {
        let mut out = BytesMut::new();
        varint::put(&mut out, Kind::CONTROL);
        settings::put(&mut out, &self.terms);
        out.freeze()
    }

    /// The first byte of the gateway's decoder stream: its type.
    pub fn opening_decoder() -> Bytes {
        let mut out = BytesMut::new();
        varint::put(&mut out, Kind::DECODER);
        out.freeze()
    }

    /// Reads the section that a request stream announced with [`Part::Referring`]. None for trailers,
    /// which [`RequestStream::next`] gives when the stream has ended.
    ///
    /// # Errors
    /// The rule that the client broke.
    pub fn read_section(
        &mut self,
        id: StreamId,
        stream: &mut RequestStream,
    ) -> Result<Option<Part>, Violation> {
        let Some((part, required)) = stream.read_referring(&self.table)? else {
            return Ok(None);
        };
        self.answers.acknowledge(id, required, self.terms.rules)?;
        Ok(part)
    }

    /// Takes that a request stream is read no further although its end has not come. A client that has a
    /// dynamic table is told (RFC 9204, section 2.2.2.2).
    ///
    /// # Errors
    /// When the client reads nothing of what it is told.
    pub fn abandoned(&mut self, id: StreamId) -> Result<(), Violation> {
        if self.table.inserted() == 0 && self.table.capacity() == 0 {
            return Ok(());
        }
        self.answers.cancel(id, self.terms.rules)
    }

    /// What is to be written to the gateway's decoder stream, if there is anything.
    pub fn take_answers(&mut self) -> Option<Bytes> {
        self.answers.take(self.table.inserted())
    }

    /// Decides on a request stream that the client has opened. Streams come in the order of their IDs.
    pub fn admit(&mut self, id: StreamId) -> Admission {
        let priority = self.early.remove(&id);
        if self.end.is_some_and(|end| id >= end) {
            return Admission::Rejected(Code::RequestRejected);
        }
        self.next_request = self.next_request.max(id.next());
        if self.terms.datagrams == Offer::Yes {
            self.datagrams.open(id);
        }
        let stream = RequestStream::new(self.terms);
        Admission::Accepted(Box::new(stream), priority)
    }

    /// Takes bytes that came on a stream of one direction, off the front of `input`, until it is used up
    /// or something follows from them.
    ///
    /// # Errors
    /// Every violation closes the connection.
    pub fn receive(
        &mut self,
        stream: &mut OneWay,
        input: &mut Bytes,
        now: Instant,
    ) -> Result<Step, Violation> {
        let kind = if let Some(kind) = stream.kind() {
            kind
        } else {
            let Some(kind) = stream.take_kind(input) else {
                return Ok(Step::More);
            };
            self.open(kind, now)?;
            kind
        };
        let rules = self.terms.rules;
        match kind {
            Kind::Control => loop {
                let update = self.control.next(input, rules);
                // Those before a violation count first, so that it does not matter where the stream was cut.
                let glitches = self.control.take_glitches();
                self.count_glitches(glitches, now)?;
                let Some(update) = update? else {
                    return Ok(Step::More);
                };
                self.count_glitches(1, now)?;
                if let Some(step) = self.reprioritise(update)? {
                    return Ok(step);
                }
            },
            Kind::Encoder => {
                let received = stream.receive_encoder(input, &mut self.table, rules);
                input.clear();
                let counts = stream.take_counts();
                self.count_glitches(counts.others, now)?;
                self.count_insertions(counts.insertions, now)?;
                received.map(|()| Step::More)
            }
            Kind::Decoder => {
                let count = stream.receive_decoder(input, rules)?;
                input.clear();
                self.count_glitches(count, now)?;
                Ok(Step::More)
            }
            Kind::Push | Kind::Unknown => Ok(Step::Stop(Code::StreamCreationError)),
        }
    }

    /// Takes the end of a stream of one direction, clean or not. One without a type may end (RFC 9114,
    /// section 6.2).
    ///
    /// # Errors
    /// When the stream was critical.
    pub fn one_way_ended(&self, stream: &OneWay) -> Result<(), Violation> {
        match stream.kind() {
            Some(Kind::Control | Kind::Encoder | Kind::Decoder) => {
                self.terms.rules.refuse(Violation::ClosedCriticalStream)
            }
            Some(Kind::Push | Kind::Unknown) | None => Ok(()),
        }
    }

    /// Counts what is legal and means little: an allowance of 1000, of which 100 come back each second
    /// and one with each answered request.
    ///
    /// # Errors
    /// When the allowance is spent.
    pub fn count_glitches(&mut self, count: u32, now: Instant) -> Result<(), Violation> {
        if count > 0 && self.glitches.spend(count, now) == Spent::Over {
            self.terms.rules.refuse(Violation::Glitches)?;
        }
        Ok(())
    }

    /// Counts insertions into the dynamic table, which take few bytes and some work: an allowance of 4000,
    /// of which 4000 come back each second and four with each answered request.
    fn count_insertions(&mut self, count: u32, now: Instant) -> Result<(), Violation> {
        if count > 0 && self.insertions.spend(count, now) == Spent::Over {
            self.terms.rules.refuse(Violation::Insertions)?;
        }
        Ok(())
    }

    /// Counts a request that the client gave up or that broke a rule, so that nothing came of the work
    /// for it: an allowance of 200, of which 50 come back each second and one with each answered request.
    ///
    /// # Errors
    /// When the allowance is spent.
    pub fn count_cancelled(&mut self, now: Instant) -> Result<(), Violation> {
        if self.cancellations.spend(1, now) == Spent::Over {
            self.terms.rules.refuse(Violation::Cancellations)?;
        }
        Ok(())
    }

    /// Counts a request whose response the client has.
    pub fn count_answered(&mut self) {
        self.glitches.earn(1);
        self.insertions.earn(INSERTIONS_PER_REQUEST);
        self.cancellations.earn(1);
    }

    /// GOAWAY that tells the client to go and gives nothing up: what it sent before this came to it is
    /// served. [`Connection::end`] follows, about a round trip later (RFC 9114, section 5.2).
    pub fn announce_end() -> Bytes {
        goaway(StreamId::LAST_REQUEST)
    }

    /// GOAWAY that names the first request stream which is not served. All that were accepted are below
    /// it, and from here on no other is.
    pub fn end(&mut self) -> Bytes {
        let end = *self.end.get_or_insert(self.next_request);
        goaway(end)
    }

    /// The largest field section that the client takes (RFC 9114, section 4.2.2); none if it did not say.
    pub fn max_response_section(&self) -> Option<u64> {
        let most = self.control.settings()?.max_section;
        (most < varint::MAX).then_some(most)
    }

    /// Takes the payload of a QUIC DATAGRAM frame. There are none unless [`Terms::datagrams`] offers it,
    /// because QUIC does not allow them then.
    ///
    /// # Errors
    /// Every violation closes the connection.
    pub fn receive_datagram(&mut self, frame: &Bytes) -> Result<Fate, Violation> {
        let end = self.next_request.index() + u64::from(self.terms.limits.streams);
        let range = (self.next_request, end);
        self.datagrams.receive(frame, range, self.terms.rules)
    }

    /// Notes that a request takes datagrams, and gives those that came before it, at most 16.
    pub fn take_datagrams(&mut self, request: StreamId) -> Vec<Bytes> {
        self.datagrams.take(request)
    }

    /// Notes that a request has no use for datagrams.
    ///
    /// # Errors
    /// When some came before it; the violation resets the request.
    pub fn refuse_datagrams(&mut self, request: StreamId) -> Result<(), Violation> {
        self.datagrams.refuse(request, self.terms.rules)
    }

    /// Notes that a request has ended, and what comes for it from here on is late.
    pub fn close_request(&mut self, request: StreamId) {
        self.datagrams.close(request);
    }

    /// Whether datagrams may be sent: only when both sides have offered it (RFC 9297, section 2.1.1).
    pub fn may_send_datagrams(&self) -> bool {
        let peer = self.control.settings().map(|settings| settings.datagrams);
        self.terms.datagrams == Offer::Yes && peer == Some(Offer::Yes)
    }

    fn open(&mut self, kind: Kind, now: Instant) -> Result<(), Violation> {
        let rules = self.terms.rules;
        let (opened, second) = match kind {
            Kind::Control => (&mut self.critical.control, Violation::SecondControlStream),
            Kind::Encoder => (&mut self.critical.encoder, Violation::SecondEncoderStream),
            Kind::Decoder => (&mut self.critical.decoder, Violation::SecondDecoderStream),
            Kind::Push => return rules.refuse(Violation::PushStream),
            Kind::Unknown => return self.count_glitches(UNKNOWN_STREAM, now),
        };
        if std::mem::replace(opened, true) {
            rules.refuse(second)?;
        }
        Ok(())
    }

    fn reprioritise(&mut self, update: PriorityUpdate) -> Result<Option<Step>, Violation> {
        let PriorityUpdate { stream, priority } = update;
        if stream < self.next_request {
            return Ok(Some(Step::Reprioritise(stream, priority)));
        }
        let opened = self.next_request.index();
        if stream.index() >= opened + u64::from(self.terms.limits.streams) {
            self.terms.rules.refuse(Violation::PriorityBeyondLimit)?;
        }
        if self.early.len() < EARLY_PRIORITIES || self.early.contains_key(&stream) {
            self.early.insert(stream, priority);
        }
        Ok(None)
    }
}

fn goaway(id: StreamId) -> Bytes {
    let mut out = BytesMut::new();
    varint::put(&mut out, frame::GOAWAY);
    varint::put(&mut out, frame::count(varint::len(id.value())));
    varint::put(&mut out, id.value());
    out.freeze()
}

/// Glitches that a stream of unknown type counts as: it takes one of the few streams that a client may
/// have open, and is opened, stopped and forgotten, where a frame is only skipped.
const UNKNOWN_STREAM: u32 = 8;

/// Clients of the extension point send a few of them; a thousand at once are no accident.
const GLITCHES: u32 = 1000;
const GLITCHES_PER_SECOND: u32 = 100;
/// An insertion takes a fraction of a microsecond, and browsers make a few of them for a request.
const INSERTIONS: u32 = 4000;
const INSERTIONS_PER_SECOND: u32 = 4000;
const INSERTIONS_PER_REQUEST: u32 = 4;
/// A page that is left takes with it what a browser had asked for, which is as much as there may be
/// streams.
const CANCELLATIONS: u32 = 200;
const CANCELLATIONS_PER_SECOND: u32 = 50;
/// Browsers send them for a page's next few requests; one that is lost costs a default.
const EARLY_PRIORITIES: usize = 64;

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

use super::frame::{self, Header, HeaderReader, count, within};
use super::message::{self, Head};
use super::qpack::{Section, Table};
use super::{Terms, Violation};

/// The client's side of one request stream: bytes in, the parts of a request out.
///
/// DATA is passed on as it came, without a copy. Only the piece that completes a content-length and the
/// trailers wait for the end of the stream, so that nobody takes a request for whole behind which something
/// follows that makes it malformed. Of everything else at most one frame header (16 bytes)
/// and one header section (`Limits::section_bytes`) is held, and a section that lies in one piece is not
/// even copied for that. Frames of unknown types are skipped and never held (RFC 9114, section 9).
#[derive(Debug)]
pub struct RequestStream {
    terms: Terms,
    header: HeaderReader,
    state: State,
    phase: Phase,
    section: BytesMut,
    /// A section that is to be read with the dynamic table.
    referring: Option<Bytes>,
    /// What content-length leaves for DATA to come.
    left: Option<u64>,
    /// The piece that completed it.
    last: Option<Bytes>,
    trailers: Option<HeaderMap>,
    finished: bool,
    glitches: u32,
    failed: Option<Violation>,
}

/// A part of a request.
#[derive(Debug)]
pub enum Part {
    /// A section refers to the dynamic table. [`Connection::read_section`](super::Connection::read_section)
    /// reads it, before anything else is read of the stream.
    Referring,
    /// The header section.
    Head(Box<Head>),
    /// A piece of the content; never empty.
    Data(Bytes),
    /// The trailer section, after which nothing comes.
    Trailers(HeaderMap),
}

/// Within the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Header,
    Data(u64),
    Section(u64),
    Skip(u64),
}

/// Within the message (RFC 9114, section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Head,
    Content,
    Tunnel,
    AfterTrailers,
}

impl RequestStream {
    /// A stream of which nothing has come.
    pub fn new(terms: Terms) -> Self {
        Self {
            terms,
            header: HeaderReader::default(),
            state: State::Header,
            phase: Phase::Head,
            section: BytesMut::new(),
            referring: None,
            left: None,
            last: None,
            trailers: None,
            finished: false,
            glitches: 0,
            failed: None,
        }
    }

    /// Takes bytes off the front of `input` up to the end of the next part. None when `input` is used up.
    ///
    /// # Errors
    /// The rule that the client broke; it is the same from then on.
    pub fn next(&mut self, input: &mut Bytes) -> Result<Option<Part>, Violation> {
        if let Some(violation) = self.failed {
            return Err(violation);
        }
        if self.referring.is_some() {
            return Ok(Some(Part::Referring));
        }
        if self.finished {
            let last = self.last.take().map(Part::Data);
            return Ok(last.or_else(|| self.trailers.take().map(Part::Trailers)));
        }
        let part = self.read(input);
        self.note(part)
    }

    /// Takes the end of the stream. [`RequestStream::next`] then gives what has waited for it.
    ///
    /// # Errors
    /// When the request is not whole.
    pub fn finish(&mut self) -> Result<(), Violation> {
        if let Some(violation) = self.failed {
            return Err(violation);
        }
        let finished = self.check_end();
        self.finished = true;
        self.note(finished)
    }

    /// Reads the section that was announced with [`Part::Referring`], and gives how many insertions it
    /// needed. None where none was.
    pub(super) fn read_referring(
        &mut self,
        table: &Table,
    ) -> Result<Option<(Option<Part>, u64)>, Violation> {
        let Some(section) = self.referring.take() else {
            return Ok(None);
        };
        let read = self.read_lines(&section, Some(table)).map(Some);
        self.note(read)
    }

    /// How much came since the last call that is legal and means nothing: empty DATA frames and frames
    /// of unknown types. [`Connection::count_glitches`](super::Connection::count_glitches) bounds it.
    pub fn take_glitches(&mut self) -> u32 {
        std::mem::take(&mut self.glitches)
    }

    fn note<T>(&mut self, result: Result<T, Violation>) -> Result<T, Violation> {
        if let Err(violation) = &result {
            self.failed = Some(*violation);
            self.section = BytesMut::new();
            (self.last, self.trailers, self.referring) = (None, None, None);
        }
        result
    }

    fn read(&mut self, input: &mut Bytes) -> Result<Option<Part>, Violation> {
        loop {
            match self.state {
                State::Header => {
                    let Some(header) = self.header.take(input) else {
                        return Ok(None);
                    };
                    self.state = self.begin(header)?;
                }
                State::Data(0) | State::Skip(0) => self.state = State::Header,
                State::Section(left) => {
                    let part = self.read_section(left, input)?;
                    if part.is_some() || self.state != State::Header {
                        return Ok(part);
                    }
                }
                State::Data(_) | State::Skip(_) if input.is_empty() => return Ok(None),
                State::Skip(left) => {
                    let skipped = within(left, input.len());
                    input.advance(skipped);
                    self.state = State::Skip(left - count(skipped));
                }
                State::Data(left) => {
                    let data = input.split_to(within(left, input.len()));
                    let left = left - count(data.len());
                    self.state = State::Data(left);
                    if left > 0 || self.left != Some(0) {
                        return Ok(Some(Part::Data(data)));
                    }
                    self.last = Some(data);
                }
            }
        }
    }

    /// Judges a frame by its header, before anything of its payload is held.
    fn begin(&mut self, header: Header) -> Result<State, Violation> {
        let rules = self.terms.rules;
        let Header { kind, length } = header;
        match kind {
            frame::DATA => self.begin_data(length),
            frame::HEADERS => {
                match self.phase {
                    Phase::Head | Phase::Content => {}
                    Phase::Tunnel => rules.refuse(Violation::HeadersInTunnel)?,
                    Phase::AfterTrailers => rules.refuse(Violation::HeadersAfterTrailers)?,
                }
                if length > self.terms.limits.frame_bytes() {
                    rules.refuse(Violation::LargeFrame)?;
                }
                Ok(State::Section(length))
            }
            _ => {
                match kind {
                    frame::CANCEL_PUSH | frame::SETTINGS | frame::GOAWAY | frame::MAX_PUSH_ID => {
                        rules.refuse(Violation::ControlFrameOnRequest)?;
                    }
                    frame::PUSH_PROMISE => rules.refuse(Violation::PushPromise)?,
                    frame::PRIORITY_UPDATE | frame::PRIORITY_UPDATE_PUSH => {
                        rules.refuse(Violation::PriorityUpdateOnRequest)?;
                    }
                    kind if frame::is_reserved(kind) => rules.refuse(Violation::ReservedFrame)?,
                    _ => {}
                }
                self.glitches = self.glitches.saturating_add(1);
                Ok(State::Skip(length))
            }
        }
    }

    fn begin_data(&mut self, length: u64) -> Result<State, Violation> {
        let rules = self.terms.rules;
        match self.phase {
            Phase::Head => rules.refuse(Violation::DataBeforeHead)?,
            Phase::AfterTrailers => rules.refuse(Violation::DataAfterTrailers)?,
            Phase::Content | Phase::Tunnel => {}
        }
        if length == 0 {
            self.glitches = self.glitches.saturating_add(1);
        }
        if let Some(left) = &mut self.left {
            match left.checked_sub(length) {
                Some(less) => *left = less,
                None => rules.refuse(Violation::LongBody)?,
            }
        }
        Ok(State::Data(length))
    }

    /// Reads a section from where it lies, or collects it where it comes in pieces. Only what has come is
    /// held, whatever length was declared.
    fn read_section(&mut self, left: u64, input: &mut Bytes) -> Result<Option<Part>, Violation> {
        let piece = input.split_to(within(left, input.len()));
        let left = left - count(piece.len());
        if left > 0 {
            self.section.extend_from_slice(&piece);
            self.state = State::Section(left);
            return Ok(None);
        }
        self.state = State::Header;
        if self.section.is_empty() {
            return self.end_section(piece);
        }
        self.section.extend_from_slice(&piece);
        let section = std::mem::take(&mut self.section);
        self.end_section(section.freeze())
    }

    fn end_section(&mut self, section: Bytes) -> Result<Option<Part>, Violation> {
        if Section::refers(&section) {
            self.referring = Some(section);
            return Ok(Some(Part::Referring));
        }
        let (part, _none) = self.read_lines(&section, None)?;
        Ok(part)
    }

    /// Reads a section, and gives how many insertions it needed.
    fn read_lines(
        &mut self,
        section: &[u8],
        table: Option<&Table>,
    ) -> Result<(Option<Part>, u64), Violation> {
        let mut section = Section::open(section, table, self.terms.rules)?;
        let required = section.required();
        if self.phase == Phase::Head {
            let head = message::read_head(&mut section, &self.terms)?;
            self.left = head.content_length;
            self.phase = if head.opens_tunnel() {
                self.left = None;
                Phase::Tunnel
            } else {
                Phase::Content
            };
            return Ok((Some(Part::Head(Box::new(head))), required));
        }
        self.phase = Phase::AfterTrailers;
        self.trailers = Some(message::read_trailers(&mut section, &self.terms)?);
        self.check_length()?;
        Ok((None, required))
    }

    fn check_end(&self) -> Result<(), Violation> {
        let rules = self.terms.rules;
        let between_frames = match self.state {
            State::Header => self.header.is_empty(),
            State::Data(left) | State::Skip(left) => left == 0,
            State::Section(_) => false,
        };
        if !between_frames {
            rules.refuse(Violation::TruncatedFrame)?;
        }
        if self.phase == Phase::Head {
            rules.refuse(Violation::IncompleteRequest)?;
        }
        self.check_length()
    }

    fn check_length(&self) -> Result<(), Violation> {
        if self.left.is_some_and(|left| left > 0) {
            self.terms.rules.refuse(Violation::ShortBody)?;
        }
        Ok(())
    }
}

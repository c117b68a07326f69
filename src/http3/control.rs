//! The client's control stream (RFC 9114, sections 6.2.1 and 7.2; RFC 9218, section 7).

use bytes::{Buf, Bytes, BytesMut};

use super::frame::{self, Header, HeaderReader, count, within};
use super::settings::{self, Settings};
use super::{Priority, Rules, StreamId, Violation, varint};

/// Reads the frames of a control stream. At most one frame of 4096 bytes is held.
#[derive(Debug, Default)]
pub(super) struct ControlStream {
    header: HeaderReader,
    state: State,
    payload: BytesMut,
    settings: Option<Settings>,
    max_push_id: Option<u64>,
    goaway: Option<u64>,
    glitches: u32,
}

/// What a control frame asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PriorityUpdate {
    pub(super) stream: StreamId,
    pub(super) priority: Priority,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Header,
    Payload(Header),
    Skip(u64),
}

impl ControlStream {
    /// Takes bytes off the front of `input` up to the next frame that asks for something. None when
    /// `input` is used up.
    pub(super) fn next(
        &mut self,
        input: &mut Bytes,
        rules: Rules,
    ) -> Result<Option<PriorityUpdate>, Violation> {
        loop {
            match self.state {
                State::Header => {
                    let Some(header) = self.header.take(input) else {
                        return Ok(None);
                    };
                    self.state = self.begin(header, rules)?;
                }
                State::Skip(0) => self.state = State::Header,
                State::Skip(_) if input.is_empty() => return Ok(None),
                State::Skip(left) => {
                    let skipped = within(left, input.len());
                    input.advance(skipped);
                    self.state = State::Skip(left - count(skipped));
                }
                State::Payload(header) => {
                    let left = header.length - count(self.payload.len());
                    let piece = input.split_to(within(left, input.len()));
                    self.payload.extend_from_slice(&piece);
                    if count(self.payload.len()) < header.length {
                        return Ok(None);
                    }
                    self.state = State::Header;
                    let payload = self.payload.split();
                    let update = self.end(header.kind, &payload, rules)?;
                    if update.is_some() {
                        return Ok(update);
                    }
                }
            }
        }
    }

    /// What the client's SETTINGS say, once they came.
    pub(super) fn settings(&self) -> Option<Settings> {
        self.settings
    }

    pub(super) fn take_glitches(&mut self) -> u32 {
        std::mem::take(&mut self.glitches)
    }

    fn begin(&mut self, header: Header, rules: Rules) -> Result<State, Violation> {
        let Header { kind, length } = header;
        if self.settings.is_none() && kind != frame::SETTINGS {
            rules.refuse(Violation::MissingSettings)?;
        }
        match kind {
            frame::SETTINGS
            | frame::CANCEL_PUSH
            | frame::GOAWAY
            | frame::MAX_PUSH_ID
            | frame::PRIORITY_UPDATE
            | frame::PRIORITY_UPDATE_PUSH => {
                if kind == frame::SETTINGS && self.settings.is_some() {
                    rules.refuse(Violation::SecondSettings)?;
                }
                if length > MAX_FRAME {
                    rules.refuse(Violation::LargeControlFrame)?;
                }
                Ok(State::Payload(header))
            }
            _ => {
                match kind {
                    frame::DATA | frame::HEADERS => {
                        rules.refuse(Violation::MessageFrameOnControl)?;
                    }
                    frame::PUSH_PROMISE => rules.refuse(Violation::PushPromise)?,
                    kind if frame::is_reserved(kind) => rules.refuse(Violation::ReservedFrame)?,
                    _ => {}
                }
                self.glitches = self.glitches.saturating_add(1);
                Ok(State::Skip(length))
            }
        }
    }

    fn end(
        &mut self,
        kind: u64,
        payload: &[u8],
        rules: Rules,
    ) -> Result<Option<PriorityUpdate>, Violation> {
        match kind {
            frame::SETTINGS => {
                self.settings = Some(settings::read(payload, rules)?);
                return Ok(None);
            }
            frame::PRIORITY_UPDATE => return priority_update(payload, rules),
            _ => {}
        }
        // Each of these is one that says nothing of a request.
        self.glitches = self.glitches.saturating_add(1);
        let Some(id) = only_integer(payload) else {
            if kind == frame::PRIORITY_UPDATE_PUSH {
                rules.refuse(Violation::PriorityOfPush)?;
            }
            rules.refuse(Violation::MalformedControlFrame)?;
            return Ok(None);
        };
        match kind {
            frame::MAX_PUSH_ID => {
                if self.max_push_id.is_some_and(|max| id < max) {
                    rules.refuse(Violation::MaxPushIdShrank)?;
                }
                self.max_push_id = Some(id);
            }
            frame::GOAWAY => {
                if self.goaway.is_some_and(|last| id > last) {
                    rules.refuse(Violation::GoawayGrew)?;
                }
                self.goaway = Some(id);
            }
            frame::CANCEL_PUSH => rules.refuse(Violation::CancelPush)?,
            _ => rules.refuse(Violation::PriorityOfPush)?,
        }
        Ok(None)
    }
}

fn only_integer(payload: &[u8]) -> Option<u64> {
    let (id, rest) = varint::split(payload)?;
    rest.is_empty().then_some(id)
}

fn priority_update(payload: &[u8], rules: Rules) -> Result<Option<PriorityUpdate>, Violation> {
    let Some((id, value)) = varint::split(payload) else {
        rules.refuse(Violation::MalformedControlFrame)?;
        return Ok(None);
    };
    let stream = StreamId::new(id);
    if !stream.is_request() {
        rules.refuse(Violation::PriorityOfNoRequest)?;
    }
    Ok(Some(PriorityUpdate {
        stream,
        priority: Priority::parse(value),
    }))
}

/// SETTINGS of real clients have a dozen entries; the others carry one integer and a short text.
const MAX_FRAME: u64 = 4096;

use bytes::{Buf, Bytes, BytesMut};

/// Walks the frames of a stream in front of the HTTP/3 library and lets through only what it
/// handles well.
///
/// The library buffers HEADERS and unknown frames whole before it looks at any limit, and takes an
/// empty DATA frame for the end of the body. So HEADERS over the limit are an error here before
/// they are buffered, unknown frames are skipped byte by byte (RFC 9114, section 9), and empty DATA
/// frames, which mean nothing, are left out.
#[derive(Debug)]
pub(super) struct Gate {
    rules: Rules,
    state: State,
    header: BytesMut,
}

/// Which frames pass.
#[derive(Clone, Copy, Debug)]
enum Rules {
    /// A request stream; the value bounds the bytes of one HEADERS frame.
    Request { max_headers: u64 },
    /// The client's control stream, after its type.
    Control,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Header,
    Pass(u64),
    Skip(u64),
}

/// Why a stream was stopped at the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum GateError {
    /// A HEADERS frame is longer than the limit.
    #[error("the header section is larger than the limit")]
    HeadersTooLarge,
    /// A control frame is longer than any legal one.
    #[error("a control frame is larger than the limit")]
    ControlTooLarge,
    /// The frame does not belong on this stream (RFC 9114, section 7.2).
    #[error("a frame of type {0:#x} does not belong on this stream")]
    Unexpected(u64),
    /// The stream ended within a frame (RFC 9114, section 7.1).
    #[error("the stream ended within a frame")]
    Truncated,
}

impl Gate {
    /// For a request stream.
    pub(super) fn request(max_headers: u64) -> Self {
        Self::new(Rules::Request { max_headers })
    }

    /// For the client's control stream, after its type.
    pub(super) fn control() -> Self {
        Self::new(Rules::Control)
    }

    fn new(rules: Rules) -> Self {
        Self {
            rules,
            state: State::Header,
            header: BytesMut::new(),
        }
    }

    /// Takes the next bytes off `input` and gives the next piece that may pass, or `None` when all
    /// of `input` was used.
    pub(super) fn next(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, GateError> {
        while !input.is_empty() {
            match self.state {
                State::Header => {
                    if let Some(passed) = self.take_header(input)? {
                        return Ok(Some(passed));
                    }
                }
                State::Skip(left) => {
                    let len = within(left, input.len());
                    input.advance(len);
                    self.state = State::Skip(left).after(len);
                }
                State::Pass(left) => {
                    let passed = input.split_to(within(left, input.len()));
                    self.state = self.state.after(passed.len());
                    return Ok(Some(passed));
                }
            }
        }
        Ok(None)
    }

    /// Checks that the stream may end here. The library takes an end within a DATA frame for the end
    /// of the body when it comes alone.
    pub(super) fn finish(&self) -> Result<(), GateError> {
        match self.state {
            State::Header if self.header.is_empty() => Ok(()),
            State::Header | State::Pass(_) | State::Skip(_) => Err(GateError::Truncated),
        }
    }

    /// Collects a frame's type and length, at most 16 bytes, and decides on the frame.
    fn take_header(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, GateError> {
        while !input.is_empty() {
            self.header.extend_from_slice(&input.split_to(1));
            let Some((kind, length)) = parse_header(&self.header) else {
                continue;
            };
            let header = self.header.split().freeze();
            self.state = self.decide(kind, length)?;
            let passes = matches!(self.state, State::Pass(_));
            self.state = self.state.after(0);
            return Ok(passes.then_some(header));
        }
        Ok(None)
    }

    fn decide(&self, kind: u64, length: u64) -> Result<State, GateError> {
        match (self.rules, kind) {
            (Rules::Request { .. }, DATA) if length == 0 => Ok(State::Skip(0)),
            (Rules::Request { max_headers }, HEADERS) if length > max_headers => {
                Err(GateError::HeadersTooLarge)
            }
            (Rules::Request { .. }, DATA | HEADERS) => Ok(State::Pass(length)),
            (Rules::Control, CANCEL_PUSH | SETTINGS | GOAWAY | MAX_PUSH_ID) => {
                if length > MAX_CONTROL_FRAME {
                    Err(GateError::ControlTooLarge)
                } else {
                    Ok(State::Pass(length))
                }
            }
            (_, DATA..=GOAWAY | 0x08 | 0x09 | MAX_PUSH_ID) => Err(GateError::Unexpected(kind)),
            _ => Ok(State::Skip(length)),
        }
    }
}

impl State {
    /// The state after `len` more bytes of the current frame.
    fn after(self, len: usize) -> Self {
        let used = u64::try_from(len).unwrap_or(u64::MAX);
        let (left, rebuild): (u64, fn(u64) -> Self) = match self {
            Self::Header => return self,
            Self::Pass(left) => (left, Self::Pass),
            Self::Skip(left) => (left, Self::Skip),
        };
        match left.saturating_sub(used) {
            0 => Self::Header,
            left => rebuild(left),
        }
    }
}

fn within(left: u64, available: usize) -> usize {
    usize::try_from(left).map_or(available, |left| left.min(available))
}

fn parse_header(bytes: &[u8]) -> Option<(u64, u64)> {
    let (kind, rest) = varint(bytes)?;
    let (length, _) = varint(rest)?;
    Some((kind, length))
}

/// Reads a variable-length integer (RFC 9000, section 16).
pub(super) fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let len = 1_usize << (bytes.first()? >> 6);
    let (value, rest) = bytes.split_at_checked(len)?;
    let value = value
        .iter()
        .fold(0, |value, byte| value << 8 | u64::from(*byte));
    Some((value & (u64::MAX >> (66 - 8 * len)), rest))
}

const DATA: u64 = 0x00;
const HEADERS: u64 = 0x01;
const CANCEL_PUSH: u64 = 0x03;
const SETTINGS: u64 = 0x04;
const GOAWAY: u64 = 0x07;
const MAX_PUSH_ID: u64 = 0x0d;
/// SETTINGS of real clients have a dozen entries; the others carry one integer.
const MAX_CONTROL_FRAME: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn run(mut gate: Gate, pieces: &[&[u8]]) -> Result<Vec<u8>, GateError> {
        let mut passed = Vec::new();
        for piece in pieces {
            let mut input = Bytes::copy_from_slice(piece);
            while let Some(bytes) = gate.next(&mut input)? {
                passed.extend_from_slice(&bytes);
            }
        }
        gate.finish()?;
        Ok(passed)
    }

    #[expect(clippy::panic_in_result_fn, reason = "a test may panic")]
    fn request(bytes: &[u8]) -> Result<Vec<u8>, GateError> {
        let whole = run(Gate::request(100), &[bytes]);
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        let byte_by_byte = run(Gate::request(100), &single);
        if whole == byte_by_byte {
            whole
        } else {
            panic!("{whole:?} and {byte_by_byte:?} differ")
        }
    }

    #[test]
    fn headers_and_data_pass_unchanged() {
        let bytes = b"\x01\x03abc\x00\x05hello\x00\x01!";
        assert_eq!(request(bytes).unwrap(), bytes);
    }

    #[test]
    fn an_empty_data_frame_is_left_out() {
        assert_eq!(
            request(b"\x01\x01a\x00\x00\x00\x01b\x00\x00").unwrap(),
            b"\x01\x01a\x00\x01b"
        );
    }

    #[test]
    fn an_unknown_frame_is_skipped_whatever_its_length() {
        assert_eq!(
            request(b"\x21\x03xyz\x01\x01a\x40\x40\x02xy").unwrap(),
            b"\x01\x01a"
        );
        let mut gate = Gate::request(100);
        let mut giant = Bytes::from_static(b"\x21\xff\xff\xff\xff\xff\xff\xff\xffxxxx");
        assert_eq!(gate.next(&mut giant), Ok(None));
        assert_eq!(
            gate.header.capacity().min(64),
            gate.header.capacity(),
            "nothing is buffered"
        );
    }

    #[test]
    fn headers_over_the_limit_are_refused_before_their_bytes() {
        assert_eq!(request(b"\x01\x40\x65"), Err(GateError::HeadersTooLarge));
        let limit = [&b"\x01\x40\x64"[..], &[b'x'; 100]].concat();
        assert_eq!(request(&limit).unwrap(), limit);
    }

    #[test]
    fn frames_of_other_streams_are_refused() {
        for kind in [0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0d] {
            let bytes = [kind, 0];
            assert_eq!(
                request(&bytes),
                Err(GateError::Unexpected(u64::from(kind))),
                "{kind:#x}"
            );
        }
        for kind in [0x00, 0x01, 0x02, 0x05, 0x06, 0x08, 0x09] {
            let bytes = [kind, 0];
            let passed = run(Gate::control(), &[&bytes]);
            assert_eq!(
                passed,
                Err(GateError::Unexpected(u64::from(kind))),
                "{kind:#x}"
            );
        }
    }

    #[test]
    fn control_frames_pass_up_to_their_limit() {
        assert_eq!(
            run(Gate::control(), &[b"\x04\x02\x06\x40"]).unwrap(),
            b"\x04\x02\x06\x40"
        );
        assert_eq!(
            run(Gate::control(), &[b"\x04\x50\x01"]),
            Err(GateError::ControlTooLarge)
        );
    }

    #[test]
    fn a_stream_that_ends_within_a_frame_is_truncated() {
        assert_eq!(request(b"\x01\x03ab"), Err(GateError::Truncated));
        assert_eq!(request(b"\x01\x01a\x00\x03xy"), Err(GateError::Truncated));
        assert_eq!(request(b"\x21\x03xy"), Err(GateError::Truncated));
        assert_eq!(request(b"\x01\x01a\x40"), Err(GateError::Truncated));
    }

    proptest::proptest! {
        #[test]
        fn what_passes_does_not_depend_on_how_it_was_cut(
            bytes in proptest::collection::vec(0_u8..16, 0..60),
            cut in 0_usize..60,
        ) {
            let (left, right) = bytes.split_at(cut.min(bytes.len()));
            let whole = run(Gate::request(8), &[&bytes]);
            let parts = run(Gate::request(8), &[left, right]);
            proptest::prop_assert_eq!(whole, parts);
        }
    }
}

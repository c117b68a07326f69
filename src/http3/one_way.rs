use bytes::{Buf, Bytes};

use super::qpack::{DecoderStream, EncoderStream};
use super::{Rules, Violation, varint};

/// A stream that the client opened for one direction (RFC 9114, section 6.2). It holds at most the eight
/// bytes of its type.
#[derive(Debug, Default)]
pub struct OneWay {
    kind: Option<Kind>,
    held: [u8; 8],
    len: usize,
    encoder: EncoderStream,
    decoder: DecoderStream,
}

/// What such a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Control,
    Push,
    Encoder,
    Decoder,
    Unknown,
}

impl Kind {
    pub(super) const CONTROL: u64 = 0x00;

    fn of(kind: u64) -> Self {
        match kind {
            Self::CONTROL => Self::Control,
            0x01 => Self::Push,
            0x02 => Self::Encoder,
            0x03 => Self::Decoder,
            _ => Self::Unknown,
        }
    }
}

impl OneWay {
    pub(super) fn kind(&self) -> Option<Kind> {
        self.kind
    }

    /// Takes the type off the front of `input`, or all of it where the type goes on.
    pub(super) fn take_kind(&mut self, input: &mut Bytes) -> Option<Kind> {
        while let Some(byte) = input.first() {
            self.held[self.len] = *byte;
            self.len += 1;
            input.advance(1);
            if let Some((kind, _)) = varint::split(&self.held[..self.len]) {
                self.kind = Some(Kind::of(kind));
                return self.kind;
            }
        }
        None
    }

    /// Takes QPACK instructions and gives how many began.
    pub(super) fn receive(&mut self, bytes: &[u8], rules: Rules) -> Result<u32, Violation> {
        if self.kind == Some(Kind::Encoder) {
            self.encoder.receive(bytes, rules)
        } else {
            self.decoder.receive(bytes, rules)
        }
    }
}

use bytes::{Buf, Bytes};

use super::qpack::{Counts, DecoderStream, EncoderStream, Table};
use super::{Rules, Violation, varint};

/// A stream that the client opened for one direction (RFC 9114, section 6.2). It holds at most the eight
/// bytes of its type, or a part of a QPACK instruction whose entry has room in the dynamic table.
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
    pub(super) const DECODER: u64 = 0x03;

    fn of(kind: u64) -> Self {
        match kind {
            Self::CONTROL => Self::Control,
            0x01 => Self::Push,
            0x02 => Self::Encoder,
            Self::DECODER => Self::Decoder,
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

    /// Takes what the client's encoder says.
    pub(super) fn receive_encoder(
        &mut self,
        bytes: &[u8],
        table: &mut Table,
        rules: Rules,
    ) -> Result<(), Violation> {
        self.encoder.receive(bytes, table, rules)
    }

    /// How many instructions of its encoder came since the last call.
    pub(super) fn take_counts(&mut self) -> Counts {
        self.encoder.take_counts()
    }

    /// Takes what the client's decoder says, and gives how many instructions began.
    pub(super) fn receive_decoder(&mut self, bytes: &[u8], rules: Rules) -> Result<u32, Violation> {
        self.decoder.receive(bytes, rules)
    }
}

use std::fmt;

/// An error code of HTTP/3 or QPACK, as it goes over the wire (RFC 9114, section 8.1; RFC 9204,
/// section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// `H3_DATAGRAM_ERROR` (RFC 9297, section 5.2)
    DatagramError,
    /// `H3_NO_ERROR`
    NoError,
    /// `H3_GENERAL_PROTOCOL_ERROR`
    GeneralProtocolError,
    /// `H3_INTERNAL_ERROR`
    InternalError,
    /// `H3_STREAM_CREATION_ERROR`
    StreamCreationError,
    /// `H3_CLOSED_CRITICAL_STREAM`
    ClosedCriticalStream,
    /// `H3_FRAME_UNEXPECTED`
    FrameUnexpected,
    /// `H3_FRAME_ERROR`
    FrameError,
    /// `H3_EXCESSIVE_LOAD`
    ExcessiveLoad,
    /// `H3_ID_ERROR`
    IdError,
    /// `H3_SETTINGS_ERROR`
    SettingsError,
    /// `H3_MISSING_SETTINGS`
    MissingSettings,
    /// `H3_REQUEST_REJECTED`
    RequestRejected,
    /// `H3_REQUEST_CANCELLED`
    RequestCancelled,
    /// `H3_REQUEST_INCOMPLETE`
    RequestIncomplete,
    /// `H3_MESSAGE_ERROR`
    MessageError,
    /// `QPACK_DECOMPRESSION_FAILED`
    DecompressionFailed,
    /// `QPACK_ENCODER_STREAM_ERROR`
    EncoderStreamError,
    /// `QPACK_DECODER_STREAM_ERROR`
    DecoderStreamError,
}

impl Code {
    /// The number on the wire.
    pub const fn value(self) -> u32 {
        match self {
            Self::DatagramError => 0x33,
            Self::NoError => 0x0100,
            Self::GeneralProtocolError => 0x0101,
            Self::InternalError => 0x0102,
            Self::StreamCreationError => 0x0103,
            Self::ClosedCriticalStream => 0x0104,
            Self::FrameUnexpected => 0x0105,
            Self::FrameError => 0x0106,
            Self::ExcessiveLoad => 0x0107,
            Self::IdError => 0x0108,
            Self::SettingsError => 0x0109,
            Self::MissingSettings => 0x010a,
            Self::RequestRejected => 0x010b,
            Self::RequestCancelled => 0x010c,
            Self::RequestIncomplete => 0x010d,
            Self::MessageError => 0x010e,
            Self::DecompressionFailed => 0x0200,
            Self::EncoderStreamError => 0x0201,
            Self::DecoderStreamError => 0x0202,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#06x}", self.value())
    }
}

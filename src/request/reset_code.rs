/// Why a stream is reset, in words that HTTP/2 and HTTP/3 share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetCode {
    /// `H3_REQUEST_CANCELLED`, `CANCEL`.
    Cancelled,
    /// `H3_MESSAGE_ERROR`, `PROTOCOL_ERROR`.
    Message,
    /// `H3_EXCESSIVE_LOAD`, `ENHANCE_YOUR_CALM`.
    ExcessiveLoad,
    /// `H3_INTERNAL_ERROR`, `INTERNAL_ERROR`.
    Internal,
}

impl ResetCode {
    /// The HTTP/3 error code (RFC 9114, section 8.1).
    pub fn http3(self) -> u32 {
        match self {
            Self::Cancelled => 0x010c,
            Self::Message => 0x010e,
            Self::ExcessiveLoad => 0x0107,
            Self::Internal => 0x0102,
        }
    }

    /// The HTTP/2 error code (RFC 9113, section 7).
    pub fn http2(self) -> u32 {
        match self {
            Self::Cancelled => 0x8,
            Self::Message => 0x1,
            Self::ExcessiveLoad => 0xb,
            Self::Internal => 0x2,
        }
    }
}

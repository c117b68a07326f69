use super::Rules;

/// What a connection is held to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Terms {
    /// Sizes.
    pub limits: Limits,
    /// Whether the gateway takes HTTP datagrams in QUIC DATAGRAM frames (RFC 9297, section 2.1.1).
    pub datagrams: Offer,
    /// All rules, but in tests of the rules.
    #[doc(hidden)]
    pub rules: Rules,
}

impl Terms {
    /// Bounds a connection by these limits.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }
}

/// The sizes of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a header section, and of a trailer section, as RFC 9114, section 4.2.2 counts them.
    pub section_bytes: u32,
    /// Fields in a section, without the pseudo-fields.
    pub fields: usize,
    /// Request streams at once, which QUIC holds the client to.
    pub streams: u32,
}

impl Default for Limits {
    /// 32 KiB, 128 fields, 128 streams.
    fn default() -> Self {
        Self {
            section_bytes: 32 << 10,
            fields: 128,
            streams: 128,
        }
    }
}

impl Limits {
    /// The longest HEADERS frame. A line takes fewer bytes on the wire than the 32 and more that it
    /// counts, so the encoding of a section within the limit is shorter than the limit and its prefix,
    /// unless its integers are padded.
    pub(super) fn frame_bytes(self) -> u64 {
        u64::from(self.section_bytes) + SECTION_PREFIX
    }
}

/// Whether the gateway offers an extension.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offer {
    /// It is not offered, and to use it is an error.
    #[default]
    No,
    /// It is offered in SETTINGS.
    Yes,
}

const SECTION_PREFIX: u64 = 2;

use std::time::Instant;

/// When a client reached each step of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// Before the first packet left; after a move, when it began.
    pub start: Instant,
    /// TCP's handshake was complete, or the node's first QUIC datagram was there.
    pub connected: Option<Instant>,
    /// A request could be sent. None after a move, where it always could.
    pub ready: Option<Instant>,
    /// The handshake was complete at the client (RFC 9001, section 4.1.1).
    pub handshake: Option<Instant>,
    /// The handshake was confirmed at the client (RFC 9001, section 4.1.2); TLS over TCP has no such
    /// step.
    pub confirmed: Option<Instant>,
    /// The first byte of the response was there.
    pub first_byte: Instant,
}

#[expect(clippy::disallowed_methods, reason = "the clock of the dialers")]
pub(super) fn now() -> Instant {
    Instant::now()
}

//! What the packets of a link say of a connection: how many round trips it took, what it sent, and how
//! much a node sent to an address that it had not validated.
//!
//! An [`Exchange`] is the measured span of one connection. Everything follows from the packets, the
//! client's [`Marks`] and the round-trip time of the link; no key is needed and nothing is decrypted.
//!
//! # Round trips
//!
//! A packet *depends* on every packet of the other direction that was delivered to its sender before it
//! was sent. A packet's *depth* is one more than the deepest that it depends on. The client's packets that
//! depend on none have depth 1, for the client opens the span; the node's have depth 0: nothing that
//! the client did in the span caused them. So the client's depths are odd and the node's even, and the
//! number of round trips at a moment of the client is half the depth of the deepest packet that was
//! delivered to it until then. Four rules make this the number that a reader of the RFCs counts:
//!
//! - Only packets that were sent within the span exist. What was under way when a client moved opens no
//!   chain and lengthens none.
//! - A packet that only acknowledges is waited for by a sender whose window is full, or that Nagle's
//!   algorithm stops, and by nobody else. So a packet depends on such a one only if it could carry data,
//!   the other acknowledges what none before it did, and came in at most a quarter of a round trip before.
//!   This keeps apart the tail of a certificate chain that had to wait for the window, which is
//!   a round trip more, and a response that happened to be computed while an acknowledgment of something
//!   else came in. At a mark such packets count as nothing. Of TCP these are segments without data, SYN,
//!   FIN or RST. QUIC hides it; of the client's packets those count as such that have a short
//!   header and no room for a request of HTTP/3 beside an ACK frame: at most 15 bytes of frames and
//!   packet number, where the handshake showed how long the connection ID is.
//! - After a lost packet its sender waited for an answer that never came: its packets from one round trip
//!   after the loss on are at least two deeper than the lost one. A packet that only acknowledges is exempt,
//!   as its sender waits for nothing, and so is a short-header packet that was too long for the link: it
//!   was a probe of the MTU (RFC 9000, section 14.4).
//! - At a round-trip time of 0 there is no number: whether a packet came in before another left says
//!   nothing when both take as long as the hosts' own work.
//!
//! A lossless chain of depth 2n takes at least n round trips of time, so the number is never more than what
//! fits in the measured time, and session tickets, late acknowledgments and window updates change nothing
//! while every host answers within a round trip. Where one does not, the number can be wrong:
//!
//! - too high, where a node answers later than one round trip after the request, and in between came in
//!   a packet of the client that nobody needed and that is not known to only acknowledge, as `PATH_RESPONSE`
//!   after a move;
//! - too high, where a packet was lost that nobody needed, and its sender has been idle for a round trip when
//!   it sends what does matter;
//! - too high, where a host waits for a timer after a loss, and packets of another purpose, as probes of the
//!   MTU, go to and fro meanwhile;
//! - too low, where a host waits for a timer of its own although nothing was lost: timers are no packets.
//!
//! The last shows as a difference to the time divided by the round-trip time, the others as samples that do
//! not agree if not all have them, and [`Record`](super::Record)s doubt both. Reordered packets count from
//! their delivery. Of two copies of a packet the first to be delivered counts.
//!
//! # What the trace must hold
//!
//! The time of delivery is taken before the receiver can see the packet. The two clocks, the kernel's
//! and that of the marks, may differ by up to [`CLOCK_ERROR`].

mod acknowledgment;
mod amplification;
mod chain;
mod counts;
mod drawing;
mod exchange;
mod label;
mod packet;
mod quic;
mod tls;

pub use drawing::{Drawing, MOST_STEPS, Step};
pub use exchange::{CLOCK_ERROR, Exchange, Marks, NoRoundTrips};

#[cfg(test)]
mod tests;

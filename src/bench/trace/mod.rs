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
//! - A TCP segment that only acknowledges is waited for by a sender whose window is full, or that Nagle's
//!   algorithm stops, and by nobody else. So a packet depends on such a segment only if it carries data,
//!   the segment acknowledges what none before it did, and the packet was sent within a quarter
//!   of a round trip after it. This keeps apart the tail of a certificate chain that had to wait for the
//!   window, which is a round trip more, and a response that happened to be computed while
//!   an acknowledgment of something else came in. At a mark such segments count as nothing.
//! - After a lost packet its sender waited for an answer that never came: its packets from one round trip
//!   after the loss on are at least two deeper than the lost one. A TCP segment that only acknowledges
//!   is exempt, as its sender waits for nothing, and so is a short-header packet that was too long for
//!   the link: it was a probe of the MTU (RFC 9000, section 14.4).
//! - At a round-trip time of 0 there is no number: whether a packet came in before another left says
//!   nothing when both take as long as the hosts' own work.
//!
//! A chain of depth 2n takes at least n round trips of time, so the number is never more than what fits in
//! the measured time, and late acknowledgments, session tickets and window updates change nothing unless
//! a host lets a round trip pass. Where it does, the number is wrong in these ways:
//!
//! - too high, where a node answers later than one round trip after the request, and in between a QUIC
//!   packet of the client that nobody needed came in, since QUIC hides which packets only acknowledge;
//! - too high by the same in a node that loses a packet which nobody needed, and sends another, later
//!   by a round trip, that does not replace it;
//! - too low, where a host waits for a timer of its own while nothing was lost: timers are no packets.
//!
//! All three show as a difference to the time divided by the round-trip time, or as samples that do
//! not agree, and [`Record`](super::Record)s doubt both. Reordered packets count from their delivery.
//! Of duplicates the first to be delivered counts; a second copy adds no depth.
//!
//! # What the trace must hold
//!
//! The time of delivery is taken before the receiver can see the packet. The two clocks, the kernel's
//! and that of the marks, may differ by up to [`CLOCK_ERROR`].

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

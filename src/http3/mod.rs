//! The server side of HTTP/3: frames and streams (RFC 9114), field compression (RFC 9204), the rules of
//! messages (RFC 9110, RFC 9220), priorities (RFC 9218) and HTTP datagrams (RFC 9297).
//!
//! It does no IO and has no clock: bytes go in, the parts of requests come out, and what goes back over
//! the wire is given as bytes. A [`Connection`] has what streams have in common; each request stream is
//! a [`RequestStream`] and a [`ResponseStream`] of its own, so that content passes without a look at the
//! connection. A client that breaks a rule is told by the [`Consequence`] of the [`Violation`].
//!
//! Bounds: a connection holds about 40 KiB, a request stream one header section and its decoded fields
//! (`Limits::section_bytes`, 32 KiB unless set otherwise) until the head is complete, and 200 bytes
//! after. Content is never held. What the peer may send ahead is bounded by QUIC's flow control.
//!
//! QPACK has a dynamic table of 4 KiB for requests, for which none ever waits, and none for responses; see
//! `docs/adr/0012-dynamic-table-for-requests.md`. Push is not implemented, because clients have given it
//! up: a client that allows it gets none.

mod allowance;
mod code;
mod connection;
mod control;
mod datagram;
mod frame;
mod message;
mod one_way;
mod priority;
mod qpack;
mod request_stream;
mod response;
mod settings;
mod stream_id;
mod terms;
pub(crate) mod varint;
mod violation;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use code::Code;
pub use connection::{Admission, Connection, Step};
pub use datagram::{Fate, datagram};
pub use message::Head;
pub use one_way::OneWay;
pub use priority::Priority;
pub use request_stream::{Part, RequestStream};
pub use response::{Overrun, ResponseStream};
pub use stream_id::StreamId;
pub use terms::{Limits, Offer, Terms};
pub use violation::{Consequence, Rules, Violation};

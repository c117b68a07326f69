//! What a request is to the gateway: the [`Handler`] that answers it, the facts known about its
//! client, the streamed body, and the one mapping from failures to what the client sees.
//!
//! Nothing here knows a transport: `edge` turns HTTP/3, HTTP/2 and HTTP/1.1 into these types.

mod account;
mod body;
mod certificate;
mod client;
pub(crate) mod clock;
mod connect;
mod datagrams;
mod error;
mod error_words;
pub(crate) mod fields;
pub(crate) mod forwarded;
mod handler;
mod handshake;
mod informational;
mod keeps_time;
mod path;
mod reset_code;
pub(crate) mod trace;
mod upstream;
pub(crate) mod websocket;

pub(crate) use account::{Account, Traced};
pub use body::{Body, BodyError};
pub use certificate::ClientCertificate;
pub use client::{ClientFacts, HandshakeKind, Noted, PathFacts, Protocol};
pub use connect::ConnectProtocol;
pub(crate) use datagrams::{DatagramQueue, SendDatagrams};
pub use datagrams::{Datagrams, SendDatagramError};
pub use error::{Origin, RequestError, Stage};
pub(crate) use forwarded::{Hop, Malformed, Node};
pub use handler::{Handler, HandlerFuture, SharedHandler};
pub use handshake::{Handshake, HandshakeFailed};
pub use informational::{Informational, NotInformed};
pub(crate) use informational::{Interim, Section};
pub use keeps_time::KeepsTime;
pub(crate) use path::percent_decoded;
pub use reset_code::ResetCode;
pub use trace::TraceId;
pub use upstream::{AnsweredBy, BackendReport, ProbeReport};

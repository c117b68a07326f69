//! What a request is to the gateway: the [`Handler`] that answers it, the facts known about its
//! client, the streamed body, and the one mapping from failures to what the client sees.
//!
//! Nothing here knows a transport: `edge` turns HTTP/3, HTTP/2 and HTTP/1.1 into these types.

mod base64;
mod body;
mod certificate;
mod client;
pub(crate) mod clock;
mod connect;
mod datagrams;
mod error;
pub(crate) mod fields;
mod handler;
mod handshake;
mod informational;
mod keeps_time;
mod upstream;
pub(crate) mod websocket;

pub use body::{Body, BodyError};
pub use certificate::ClientCertificate;
pub use client::{ClientFacts, PathFacts, Protocol};
pub use connect::ConnectProtocol;
pub(crate) use datagrams::{DatagramQueue, SendDatagrams};
pub use datagrams::{Datagrams, SendDatagramError};
pub use error::{Origin, RequestError, ResetCode, Stage};
pub use handler::{Handler, HandlerFuture, SharedHandler};
pub use handshake::{Handshake, HandshakeFailed};
pub use informational::{Informational, NotInformed};
pub(crate) use informational::{Interim, Section};
pub use keeps_time::KeepsTime;
pub use upstream::{AnsweredBy, BackendReport};

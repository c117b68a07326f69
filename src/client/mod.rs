//! The HTTP/3 and HTTP/2 clients of `wayhold get`, the demo and the bench.
//!
//! A client is one connection. It never retries, redirects or pools, so that what is measured with
//! it is what that one connection did.

mod either;
mod error;
mod http2;
mod http3;
mod padding;
mod response;
mod tls;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub use either::Client;
pub use error::{ClientError, Stage};
pub use http2::TcpClient;
pub use http3::Http3Client;
pub use padding::pad_after_move;
pub use response::{Progress, ResponseBody};
pub use tls::{Trust, certificates, tls_config};

/// Whom a client connects to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The address of the node.
    pub address: SocketAddr,
    /// The name that its certificate must have: a DNS name, or an IP address without brackets.
    pub name: String,
}

/// How long a client waits for each step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// To connect, with all handshakes. Default 10 s.
    pub connect: Duration,
    /// From the end of the request to the header section of its response. Default 30 s.
    pub response: Duration,
    /// Between two pieces of a body, in either direction. Default 30 s.
    pub idle: Duration,
    /// HTTP/3: how long nothing may arrive before the client pings. Default 5 s.
    ///
    /// A client that only downloads has nothing to send when its NAT drops the mapping, and a node
    /// finds its new address only in what it sends: this is the longest that such a client is lost.
    pub keep_alive: Duration,
}

/// How long the parts of connecting took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connected {
    /// The TCP handshake; zero for QUIC, which has one handshake for both.
    pub transport: Duration,
    /// The TLS or QUIC handshake.
    pub handshake: Duration,
    /// Whether TLS resumed a session (RFC 8446, section 2.2).
    pub resumed: bool,
}

impl Connected {
    /// The whole time to connect.
    pub fn total(&self) -> Duration {
        self.transport + self.handshake
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            response: Duration::from_secs(30),
            idle: Duration::from_secs(30),
            keep_alive: Duration::from_secs(5),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the client's one clock")]
fn now() -> Instant {
    Instant::now()
}

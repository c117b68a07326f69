use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Whether each request writes one line to the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// Nothing is written.
    Off,
    /// Every [`AccessRecord`] becomes one event with the target `access` at level info; its form is
    /// the subscriber's.
    On,
}

impl AccessLog {
    /// Writes the record of one finished request.
    pub fn write(self, record: &AccessRecord) {
        if self == Self::Off {
            return;
        }
        tracing::info!(
            target: "access",
            method = bounded(&record.method),
            host = bounded(&record.host),
            path = bounded(&record.path),
            protocol = record.protocol,
            status = record.status,
            request_bytes = record.request_bytes,
            response_bytes = record.response_bytes,
            client = %record.client,
            origin = record.origin.map(tracing::field::display),
            path_changes = record.path_changes,
            handshake = record.handshake,
            request_id = record.request_id.as_deref().map(bounded),
            trace_id = record.trace_id.as_deref(),
            route = record.route.as_deref(),
            pool = record.pool.as_deref(),
            tries = record.tries,
            upstream = record.upstream.as_deref(),
            first_byte_us = record.first_byte.map(micros),
            total_us = micros(record.total),
            failure = record.failure,
        );
    }
}

/// What is known of one request when it has ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AccessRecord {
    /// The method.
    pub method: String,
    /// The authority the client asked for, empty if it named none.
    pub host: String,
    /// The path without its query, which often carries secrets.
    pub path: String,
    /// The protocol's ALPN name.
    pub protocol: &'static str,
    /// The status sent, none if the request ended before it.
    pub status: Option<u16>,
    /// Bytes of the request body that were read.
    pub request_bytes: u64,
    /// Bytes of the response body that were passed to the transport.
    pub response_bytes: u64,
    /// The client's address, last validated when the request began.
    pub client: SocketAddr,
    /// The client's own address, if a trusted proxy says it.
    pub origin: Option<IpAddr>,
    /// How the connection began: `full`, `resumed` or `early`, as far as it is known.
    pub handshake: Option<&'static str>,
    /// What the request is called.
    pub request_id: Option<String>,
    /// The trace that it is part of.
    pub trace_id: Option<String>,
    /// The route that it took, as `route.N`.
    pub route: Option<Arc<str>>,
    /// The pool of backends that it went to.
    pub pool: Option<Arc<str>>,
    /// How often a backend was asked, if a route leads to one.
    pub tries: Option<u32>,
    /// Changes of the client's address on this connection so far.
    pub path_changes: u64,
    /// The backend that answered, as `host:port`.
    pub upstream: Option<Arc<str>>,
    /// From the request's header section to the response's.
    pub first_byte: Option<Duration>,
    /// From the request's header section to the end of the response body.
    pub total: Duration,
    /// Why the request failed, a word of [`RequestError::reason`](crate::request::RequestError::reason).
    pub failure: Option<&'static str>,
}

/// The begin of what a client sends, which may be as long as a header section. The subscriber escapes it.
fn bounded(text: &str) -> &str {
    text.split_at(text.floor_char_boundary(MAX_TEXT)).0
}

const MAX_TEXT: usize = 1024;

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

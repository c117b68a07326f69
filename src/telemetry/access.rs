use std::net::SocketAddr;
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
            method = record.method,
            host = record.host,
            path = record.path,
            protocol = record.protocol,
            status = record.status,
            request_bytes = record.request_bytes,
            response_bytes = record.response_bytes,
            client = %record.client,
            path_changes = record.path_changes,
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

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;

use super::grpc;
use super::inbound::Tally;
use super::tunnel::{self, Tunnel};
use crate::request::{AnsweredBy, Body, BodyError, ClientFacts, RequestError, clock, fields};
use crate::telemetry::{AccessLog, AccessRecord, Answered, Metrics, Reason};

/// Where the measurements of every request go.
#[derive(Debug)]
pub(super) struct Telemetry {
    pub(super) metrics: Metrics,
    cut_off: AtomicBool,
}

impl Telemetry {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self {
            metrics,
            cut_off: AtomicBool::new(false),
        }
    }

    pub(super) fn cut_off(&self) {
        self.cut_off.store(true, Ordering::Release);
    }
}

/// The measuring of one request; it is counted and logged once, when this is dropped.
///
/// Dropped before [`Exchange::complete`] or [`Exchange::fail`], it was cancelled by the client, or at
/// the end of the process by that.
#[derive(Debug)]
pub(super) struct Exchange {
    telemetry: Arc<Telemetry>,
    access: AccessLog,
    client: ClientFacts,
    method: Method,
    uri: Uri,
    host: Option<HeaderValue>,
    wants_trailers: bool,
    grpc_call: bool,
    upload: Arc<Tally>,
    upload_seen: u64,
    response_bytes: u64,
    status: Option<StatusCode>,
    answered_by: Option<AnsweredBy>,
    began: Instant,
    first_byte: Option<Duration>,
    outcome: Option<Outcome>,
    /// Of a request for one, until it opens.
    tunnel: Option<Arc<Tunnel>>,
    /// Whether it has opened.
    counted: Option<OpenTunnel>,
}

#[derive(Clone, Copy, Debug)]
enum Outcome {
    Complete,
    Failed(RequestError),
}

impl Exchange {
    pub(super) fn begin(
        telemetry: &Arc<Telemetry>,
        access: AccessLog,
        request: &Request<Body>,
        client: &ClientFacts,
    ) -> Self {
        Self {
            telemetry: Arc::clone(telemetry),
            access,
            client: client.clone(),
            method: request.method().clone(),
            uri: request.uri().clone(),
            host: request.headers().get(header::HOST).cloned(),
            wants_trailers: fields::wants_trailers(request.headers()),
            grpc_call: grpc::is_call(request.headers(), client.protocol),
            upload: Arc::default(),
            upload_seen: 0,
            response_bytes: 0,
            status: None,
            answered_by: None,
            began: clock::now(),
            first_byte: None,
            outcome: None,
            tunnel: tunnel::is_asked_for(request).then(Arc::default),
            counted: None,
        }
    }

    pub(super) fn upload(&self) -> &Arc<Tally> {
        &self.upload
    }

    /// What the directions of the tunnel have in common that the request is for, if it is for one.
    pub(super) fn tunnel(&self) -> Option<&Arc<Tunnel>> {
        self.tunnel.as_ref()
    }

    /// Counts the tunnel as open until this is dropped.
    pub(super) fn open_tunnel(&mut self) -> Arc<Tunnel> {
        let open = self.telemetry.metrics.connect_tunnels.clone();
        self.counted = Some(OpenTunnel::new(open));
        self.tunnel.take().unwrap_or_default()
    }

    /// Whether more of the request body was read since the last call.
    pub(super) fn upload_moved(&mut self) -> bool {
        let seen = std::mem::replace(&mut self.upload_seen, self.upload.bytes());
        self.upload_seen > seen
    }

    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    pub(super) fn wants_trailers(&self) -> bool {
        self.wants_trailers
    }

    pub(super) fn is_grpc_call(&self) -> bool {
        self.grpc_call
    }

    pub(super) fn answer(&mut self, status: StatusCode, by: Option<AnsweredBy>) {
        self.upload.answer();
        self.first_byte = Some(clock::now() - self.began);
        self.status = Some(status);
        self.answered_by = by;
    }

    pub(super) fn count_response_bytes(&mut self, bytes: usize) {
        self.response_bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
    }

    pub(super) fn response_bytes(&self) -> u64 {
        self.response_bytes
    }

    pub(super) fn count_panic(&self) {
        tracing::error!(path = self.uri.path(), "a handler panicked");
        self.telemetry.metrics.panics.inc();
    }

    /// Notes the first failure; later ones follow from it.
    pub(super) fn fail(&mut self, error: RequestError) {
        self.outcome.get_or_insert(Outcome::Failed(error));
    }

    /// Notes that the response ended well, unless it told of a failure.
    pub(super) fn complete(&mut self) {
        self.outcome.get_or_insert(Outcome::Complete);
    }

    fn failure(&self) -> Option<RequestError> {
        match self.cause()? {
            RequestError::Body(BodyError::ClientGone)
                if self.telemetry.cut_off.load(Ordering::Acquire) =>
            {
                Some(RequestError::Body(BodyError::Shutdown))
            }
            cause => Some(cause),
        }
    }

    fn cause(&self) -> Option<RequestError> {
        match self.outcome {
            Some(Outcome::Complete) => None,
            Some(Outcome::Failed(error)) => {
                Some(self.upload.failure().map_or(error, RequestError::Body))
            }
            None => Some(RequestError::Body(
                self.upload.failure().unwrap_or(BodyError::ClientGone),
            )),
        }
    }

    fn record(&self, failure: Option<RequestError>) -> AccessRecord {
        let host = match (self.uri.authority(), &self.host) {
            (Some(authority), _) => authority.to_string(),
            (None, Some(host)) => String::from_utf8_lossy(host.as_bytes()).into_owned(),
            (None, None) => String::new(),
        };
        AccessRecord {
            method: self.method.to_string(),
            host,
            path: self.uri.path().to_owned(),
            protocol: self.client.protocol.name(),
            status: self.status.map(|status| status.as_u16()),
            request_bytes: self.upload.bytes(),
            response_bytes: self.response_bytes,
            client: self.client.address,
            path_changes: self.client.path.changes(),
            upstream: self.answered_by.as_ref().map(|by| Arc::clone(&by.0)),
            first_byte: self.first_byte,
            total: clock::now() - self.began,
            failure: failure.map(RequestError::reason),
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let failure = self.failure();
        let metrics = &self.telemetry.metrics;
        if let Some(status) = self.status {
            let answered = Answered {
                protocol: self.client.protocol.name(),
                status: class(status),
            };
            metrics.requests.get_or_create(&answered).inc();
        }
        if let Some(error) = failure {
            let reason = Reason {
                reason: error.reason(),
            };
            metrics.requests_failed.get_or_create(&reason).inc();
        }
        if self.access == AccessLog::On {
            self.access.write(&self.record(failure));
        }
    }
}

#[derive(Debug)]
struct OpenTunnel(Gauge);

impl OpenTunnel {
    fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for OpenTunnel {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}

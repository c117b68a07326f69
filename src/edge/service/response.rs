use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version, header};

use super::Rules;
use super::exchange::Exchange;
use super::grpc;
use super::idle::Idle;
use super::outbound::Outbound;
use super::tunnel;
use crate::request::fields;
use crate::request::{AnsweredBy, Body, KeepsTime, Protocol, RequestError, clock};

/// A response whose fields are fit for every protocol.
#[derive(Debug)]
pub(super) struct Checked {
    response: Response<Body>,
    declared: Option<u64>,
    body: Content,
}

/// What the body of a response is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Message,
    /// One direction of a tunnel.
    Tunnel,
}

impl Checked {
    /// Takes connection-specific fields from a handler's response, and the body from one that has
    /// none (RFC 9110, section 6.4.1).
    ///
    /// # Errors
    /// A status below 200 and a content-length that is not one are the handler's fault.
    pub(super) fn new(
        mut response: Response<Body>,
        exchange: &Exchange,
    ) -> Result<Self, RequestError> {
        if response.status().is_informational() {
            return Err(RequestError::Internal);
        }
        // A transport has its own version, and hyper panics at one that it does not know.
        *response.version_mut() = Version::HTTP_11;
        let fields = response.headers_mut();
        fields::remove_hop_by_hop(fields);
        if exchange.tunnel().is_some() && response.status().is_success() {
            // RFC 9110, section 9.3.6.
            response.headers_mut().remove(header::CONTENT_LENGTH);
            return Ok(Self {
                response,
                declared: None,
                body: Content::Tunnel,
            });
        }
        let fields = response.headers_mut();
        let declared = fields::declared_length(fields).map_err(|_rule| RequestError::Internal)?;
        if response.status() == StatusCode::NO_CONTENT {
            response.headers_mut().remove(header::CONTENT_LENGTH);
        }
        if has_content(response.status(), exchange.method()) {
            return Ok(Self {
                response,
                declared,
                body: Content::Message,
            });
        }
        Ok(Self {
            response: response.map(|_unsent| Body::empty()),
            declared: None,
            body: Content::Message,
        })
    }

    /// The short response for a failure.
    pub(super) fn error(error: RequestError, exchange: &Exchange) -> Self {
        let mut response = if exchange.is_grpc_call() {
            grpc::failure(error)
        } else {
            plain_failure(error, exchange.method())
        };
        let fields = response.headers_mut();
        if let Some(name) = error.proxy_error() {
            let value = format!("wayhold; error={name}");
            if let Ok(value) = HeaderValue::try_from(value) {
                fields.insert(PROXY_STATUS, value);
            }
        }
        if let Some(seconds) = error.retry_after() {
            fields.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(challenge) = error.challenge() {
            let challenge = HeaderValue::from_static(challenge);
            fields.insert(header::WWW_AUTHENTICATE, challenge);
        }
        Self {
            response,
            declared: None,
            body: Content::Message,
        }
    }

    /// Adds what the gateway says itself, and measures the body.
    pub(super) fn dress(
        mut self,
        protocol: Protocol,
        rules: &Rules,
        mut exchange: Exchange,
    ) -> Response<Body> {
        let by = self.response.extensions_mut().remove::<AnsweredBy>();
        exchange.answer(self.response.status(), by);
        let fields = self.response.headers_mut();
        if let Some((name, id)) = exchange.request_id() {
            fields.insert(name.clone(), id.clone());
        }
        match protocol {
            Protocol::Http3 => add_date(fields),
            Protocol::Http1 | Protocol::Http2 => {
                if let Some(value) = &rules.alt_svc {
                    fields
                        .entry(header::ALT_SVC)
                        .or_insert_with(|| value.clone());
                }
            }
        }
        let keeps_time = self.response.extensions_mut().remove::<KeepsTime>();
        if self.body == Content::Tunnel {
            if let (Some(KeepsTime), Some(tunnel)) = (keeps_time, exchange.tunnel()) {
                tunnel.keeps_time();
            }
            return self
                .response
                .map(|body| Body::new(tunnel::Download::new(body, rules, exchange)));
        }
        let idle = if is_stream(self.response.headers()) {
            exchange.upload().stream();
            rules.tunnel_idle
        } else {
            rules.body_idle
        };
        let idle = Idle::new(idle);
        let declared = self.declared;
        self.response
            .map(|body| Body::new(Outbound::new(body, declared, idle, exchange)))
    }
}

fn plain_failure(error: RequestError, method: &Method) -> Response<Body> {
    let status = error.status();
    let text = format!("{status}\n{error}\n");
    let length = HeaderValue::from(text.len());
    let body = if *method == Method::HEAD {
        Body::empty()
    } else {
        Body::full(text)
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    fields.insert(header::CONTENT_LENGTH, length);
    response
}

/// hyper dates the responses over TCP; nothing does it for HTTP/3.
fn add_date(fields: &mut HeaderMap) {
    if fields.contains_key(header::DATE) {
        return;
    }
    let date = httpdate::fmt_http_date(clock::time_of_day());
    if let Ok(value) = HeaderValue::try_from(date) {
        fields.insert(header::DATE, value);
    }
}

/// Whether a response is a stream of messages, with silence between them: server-sent events, or gRPC.
fn is_stream(fields: &HeaderMap) -> bool {
    let kind = fields.get(header::CONTENT_TYPE);
    let kind = kind.map(HeaderValue::as_bytes).unwrap_or_default();
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(b"text/event-stream") || fields::is_grpc(fields)
}

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

fn has_content(status: StatusCode, method: &Method) -> bool {
    *method != Method::HEAD && !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

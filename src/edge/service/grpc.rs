//! What a gateway owes callers of gRPC ("gRPC over HTTP2", the protocol's own specification).

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use crate::request::{Body, BodyError, Protocol, RequestError, fields};

/// Whether a request is a call of gRPC: its content says so, and its protocol can carry trailers as one
/// needs them.
pub(super) fn is_call(fields: &HeaderMap, protocol: Protocol) -> bool {
    protocol != Protocol::Http1 && fields::is_grpc(fields)
}

/// The answer to a call for a failure: one header section with the status in it ("Trailers-Only").
pub(super) fn failure(error: RequestError) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    fields.insert(STATUS, HeaderValue::from(status(error)));
    if let Ok(message) = HeaderValue::try_from(encoded(&error.to_string())) {
        fields.insert(MESSAGE, message);
    }
    response
}

/// The status of a call, by gRPC's own table for HTTP statuses; what is too large and what is too late have
/// statuses of their own.
fn status(error: RequestError) -> u16 {
    if let RequestError::DeadlinePassed | RequestError::Body(BodyError::DeadlinePassed) = error {
        return DEADLINE_EXCEEDED;
    }
    match error.status() {
        StatusCode::BAD_REQUEST => INTERNAL,
        StatusCode::UNAUTHORIZED => UNAUTHENTICATED,
        StatusCode::FORBIDDEN => PERMISSION_DENIED,
        StatusCode::NOT_FOUND | StatusCode::NOT_IMPLEMENTED => UNIMPLEMENTED,
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            RESOURCE_EXHAUSTED
        }
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => UNAVAILABLE,
        _ => UNKNOWN,
    }
}

/// `grpc-message`: visible ASCII and spaces stand for themselves, but `%`.
fn encoded(message: &str) -> String {
    let mut encoded = String::with_capacity(message.len());
    for byte in message.bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("a string takes every write");
        }
    }
    encoded
}

const CONTENT_TYPE: &str = "application/grpc";
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

const UNKNOWN: u16 = 2;
const DEADLINE_EXCEEDED: u16 = 4;
const PERMISSION_DENIED: u16 = 7;
const RESOURCE_EXHAUSTED: u16 = 8;
const UNIMPLEMENTED: u16 = 12;
const INTERNAL: u16 = 13;
const UNAVAILABLE: u16 = 14;
const UNAUTHENTICATED: u16 = 16;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_call_is_told_by_its_content_type_and_needs_trailers() {
        for (kind, call) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/grpcx", false),
            ("application/json", false),
        ] {
            let mut fields = HeaderMap::new();
            fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            assert_eq!(is_call(&fields, Protocol::Http2), call, "{kind}");
            assert_eq!(is_call(&fields, Protocol::Http3), call, "{kind}");
            assert!(!is_call(&fields, Protocol::Http1), "{kind}");
        }
        assert!(!is_call(&HeaderMap::new(), Protocol::Http2));
    }

    #[test]
    fn failures_have_the_status_that_grpc_gives_to_their_http_status() {
        for (error, expected) in [
            (RequestError::Malformed("x"), "13"),
            (RequestError::NoRoute, "12"),
            (RequestError::NotImplemented, "12"),
            (RequestError::Overloaded, "14"),
            (RequestError::NoBackend, "14"),
            (RequestError::UpstreamConnect, "14"),
            (RequestError::UpstreamTimeout, "14"),
            (RequestError::DeadlinePassed, "4"),
            (
                RequestError::RateLimited {
                    after: Duration::ZERO,
                },
                "14",
            ),
            (RequestError::TokenRefused, "16"),
            (RequestError::HeadersTooLarge, "8"),
            (RequestError::Body(BodyError::TooLarge), "8"),
            (RequestError::RequestTimeout, "2"),
            (RequestError::Internal, "2"),
        ] {
            let response = failure(error);
            assert_eq!(response.status(), 200, "{error}");
            assert_eq!(response.headers()["grpc-status"], expected, "{error}");
            let message = response.headers()["grpc-message"].to_str().unwrap();
            assert_eq!(message, error.to_string());
        }
    }

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(encoded("50 % ü\n"), "50 %25 %C3%BC%0A");
    }
}

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Version, header};

use super::{Rules, target, tunnel};
use crate::request::fields;
use crate::request::{Body, BodyError, ConnectProtocol, Protocol, RequestError};

/// Refuses what two recipients could read in two ways, before the handler sees any of it, and gives
/// the request its whole URI. Returns the content-length.
///
/// Rules: RFC 9110, RFC 9112 section 3.2 and 6.3, RFC 9114 section 4.1 to 4.3 (RFC 9113 section 8 has
/// the same for HTTP/2).
pub(super) fn check(
    request: &mut Request<Body>,
    protocol: Protocol,
    rules: &Rules,
) -> Result<Option<u64>, RequestError> {
    check_size(request, rules)?;
    let tunnel = tunnel::is_asked_for(request);
    if !tunnel {
        check_method(request.method())?;
    }
    for (name, value) in request.headers() {
        check_field(name, value).map_err(RequestError::Malformed)?;
    }
    match protocol {
        Protocol::Http1 => check_connection_fields(request)?,
        Protocol::Http2 | Protocol::Http3 => {
            check_no_connection_fields(request.headers()).map_err(RequestError::Malformed)?;
        }
    }
    target::normalise(request)?;
    check_host(request, rules)?;
    check_expect(request.headers())?;
    let declared = check_length(request)?;
    if tunnel && declared.is_some() {
        return Err(RequestError::Malformed("content-length on CONNECT"));
    }
    Ok(declared)
}

fn check_size(request: &Request<Body>, rules: &Rules) -> Result<(), RequestError> {
    let uri = request.uri();
    let pseudo = fields::field_bytes(":method".len(), request.method().as_str().len())
        + fields::field_bytes(":scheme".len(), uri.scheme_str().map_or(0, str::len))
        + fields::field_bytes(
            ":authority".len(),
            uri.authority()
                .map_or(0, |authority| authority.as_str().len()),
        )
        + fields::field_bytes(
            ":path".len(),
            uri.path_and_query().map_or(0, |path| path.as_str().len()),
        );
    if request.headers().len() > rules.header_fields
        || pseudo + fields::section_bytes(request.headers()) > rules.header_bytes
    {
        return Err(RequestError::HeadersTooLarge);
    }
    Ok(())
}

/// Methods are case-sensitive tokens (RFC 9110, section 9.1), so `get` is an unknown method that a
/// careless backend takes for `GET`. TRACE would show the client what the gateway adds.
fn check_method(method: &Method) -> Result<(), RequestError> {
    if *method == Method::CONNECT || *method == Method::TRACE {
        return Err(RequestError::NotImplemented);
    }
    let known = METHODS
        .into_iter()
        .find(|name| name.eq_ignore_ascii_case(method.as_str()));
    match known {
        Some(name) if name != method.as_str() => {
            Err(RequestError::Malformed("method in the wrong case"))
        }
        _ if method.as_str() == "PRI" => Err(RequestError::Malformed("method is reserved")),
        _ => Ok(()),
    }
}

/// RFC 9110, section 5.5 and RFC 9114, section 10.3. `http` upholds most of this; what a transport
/// builds without its checks ends here.
fn check_field(name: &HeaderName, value: &HeaderValue) -> Result<(), &'static str> {
    let bytes = value.as_bytes();
    if name.as_str().is_empty() || name.as_str().contains(':') {
        return Err("field name is empty or a pseudo-field");
    }
    if bytes.first().is_some_and(u8::is_ascii_whitespace)
        || bytes.last().is_some_and(u8::is_ascii_whitespace)
    {
        return Err("field value begins or ends with a space");
    }
    if bytes
        .iter()
        .any(|&byte| byte.is_ascii_control() && byte != b'\t')
    {
        return Err("field value has a control character");
    }
    Ok(())
}

fn check_no_connection_fields(fields: &HeaderMap) -> Result<(), &'static str> {
    if fields.keys().any(fields::is_connection_specific) {
        return Err("connection-specific field");
    }
    let mut te = fields.get_all(header::TE).iter();
    if te.any(|value| !value.as_bytes().eq_ignore_ascii_case(b"trailers")) {
        return Err("te is not trailers");
    }
    Ok(())
}

fn check_connection_fields(request: &Request<Body>) -> Result<(), RequestError> {
    let fields = request.headers();
    // What asks for a tunnel as it should is CONNECT by now.
    if let Some(protocol) = fields.get(header::UPGRADE)
        && request.version() != Version::HTTP_10
    {
        let websocket = ConnectProtocol::WEBSOCKET.as_bytes();
        return Err(if protocol.as_bytes().eq_ignore_ascii_case(websocket) {
            RequestError::Malformed("the handshake of a WebSocket")
        } else {
            RequestError::NotImplemented
        });
    }
    let mut codings = fields.get_all(header::TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else {
        return Ok(());
    };
    let refuse = |rule| Err(RequestError::Malformed(rule));
    if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return refuse("transfer-encoding is not chunked");
    }
    if fields.contains_key(header::CONTENT_LENGTH) {
        return refuse("content-length beside transfer-encoding");
    }
    if request.version() == Version::HTTP_10 {
        return refuse("transfer-encoding in HTTP/1.0");
    }
    Ok(())
}

/// The host decides the route, so one that other clients are let in to by another listener must not be had
/// here.
fn check_host(request: &Request<Body>, rules: &Rules) -> Result<(), RequestError> {
    let host = request.uri().host().unwrap_or_default();
    match &rules.hosts {
        Some(hosts) if !hosts.name(host) => Err(RequestError::Misdirected),
        _ => Ok(()),
    }
}

fn check_expect(fields: &HeaderMap) -> Result<(), RequestError> {
    let mut expectations = fields.get_all(header::EXPECT).iter();
    if expectations.all(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        Ok(())
    } else {
        Err(RequestError::ExpectationFailed)
    }
}

fn check_length(request: &Request<Body>) -> Result<Option<u64>, RequestError> {
    let declared = fields::declared_length(request.headers()).map_err(RequestError::Malformed)?;
    let length = declared.unwrap_or(0);
    if length > 0 && http_body::Body::is_end_stream(request.body()) {
        return Err(BodyError::LengthMismatch.into());
    }
    Ok(declared)
}

const METHODS: [&str; 9] = [
    "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE",
];

//! What an intermediary does to the fields of a message (RFC 9110, section 7.6).

use std::net::IpAddr;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{StatusCode, Version, request, response};

use super::dial::Way;
use crate::request::forwarded::{self, FORWARDED_FOR, FORWARDED_PROTO};
use crate::request::{Account, ClientFacts, Informational, Protocol, RequestError, Traced};
use crate::request::{fields, trace};

/// Makes a client's request the gateway's own.
///
/// What the client says about who it is and how it came (`Forwarded`, `X-Forwarded-*`) is replaced by
/// what the gateway knows, or a proxy that it trusts.
pub(super) fn own(parts: &mut request::Parts, client: &ClientFacts) -> Result<(), RequestError> {
    let trailers = fields::wants_trailers(&parts.headers);
    fields::remove_hop_by_hop(&mut parts.headers);
    remove_claims(&mut parts.headers, client);
    // The gateway itself answers an expectation, by reading the body or not.
    parts.headers.remove(header::EXPECT);
    if trailers {
        let trailers = HeaderValue::from_static("trailers");
        parts.headers.insert(header::TE, trailers);
    }
    let authority = parts.uri.authority();
    let authority = authority.ok_or(RequestError::Malformed("no authority"))?;
    add_forwarding(&mut parts.headers, client, authority)?;
    if let Some(certificate) = &client.certificate {
        parts.headers.insert(CLIENT_CERT, certificate.field());
        if let Some(chain) = certificate.chain_field() {
            parts.headers.insert(CLIENT_CERT_CHAIN, chain);
        }
    }
    if let Some(account) = client.account() {
        add_names(&mut parts.headers, account);
    }
    Ok(())
}

/// Gives a request that is the gateway's own the form of an upstream's protocol.
pub(super) fn to_upstream(
    parts: &mut request::Parts,
    client: &ClientFacts,
    way: &Way,
) -> Result<(), RequestError> {
    let authority = parts
        .uri
        .authority()
        .cloned()
        .ok_or(RequestError::Malformed("no authority"))?;
    // What a transport leaves here is about its own connection.
    parts.extensions.clear();
    if client.early_data {
        parts
            .headers
            .insert(EARLY_DATA, HeaderValue::from_static("1"));
    }
    let path = parts.uri.path_and_query().cloned();
    match way.protocol {
        Protocol::Http1 => {
            parts
                .headers
                .insert(header::HOST, value(authority.to_string())?);
            if parts.headers.contains_key(header::TE) {
                let te = HeaderValue::from_static("te");
                parts.headers.insert(header::CONNECTION, te);
            }
            join_cookies(&mut parts.headers)?;
            parts.version = Version::HTTP_11;
            // The form without an authority (RFC 9112, section 3.2.1).
            parts.uri = path
                .unwrap_or_else(|| PathAndQuery::from_static("/"))
                .into();
        }
        Protocol::Http2 | Protocol::Http3 => {
            parts.headers.remove(header::HOST);
            parts.version = Version::HTTP_2;
            parts.uri = whole(way.scheme.clone(), authority, path)?;
        }
    }
    Ok(())
}

/// Turns an upstream's response into the gateway's own.
///
/// # Errors
/// [`RequestError::UpstreamMalformed`] for a switch of protocols that nobody asked for and for a
/// content-length that another recipient could read otherwise.
pub(super) fn from_upstream(
    parts: &mut response::Parts,
    protocol: Protocol,
) -> Result<(), RequestError> {
    let fields = &parts.headers;
    if parts.status.is_informational()
        || !is_framed_once(fields, parts.version)
        || fields::declared_length(fields).is_err()
    {
        return Err(RequestError::UpstreamMalformed);
    }
    parts.extensions.clear();
    parts.version = Version::HTTP_11;
    fields::remove_hop_by_hop(&mut parts.headers);
    // It names alternatives to the upstream, which clients cannot and should not reach.
    parts.headers.remove(header::ALT_SVC);
    let via = match protocol {
        Protocol::Http1 => "1.1 wayhold",
        Protocol::Http2 | Protocol::Http3 => "2 wayhold",
    };
    parts
        .headers
        .append(header::VIA, HeaderValue::from_static(via));
    Ok(())
}

/// Whether all recipients find the end of a response at the same place (RFC 9112, section 6.1). A coding
/// other than `chunked` could not be taken off.
fn is_framed_once(fields: &HeaderMap, version: Version) -> bool {
    let mut codings = fields.get_all(header::TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else {
        return true;
    };
    coding.as_bytes().eq_ignore_ascii_case(b"chunked")
        && codings.next().is_none()
        && version != Version::HTTP_10
        && !fields.contains_key(header::CONTENT_LENGTH)
}

/// Passes on an informational response (RFC 9110, section 15.2), but 100: the gateway itself answers its
/// client's expectation, and has none of its own.
pub(super) fn inform(informational: &Informational, status: StatusCode, fields: &HeaderMap) {
    if status == StatusCode::CONTINUE {
        return;
    }
    let mut fields = fields.clone();
    fields.remove(header::ALT_SVC);
    if let Err(error) = informational.send(status, fields) {
        tracing::trace!(%status, %error, "an informational response is not passed on");
    }
}

fn whole(
    scheme: Scheme,
    authority: Authority,
    path: Option<PathAndQuery>,
) -> Result<Uri, RequestError> {
    Uri::builder()
        .scheme(scheme)
        .authority(authority)
        .path_and_query(path.unwrap_or_else(|| PathAndQuery::from_static("/")))
        .build()
        .map_err(|_invalid| RequestError::Malformed("target is not a URI"))
}

fn add_forwarding(
    fields: &mut HeaderMap,
    client: &ClientFacts,
    authority: &Authority,
) -> Result<(), RequestError> {
    let address = client.origin();
    let account = client.account();
    let scheme = account.map_or(forwarded::Scheme::Https, |account| account.scheme);
    let scheme = scheme.name();
    let said = account.and_then(|account| account.host.as_ref());
    let authority = said.unwrap_or(authority);
    let forwarded = match address {
        IpAddr::V4(address) => format!("for={address};host=\"{authority}\";proto={scheme}"),
        IpAddr::V6(address) => format!("for=\"[{address}]\";host=\"{authority}\";proto={scheme}"),
    };
    fields.insert(header::FORWARDED, value(forwarded)?);
    fields.insert(FORWARDED_FOR, value(address.to_string())?);
    fields.insert(FORWARDED_HOST, value(authority.to_string())?);
    fields.insert(FORWARDED_PROTO, HeaderValue::from_static(scheme));
    let via = format!("{} wayhold", client.protocol.via());
    fields.append(header::VIA, value(via)?);
    Ok(())
}

/// Removes what a backend could take for the gateway's word, also in the spelling that CGI folds into
/// the same variable, and `Proxy`, which CGI turns into the proxy of the backend's own requests.
fn remove_claims(fields: &mut HeaderMap, client: &ClientFacts) {
    let account = client.account();
    let id = account.and_then(|account| account.request_id.as_ref());
    remove_named(fields, id.map(|(name, _)| name.as_str()));
}

/// Removes the same from trailers, which some backends take for fields of the header section.
pub(super) fn own_trailers(trailers: &mut HeaderMap) {
    remove_named(trailers, None);
}

fn remove_named(headers: &mut HeaderMap, id: Option<&str>) {
    fields::remove_where(headers, |name| is_claim(name, id));
}

/// Adds what the request is called, and its place in a trace. What is not well-formed of that is dropped
/// (W3C Trace Context, section 3.2 and 3.3).
fn add_names(fields: &mut HeaderMap, account: &Account) {
    if let Some((name, id)) = &account.request_id {
        fields.insert(name.clone(), id.clone());
    }
    match &account.trace {
        Traced::Passed(_) if fields.contains_key(trace::TRACEPARENT) => {
            if !trace::is_state(fields) {
                fields.remove(trace::TRACESTATE);
            }
        }
        Traced::Started(_, parent) => {
            fields.insert(trace::TRACEPARENT, parent.clone());
            fields.remove(trace::TRACESTATE);
        }
        Traced::No | Traced::Passed(_) => {
            fields.remove(trace::TRACEPARENT);
            fields.remove(trace::TRACESTATE);
        }
    }
}

/// Whether a name is the gateway's to use; `id` is that of the field with the name of a request.
fn is_claim(name: &str, id: Option<&str>) -> bool {
    let mut claims = CLAIMS.into_iter().chain(id);
    fields::begins_alike(name, "x-forwarded-") || claims.any(|claim| fields::is_alike(name, claim))
}

/// HTTP/2 and HTTP/3 may split `Cookie`; HTTP/1.1 has it once (RFC 9114, section 4.2.1).
fn join_cookies(fields: &mut HeaderMap) -> Result<(), RequestError> {
    let cookies: Vec<&[u8]> = fields
        .get_all(header::COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if cookies.len() > 1 {
        let joined = HeaderValue::from_bytes(&cookies.join(b"; ".as_slice()))
            .map_err(|_invalid| RequestError::Malformed("cookie"))?;
        fields.insert(header::COOKIE, joined);
    }
    Ok(())
}

fn value(text: String) -> Result<HeaderValue, RequestError> {
    HeaderValue::try_from(text).map_err(|_invalid| RequestError::Malformed("authority"))
}

pub(super) const EARLY_DATA: HeaderName = HeaderName::from_static("early-data");
/// Beside those that begin with `x-forwarded-`.
const CLAIMS: [&str; 5] = [
    "forwarded",
    "x-real-ip",
    "proxy",
    "client-cert",
    "client-cert-chain",
];
/// RFC 9440.
const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
const CLIENT_CERT_CHAIN: HeaderName = HeaderName::from_static("client-cert-chain");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::Request;

    use super::*;
    use crate::request::ClientCertificate;

    fn client(address: &str) -> ClientFacts {
        let address = address.parse().unwrap();
        ClientFacts::new(Arc::default(), address, address)
    }

    fn sent(fields: &[(&str, &str)], address: &str, protocol: Protocol) -> request::Parts {
        let mut request = Request::builder().uri("https://example.org:8443/a?b=c");
        for &(name, value) in fields {
            request = request.header(name, value);
        }
        let mut parts = request.body(()).unwrap().into_parts().0;
        let way = Way {
            protocol,
            scheme: Scheme::HTTP,
        };
        own(&mut parts, &client(address)).unwrap();
        to_upstream(&mut parts, &client(address), &way).unwrap();
        parts
    }

    fn field(parts: &request::Parts, name: &str) -> Vec<String> {
        let values = parts.headers.get_all(name).iter();
        values.map(|v| v.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn the_gateway_replaces_what_the_client_claims() {
        let claims = [
            ("forwarded", "for=6.6.6.6"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x_forwarded_for", "6.6.6.6"),
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-port", "1"),
            ("x-real-ip", "6.6.6.6"),
            ("proxy", "evil.example"),
        ];
        let parts = sent(&claims, "192.0.2.7:5000", Protocol::Http1);
        assert_eq!(field(&parts, "x-forwarded-for"), ["192.0.2.7"]);
        assert_eq!(field(&parts, "x-forwarded-host"), ["example.org:8443"]);
        assert_eq!(field(&parts, "x-forwarded-proto"), ["https"]);
        assert_eq!(
            field(&parts, "forwarded"),
            ["for=192.0.2.7;host=\"example.org:8443\";proto=https"]
        );
        for gone in ["x_forwarded_for", "x-forwarded-port", "x-real-ip", "proxy"] {
            assert!(field(&parts, gone).is_empty(), "{gone}");
        }
    }

    #[test]
    fn a_certificate_is_the_gateways_word_and_never_the_clients() {
        let claims = [
            ("client-cert", ":AAAA:"),
            ("client-cert", ":BBBB:"),
            ("client_cert", ":AAAA:"),
            ("client-cert-chain", ":AAAA:"),
        ];
        let parts = sent(&claims, "192.0.2.7:5000", Protocol::Http1);
        for name in ["client-cert", "client_cert", "client-cert-chain"] {
            assert!(field(&parts, name).is_empty(), "{name}");
        }
        let mut request = Request::builder().uri("https://example.org/");
        for (name, value) in claims {
            request = request.header(name, value);
        }
        let mut parts = request.body(()).unwrap().into_parts().0;
        let certificate = ClientCertificate::new(vec![1, 2, 3], vec![vec![4]], Vec::new());
        let client = client("192.0.2.7:5000").proven_by(Some(Arc::new(certificate)));
        own(&mut parts, &client).unwrap();
        assert_eq!(field(&parts, "client-cert"), [":AQID:"]);
        assert_eq!(field(&parts, "client-cert-chain"), [":BA==:"]);
        assert!(field(&parts, "client_cert").is_empty());
    }

    #[test]
    fn an_ipv6_client_is_quoted_and_a_mapped_one_is_not() {
        let parts = sent(&[], "[2001:db8::7]:5000", Protocol::Http1);
        assert_eq!(
            field(&parts, "forwarded"),
            ["for=\"[2001:db8::7]\";host=\"example.org:8443\";proto=https"]
        );
        let parts = sent(&[], "[::ffff:192.0.2.7]:5000", Protocol::Http1);
        assert_eq!(field(&parts, "x-forwarded-for"), ["192.0.2.7"]);
    }

    #[test]
    fn fields_of_the_connection_stay_on_it() {
        let given = [
            ("connection", "x-secret, te"),
            ("x-secret", "1"),
            ("te", "gzip, Trailers;q=0.5"),
            ("keep-alive", "timeout=1"),
            ("proxy-authorization", "Basic x"),
            ("expect", "100-continue"),
            ("via", "1.1 before"),
        ];
        let parts = sent(&given, "192.0.2.7:5000", Protocol::Http1);
        for gone in ["x-secret", "keep-alive", "proxy-authorization", "expect"] {
            assert!(field(&parts, gone).is_empty(), "{gone}");
        }
        assert_eq!(field(&parts, "te"), ["trailers"]);
        assert_eq!(field(&parts, "connection"), ["te"]);
        assert_eq!(field(&parts, "via"), ["1.1 before", "3 wayhold"]);
    }

    #[test]
    fn the_authority_is_kept_in_the_form_of_each_protocol() {
        let parts = sent(&[], "192.0.2.7:5000", Protocol::Http1);
        assert_eq!(field(&parts, "host"), ["example.org:8443"]);
        assert_eq!(parts.uri, "/a?b=c");
        let parts = sent(
            &[("host", "example.org:8443")],
            "192.0.2.7:5000",
            Protocol::Http2,
        );
        assert!(field(&parts, "host").is_empty());
        assert_eq!(parts.uri, "http://example.org:8443/a?b=c");
    }

    #[test]
    fn split_cookies_are_joined_for_http1_only() {
        let cookies = [("cookie", "a=1"), ("cookie", "b=2")];
        let parts = sent(&cookies, "192.0.2.7:5000", Protocol::Http1);
        assert_eq!(field(&parts, "cookie"), ["a=1; b=2"]);
        let parts = sent(&cookies, "192.0.2.7:5000", Protocol::Http2);
        assert_eq!(field(&parts, "cookie"), ["a=1", "b=2"]);
    }
}

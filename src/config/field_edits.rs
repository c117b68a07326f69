//! What a route does to the fields of messages.

use http::HeaderName;

use super::template::Template;

/// What is done to the fields of the requests or the responses of a route, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FieldEdits {
    /// Fields that are taken away.
    pub remove: Vec<HeaderName>,
    /// Fields that take the place of all of their name.
    pub set: Vec<FieldLine>,
    /// Fields that stand beside those of their name.
    pub add: Vec<FieldLine>,
}

/// A field with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldLine {
    /// In lower case.
    pub name: HeaderName,
    /// Its value.
    pub value: Template,
}

impl FieldEdits {
    /// Whether nothing is done.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }
}

/// Reads `name: value`.
pub(super) fn line(text: &str) -> Result<FieldLine, String> {
    let (name, value) = text
        .split_once(':')
        .ok_or("expected \"name: value\", such as \"x-env: prod\"")?;
    let value = value.trim_matches(' ').parse::<Template>();
    let value = value.map_err(|error| error.to_string())?;
    let name = field_name(name)?;
    match reserved(&name) {
        Some(reason) => Err(reason.to_owned()),
        None if TRACE.contains(&name.as_str()) => {
            Err("\"trace.context\" says what becomes of the trace".into())
        }
        None => Ok(FieldLine { name, value }),
    }
}

/// Reads the name of a field that is taken away.
pub(super) fn removed(text: &str) -> Result<HeaderName, String> {
    let name = field_name(text)?;
    match reserved(&name) {
        Some(reason) => Err(reason.to_owned()),
        None => Ok(name),
    }
}

/// Reads the name of a field that a route or the gateway may have.
pub(super) fn own_name(text: &str) -> Result<HeaderName, String> {
    let name = field_name(text)?;
    let taken = reserved(&name).or_else(|| {
        let known = TRACE.contains(&name.as_str()) || STANDARD.contains(&name.as_str());
        known.then_some("it has a meaning of its own")
    });
    taken.map_or(Ok(name), |reason| Err(reason.to_owned()))
}

fn field_name(text: &str) -> Result<HeaderName, String> {
    if text.starts_with(':') || text.is_empty() {
        return Err(
            "a pseudo-field is no field; see \"rewrite_host\" and \"rewrite_prefix\"".into(),
        );
    }
    if text.len() > MAX_NAME {
        return Err(format!("a field name has at most {MAX_NAME} bytes"));
    }
    HeaderName::from_bytes(text.as_bytes())
        .map_err(|_bad| "a field name is a token (RFC 9110, section 5.1)".into())
}

/// Why a field is none that a route may touch.
fn reserved(name: &HeaderName) -> Option<&'static str> {
    let name = name.as_str();
    let is = |list: &[&str]| list.contains(&name);
    if is(CONNECTION) {
        Some("it belongs to one connection and never to the message (RFC 9110, section 7.6.1)")
    } else if is(FRAMING) {
        Some("it says where the message ends")
    } else if name == "host" {
        Some("\"rewrite_host\" says which host the backend is asked for")
    } else if is(FORWARDING) || name.replace('_', "-").starts_with("x-forwarded-for") {
        Some("the gateway says itself who the client is; see \"forwarded.trusted\"")
    } else if is(GATEWAY) || name.starts_with("sec-websocket-") {
        Some("it is between the gateway and whom it talks to")
    } else {
        None
    }
}

const CONNECTION: &[&str] = &[
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "upgrade",
];
const FRAMING: &[&str] = &["content-length", "trailer", "transfer-encoding"];
const FORWARDING: &[&str] = &["forwarded", "via", "x-forwarded-host", "x-forwarded-proto"];
const GATEWAY: &[&str] = &["alt-svc", "early-data", "expect", "proxy-status"];
const TRACE: &[&str] = &["traceparent", "tracestate"];
/// Of those that have a meaning, the likeliest to be taken for a name of one's own.
const STANDARD: &[&str] = &[
    "accept",
    "authorization",
    "cache-control",
    "content-encoding",
    "content-type",
    "cookie",
    "date",
    "etag",
    "location",
    "referer",
    "server",
    "set-cookie",
    "user-agent",
    "vary",
];
const MAX_NAME: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_name_and_a_template() {
        let read = line("X-Env:  prod: {host} ").unwrap();
        assert_eq!(read.name, "x-env");
        assert_eq!(read.value, "prod: {host}".parse().unwrap());
        assert_eq!(line("x-empty:").unwrap().value.fixed(), Some(""));
        assert_eq!(line("x-real-ip: {client}").unwrap().name, "x-real-ip");
    }

    #[test]
    fn what_a_route_must_not_touch_is_refused_with_its_reason() {
        for (name, reason) in [
            ("Connection", "one connection"),
            ("keep-alive", "one connection"),
            ("TE", "one connection"),
            ("upgrade", "one connection"),
            ("proxy-authorization", "one connection"),
            ("content-length", "where the message ends"),
            ("transfer-encoding", "where the message ends"),
            ("trailer", "where the message ends"),
            ("host", "rewrite_host"),
            (":path", "pseudo-field"),
            (":authority", "pseudo-field"),
            ("", "pseudo-field"),
            ("forwarded", "who the client is"),
            ("X-Forwarded-For", "who the client is"),
            ("x_forwarded_for", "who the client is"),
            ("x-forwarded-proto", "who the client is"),
            ("via", "who the client is"),
            ("early-data", "between the gateway"),
            ("sec-websocket-key", "between the gateway"),
            ("x y", "token"),
            ("x\r\ny", "token"),
            ("caf\u{e9}", "token"),
        ] {
            let error = removed(name).unwrap_err();
            assert!(error.contains(reason), "{name:?}: {error}");
            // A colon ends the name of a line.
            if !name.starts_with(':') {
                let error = line(&format!("{name}: x")).unwrap_err();
                assert!(error.contains(reason), "{name:?}: {error}");
            }
        }
        assert!(line(":path: /x").unwrap_err().contains("pseudo-field"));
        assert!(line("x-env prod").unwrap_err().contains("name: value"));
        assert!(line("x-env: a\r\nx-evil: b").unwrap_err().contains("ASCII"));
        assert!(line("traceparent: 00").is_err());
        assert!(removed("traceparent").is_ok());
        assert!(removed(&"x".repeat(65)).is_err());
        assert!(own_name("cookie").is_err() && own_name("x-correlation-id").is_ok());
    }
}

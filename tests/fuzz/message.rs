//! What makes a field section a request (RFC 9114, sections 4.1 to 4.4), beside the same rules in other
//! words and a parser of HTTP/1.1.

use http::uri::{Authority, PathAndQuery};
use http::{HeaderName, HeaderValue, Method};
use wayhold::http3::{Head, Limits, Terms};

use super::fields::{self, Fields, put_frame, read};
use super::input::Input;

pub(crate) fn target(input: &[u8]) {
    let mut input = Input::new(input);
    let mut lines = Fields::new();
    fields::pseudo_fields(&mut input, &mut lines);
    while !input.is_empty() {
        let line = fields::line(&mut input);
        if input.one_in(12) {
            let at = input.below(lines.len() + 1);
            lines.insert(at, line);
        } else {
            lines.push(line);
        }
    }
    let mut bytes = Vec::new();
    put_frame(&mut bytes, 1, &fields::section(&lines));
    let seen = read(Terms::new(LIMITS), &[&bytes[..]]);
    assert_eq!(
        seen.head.is_some(),
        is_request(&lines),
        "{lines:?}: {:?}",
        seen.violation
    );
    if let Some(head) = seen.head {
        is_what_was_sent(&head, &lines);
        passes_http1(&head);
        let request = head.into_request();
        assert_eq!(request.version(), http::Version::HTTP_3);
    }
}

/// The rules once more, in the order of the RFC.
fn is_request(lines: &Fields) -> bool {
    let pseudo = lines
        .iter()
        .take_while(|(name, _)| name.starts_with(b":"))
        .count();
    let (pseudo, rest) = lines.split_at(pseudo);
    let size: usize = lines
        .iter()
        .map(|(name, value)| name.len() + value.len() + 32)
        .sum();
    if size > LIMITS.section_bytes as usize || rest.len() > LIMITS.fields {
        return false;
    }
    let one = |lines: &[(Vec<u8>, Vec<u8>)], wanted: &str| {
        let mut found = lines.iter().filter(|(name, _)| name == wanted.as_bytes());
        let first = found.next().map(|(_, value)| value.clone());
        found.next().is_none().then_some(first)
    };
    let parts = [":method", ":scheme", ":authority", ":path"].map(|name| one(pseudo, name));
    let [Some(method), Some(scheme), Some(authority), Some(path)] = parts else {
        return false;
    };
    let (Some(host), Some(length)) = (one(rest, "host"), one(rest, "content-length")) else {
        return false;
    };
    let known = |(name, value): &(Vec<u8>, Vec<u8>)| {
        [":method", ":scheme", ":authority", ":path"]
            .iter()
            .any(|known| known.as_bytes() == &name[..])
            && is_value(value)
    };
    let number = |digits: Vec<u8>| {
        let text = String::from_utf8(digits).unwrap_or_default();
        !text.starts_with('+') && text.parse::<u64>().is_ok()
    };
    pseudo.iter().all(known)
        && rest.iter().all(is_field)
        && length.is_none_or(number)
        && is_target(method, scheme, [authority, host], path)
}

fn is_target(
    method: Option<Vec<u8>>,
    scheme: Option<Vec<u8>>,
    [authority, host]: [Option<Vec<u8>>; 2],
    path: Option<Vec<u8>>,
) -> bool {
    let Some(Ok(method)) = method.map(|method| Method::from_bytes(&method)) else {
        return false;
    };
    let same = authority
        .as_ref()
        .zip(host.as_ref())
        .is_none_or(|(one, other)| one.eq_ignore_ascii_case(other));
    let Some(authority) = authority
        .or(host)
        .filter(|authority| same && !authority.contains(&b'@'))
    else {
        return false;
    };
    let Ok(authority) = Authority::try_from(&authority[..]) else {
        return false;
    };
    if method == Method::CONNECT {
        return scheme.is_none()
            && path.is_none()
            && authority.port_u16().is_some_and(|port| port > 0);
    }
    let (Some(scheme), Some(path)) = (scheme, path) else {
        return false;
    };
    let asterisk = method == Method::OPTIONS && path == b"*";
    let graphic = path
        .iter()
        .all(|byte| (0x21..0x7f).contains(byte) && *byte != b'#');
    scheme == b"https"
        && graphic
        && PathAndQuery::try_from(&path[..]).is_ok()
        && (asterisk || path.starts_with(b"/"))
}

fn is_field((name, value): &(Vec<u8>, Vec<u8>)) -> bool {
    const CONNECTION: [&str; 5] = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
    ];
    let legal =
        HeaderName::from_bytes(name).is_ok_and(|legal| legal.as_str().as_bytes() == &name[..]);
    let connection = CONNECTION.iter().any(|known| known.as_bytes() == &name[..]);
    let te = name == b"te" && !value.eq_ignore_ascii_case(b"trailers");
    legal && !connection && !te && is_value(value)
}

fn is_value(value: &[u8]) -> bool {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let padded = blank(value.first()) || blank(value.last());
    !padded && HeaderValue::from_bytes(value).is_ok()
}

fn is_what_was_sent(head: &Head, lines: &Fields) {
    let sent = |wanted: &str| {
        let line = lines.iter().find(|(name, _)| name == wanted.as_bytes());
        line.map(|(_, value)| &value[..])
    };
    assert_eq!(Some(head.method.as_str().as_bytes()), sent(":method"));
    let authority = head.uri.authority().expect("every request has one");
    assert_eq!(
        Some(authority.as_str().as_bytes()),
        sent(":authority").or_else(|| sent("host"))
    );
    let path = head
        .uri
        .path_and_query()
        .map(|path| path.as_str().as_bytes());
    assert_eq!(path, sent(":path"));
    let fields = lines.iter().filter(|(name, _)| !name.starts_with(b":"));
    let mut expected: Vec<_> = fields.cloned().collect();
    expected.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut read: Vec<_> = head.fields.iter().collect();
    read.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
    let read: Fields = read
        .iter()
        .map(|(name, value)| (name.as_str().into(), value.as_bytes().into()))
        .collect();
    assert_eq!(read, expected);
    let length = sent("content-length").map(|digits| String::from_utf8_lossy(digits).parse().ok());
    assert_eq!(Some(head.content_length), length.or(Some(None)));
}

/// Written as HTTP/1.1, it is one head with the same fields, whatever is in them.
fn passes_http1(head: &Head) {
    let target = head
        .uri
        .path_and_query()
        .map_or("a:1", |path| path.as_str());
    let mut text = format!("{} {target} HTTP/1.1\r\n", head.method).into_bytes();
    for (name, value) in &head.fields {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"\r\n");
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut headers);
    let parsed = request.parse(&text);
    assert_eq!(
        parsed,
        Ok(httparse::Status::Complete(text.len())),
        "it ends where it ends"
    );
    assert_eq!(request.headers.len(), head.fields.len());
    for (parsed, (name, value)) in request.headers.iter().zip(&head.fields) {
        assert_eq!(
            (parsed.name, parsed.value),
            (name.as_str(), value.as_bytes())
        );
    }
}

/// Small ones, so that inputs reach them.
const LIMITS: Limits = Limits {
    section_bytes: 700,
    fields: 12,
    streams: 8,
};

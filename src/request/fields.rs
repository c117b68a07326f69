use http::header::{self, HeaderMap, HeaderName};

/// Whether a field belongs to one connection and never to the message (RFC 9110, section 7.6.1).
pub(crate) fn is_hop_by_hop(name: &HeaderName) -> bool {
    HOP_BY_HOP.contains(name)
}

/// Whether a field makes an HTTP/2 or HTTP/3 message malformed (RFC 9114, section 4.2).
pub(crate) fn is_connection_specific(name: &HeaderName) -> bool {
    CONNECTION_SPECIFIC.contains(&name.as_str())
}

/// Removes every field that belongs to one connection, those that `Connection` nominates among
/// them.
pub(crate) fn remove_hop_by_hop(fields: &mut HeaderMap) {
    for name in nominated(fields) {
        fields.remove(name);
    }
    for name in &HOP_BY_HOP {
        fields.remove(name);
    }
}

/// Removes the fields that `Connection` nominates, but those that always belong to one connection, and
/// that field itself.
pub(crate) fn remove_nominated(fields: &mut HeaderMap) {
    for name in nominated(fields) {
        if !is_hop_by_hop(&name) {
            fields.remove(name);
        }
    }
    fields.remove(header::CONNECTION);
}

fn nominated(fields: &HeaderMap) -> Vec<HeaderName> {
    fields
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok())
        .collect()
}

/// Whether `Connection` names this option (RFC 9110, section 7.6.1).
pub(crate) fn nominates(fields: &HeaderMap, option: &str) -> bool {
    fields
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .any(|token| token.trim_ascii().eq_ignore_ascii_case(option.as_bytes()))
}

/// Reads `Content-Length` (RFC 9110, section 8.6): absent, or one field of digits only.
///
/// # Errors
/// Lists, repeated fields, signs and numbers over 64 bits are refused even where the RFC would let a
/// recipient repair them: another recipient may repair them otherwise.
pub(crate) fn declared_length(fields: &HeaderMap) -> Result<Option<u64>, &'static str> {
    let mut values = fields.get_all(header::CONTENT_LENGTH).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err("several content-length fields");
    }
    let digits = value.as_bytes();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err("content-length is not a number");
    }
    digits
        .iter()
        .try_fold(0_u64, |sum, digit| {
            sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
        })
        .map(Some)
        .ok_or("content-length is too large")
}

/// Whether CGI gives both fields to programs as one variable: the names are the same, but for `_` in the
/// place of `-`.
pub(crate) fn is_alike(one: &str, other: &str) -> bool {
    one.len() == other.len() && folded(one).eq(folded(other))
}

/// Whether a name begins with a word, in the same way.
pub(crate) fn begins_alike(name: &str, word: &str) -> bool {
    folded(name).take(word.len()).eq(folded(word))
}

fn folded(name: &str) -> impl Iterator<Item = u8> {
    name.bytes()
        .map(|byte| if byte == b'_' { b'-' } else { byte })
}

/// Removes the fields whose name fits.
pub(crate) fn remove_where(fields: &mut HeaderMap, fits: impl Fn(&str) -> bool) {
    let found: Vec<HeaderName> = fields
        .keys()
        .filter(|name| fits(name.as_str()))
        .cloned()
        .collect();
    for name in found {
        fields.remove(name);
    }
}

/// The bytes of a field section as RFC 9114, section 4.2.2 counts them.
pub(crate) fn section_bytes(fields: &HeaderMap) -> u64 {
    fields
        .iter()
        .map(|(name, value)| field_bytes(name.as_str().len(), value.len()))
        .sum()
}

/// The bytes of one field as RFC 9114, section 4.2.2 counts them.
pub(crate) fn field_bytes(name: usize, value: usize) -> u64 {
    u64::try_from(name + value + 32).unwrap_or(u64::MAX)
}

/// Whether the content of a message is gRPC's.
pub(crate) fn is_grpc(fields: &HeaderMap) -> bool {
    let kind = fields.get(header::CONTENT_TYPE);
    let rest = kind.and_then(|kind| kind.as_bytes().strip_prefix(b"application/grpc"));
    // `application/grpc-web` is another protocol.
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// Whether the sender of a request does not discard trailers (RFC 9110, section 10.1.4).
pub(crate) fn wants_trailers(fields: &HeaderMap) -> bool {
    fields
        .get_all(header::TE)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .filter_map(|coding| coding.split(|&byte| byte == b';').next())
        .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// Whether a trailer could change the framing or the routing of a message whose header section has
/// already been acted on (RFC 9110, section 6.5.1).
pub(crate) fn reframes(name: &HeaderName) -> bool {
    is_hop_by_hop(name) || *name == header::CONTENT_LENGTH || *name == header::HOST
}

/// Removes the trailers that only have a meaning in a header section (RFC 9110, section 6.5.1).
pub(crate) fn remove_misplaced_trailers(trailers: &mut HeaderMap) {
    let misplaced: Vec<HeaderName> = trailers
        .keys()
        .filter(|name| reframes(name) || MISPLACED.contains(&name.as_str()))
        .cloned()
        .collect();
    for name in misplaced {
        trailers.remove(name);
    }
}

const CONNECTION_SPECIFIC: [&str; 5] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
];

static HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Fields that steer routing, authentication or the reading of the content.
const MISPLACED: [&str; 22] = [
    "age",
    "alt-svc",
    "authorization",
    "cache-control",
    "content-encoding",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "expect",
    "expires",
    "forwarded",
    "location",
    "max-forwards",
    "pragma",
    "range",
    "retry-after",
    "set-cookie",
    "trailer",
    "vary",
    "via",
    "www-authenticate",
];

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn fields(list: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = list.iter().map(|&(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(name, value);
        }
        map
    }

    #[test]
    fn nominated_fields_go_with_the_connection() {
        let mut map = fields(&[
            ("connection", "close, X-Private"),
            ("connection", "x-other"),
            ("x-private", "1"),
            ("x-other", "2"),
            ("keep-alive", "timeout=5"),
            ("te", "gzip"),
            ("x-kept", "3"),
        ]);
        remove_hop_by_hop(&mut map);
        assert_eq!(map, fields(&[("x-kept", "3")]));
    }

    #[test]
    fn only_one_plain_number_is_a_length() {
        assert_eq!(declared_length(&fields(&[])), Ok(None));
        assert_eq!(
            declared_length(&fields(&[("content-length", "18446744073709551615")])),
            Ok(Some(u64::MAX))
        );
        for bad in [
            "",
            "+1",
            "-1",
            "1, 1",
            "0x1",
            " 1",
            "1.0",
            "18446744073709551616",
        ] {
            assert!(
                declared_length(&fields(&[("content-length", bad)])).is_err(),
                "{bad:?}"
            );
        }
        assert!(
            declared_length(&fields(&[("content-length", "1"), ("content-length", "1")])).is_err()
        );
    }

    #[test]
    fn trailers_lose_what_belongs_into_a_header_section() {
        let mut map = fields(&[
            ("content-length", "1"),
            ("set-cookie", "a=b"),
            ("grpc-status", "0"),
        ]);
        remove_misplaced_trailers(&mut map);
        assert_eq!(map, fields(&[("grpc-status", "0")]));
    }
}

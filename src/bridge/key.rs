use std::net::IpAddr;

use http::{HeaderMap, header, request};

use super::pool::hash;
use crate::balance::Choice;
use crate::config::{self, HashBy};
use crate::request::ClientFacts;

/// The hash of what a request is to be sent by, if its pool chooses by that and the request has it.
pub(super) fn of(pool: &config::Pool, parts: &request::Parts, client: &ClientFacts) -> Option<u64> {
    if pool.choice != Choice::Hash {
        return None;
    }
    match &pool.hash_by {
        HashBy::Client => Some(match client.origin() {
            IpAddr::V4(address) => hash(&address.octets()),
            IpAddr::V6(address) => hash(&address.octets()),
        }),
        HashBy::Path => Some(hash(parts.uri.path().as_bytes())),
        HashBy::Header(name) => parts.headers.get(name).map(|value| hash(value.as_bytes())),
        HashBy::Cookie(name) => cookie(&parts.headers, name).map(hash),
    }
}

/// The value of a cookie (RFC 6265, section 4.2.1); of several, the first.
pub(super) fn cookie<'a>(fields: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    fields
        .get_all(header::COOKIE)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b';'))
        .find_map(|pair| {
            let equals = pair.iter().position(|&byte| byte == b'=')?;
            let (found, value) = (&pair[..equals], &pair[equals + 1..]);
            (found.trim_ascii() == name.as_bytes()).then(|| value.trim_ascii())
        })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_cookie_is_found_among_others_by_its_whole_name() {
        let mut fields = HeaderMap::new();
        fields.append(
            header::COOKIE,
            HeaderValue::from_static("xsid=1; a; sid=2=3;sid=4"),
        );
        fields.append(header::COOKIE, HeaderValue::from_static("other=5"));
        assert_eq!(cookie(&fields, "sid"), Some(&b"2=3"[..]));
        assert_eq!(cookie(&fields, "other"), Some(&b"5"[..]));
        assert_eq!(cookie(&fields, "none"), None);
        assert_eq!(cookie(&fields, "a"), None);
    }
}

use http::{HeaderMap, HeaderValue, header};

use super::Refusal;

/// The token that a request presents: that of its only `Authorization` field (RFC 6750, section 2.1), or
/// where it has none of its only cookie of this name.
pub(super) fn token<'a>(fields: &'a HeaderMap, cookie: Option<&str>) -> Result<&'a [u8], Refusal> {
    let mut values = fields.get_all(header::AUTHORIZATION).iter();
    match (values.next(), values.next(), cookie) {
        (Some(_), Some(_), _) => Err(Refusal::Repeated),
        (Some(value), None, _) => bearer(value.as_bytes()).ok_or(Refusal::Missing),
        (None, _, None) => Err(Refusal::Missing),
        (None, _, Some(name)) => {
            let mut cookies = pairs(fields).filter_map(|pair| named(pair, name));
            let first = cookies.next().ok_or(Refusal::Missing)?;
            match cookies.next() {
                // A site beside this one may have set the other.
                Some(_) => Err(Refusal::Repeated),
                None => Ok(first),
            }
        }
    }
}

/// Removes a cookie from the fields of a request, and leaves the others.
pub(super) fn remove_cookie(fields: &mut HeaderMap, name: &str) {
    if !pairs(fields).any(|pair| named(pair, name).is_some()) {
        return;
    }
    let others: Vec<&[u8]> = pairs(fields)
        .map(<[u8]>::trim_ascii)
        .filter(|pair| !pair.is_empty() && named(pair, name).is_none())
        .collect();
    let others = others.join(&b"; "[..]);
    fields.remove(header::COOKIE);
    if let Ok(others) = HeaderValue::from_bytes(&others)
        && !others.is_empty()
    {
        fields.insert(header::COOKIE, others);
    }
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(SCHEME.len())?;
    let token = token.strip_prefix(b" ")?.trim_ascii();
    (scheme.eq_ignore_ascii_case(SCHEME) && !token.is_empty()).then_some(token)
}

fn pairs(fields: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let values = fields.get_all(header::COOKIE).iter();
    values.flat_map(|value| value.as_bytes().split(|&byte| byte == b';'))
}

fn named<'a>(pair: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let equals = pair.iter().position(|&byte| byte == b'=')?;
    let (found, value) = (&pair[..equals], &pair[equals + 1..]);
    (found.trim_ascii() == name.as_bytes()).then(|| value.trim_ascii())
}

const SCHEME: &[u8] = b"Bearer";

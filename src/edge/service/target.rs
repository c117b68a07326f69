use std::net::Ipv6Addr;

use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderValue, Method, Request, header};

use crate::request::{Body, RequestError, percent_decoded};

/// Checks where a request goes and gives it a whole URI: `https`, authority, path.
///
/// The authority comes from the request target or, where that has none, from `Host`; if both are
/// there they must be the same (RFC 9114, section 4.3.1; RFC 9112, section 3.2).
pub(super) fn normalise(request: &mut Request<Body>) -> Result<(), RequestError> {
    let uri = request.uri();
    if uri.scheme().is_some_and(|scheme| *scheme != Scheme::HTTPS) {
        return Err(RequestError::Malformed("scheme is not https"));
    }
    let host = host_field(request).map_err(RequestError::Malformed)?;
    let authority = match (uri.authority(), host) {
        (Some(authority), None) => authority.clone(),
        (Some(authority), Some(host)) => {
            if !authority
                .as_str()
                .as_bytes()
                .eq_ignore_ascii_case(host.as_bytes())
            {
                return Err(RequestError::Malformed("host differs from the authority"));
            }
            authority.clone()
        }
        (None, Some(host)) => Authority::try_from(host.as_bytes())
            .map_err(|_invalid| RequestError::Malformed("host is not an authority"))?,
        (None, None) => return Err(RequestError::Malformed("no authority")),
    };
    check_authority(authority.as_str()).map_err(RequestError::Malformed)?;
    let path = uri
        .path_and_query()
        .cloned()
        .ok_or(RequestError::Malformed("no path"))?;
    check_path(&path, request.method())?;
    if uri.scheme().is_none() || uri.authority().is_none() {
        *request.uri_mut() = whole(authority, path)?;
    }
    Ok(())
}

fn whole(authority: Authority, path: PathAndQuery) -> Result<Uri, RequestError> {
    Uri::builder()
        .scheme(Scheme::HTTPS)
        .authority(authority)
        .path_and_query(path)
        .build()
        .map_err(|_invalid| RequestError::Malformed("target is not a URI"))
}

fn host_field(request: &Request<Body>) -> Result<Option<&HeaderValue>, &'static str> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err("several host fields");
    }
    Ok(host)
}

/// Allows `host`, `host:port` and `[IPv6]:port`, where host has only what names on the internet are
/// made of. RFC 3986 allows more, none of which a backend reads reliably.
fn check_authority(authority: &str) -> Result<(), &'static str> {
    if authority.contains('@') {
        return Err("userinfo in the authority");
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or("authority is not a host")?;
            if address.parse::<Ipv6Addr>().is_err() {
                return Err("authority is not an IPv6 address");
            }
            match port.strip_prefix(':') {
                Some(port) => ("", Some(port)),
                None if port.is_empty() => ("", None),
                None => return Err("authority is not a host"),
            }
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (check_name(host)?, Some(port)),
            None => (check_name(authority)?, None),
        },
    };
    debug_assert!(!host.contains(':'), "the port was split off");
    match port {
        Some(port) => check_port(port),
        None => Ok(()),
    }
}

fn check_name(name: &str) -> Result<&str, &'static str> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if name.is_empty() || name.starts_with('.') || name.contains("..") || !name.bytes().all(legal) {
        return Err("authority is not a host name");
    }
    Ok(name)
}

fn check_port(port: &str) -> Result<(), &'static str> {
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(1..) if digits => Ok(()),
        _ => Err("authority has a bad port"),
    }
}

/// Dot segments would let a path leave the prefix that chose its route, once the backend resolves
/// them (RFC 3986, section 6.2.2.3); clients resolve them before they send.
fn check_path(target: &PathAndQuery, method: &Method) -> Result<(), RequestError> {
    let path = target.path();
    if path == "*" && *method == Method::OPTIONS {
        return Err(RequestError::NotImplemented);
    }
    let refuse = |rule| Err(RequestError::Malformed(rule));
    if !path.starts_with('/') {
        return refuse("path is not absolute");
    }
    let illegal = |byte: u8| !byte.is_ascii_graphic() || byte == b'#';
    if path.bytes().any(|byte| illegal(byte) || byte == b'\\') {
        return refuse("path has an illegal character");
    }
    if target
        .query()
        .is_some_and(|query| query.bytes().any(illegal))
    {
        return refuse("query has an illegal character");
    }
    if has_dot_segment(path) {
        return refuse("path has dot segments");
    }
    if percent_decoded(path).any(|byte| byte == 0) {
        return refuse("path has a NUL");
    }
    Ok(())
}

fn has_dot_segment(path: &str) -> bool {
    let mut dots = 0;
    let mut others = false;
    // The closing slash ends the last segment like every other one.
    percent_decoded(path).chain([b'/']).any(|byte| match byte {
        b'/' | b'\\' => {
            let found = !others && (dots == 1 || dots == 2);
            (dots, others) = (0, false);
            found
        }
        b'.' => {
            dots += 1;
            false
        }
        _ => {
            others = true;
            false
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_plain_hosts_with_real_ports() {
        for good in [
            "example.org",
            "example.org:443",
            "a_b-c.example.org.",
            "192.0.2.1:8443",
            "[2001:db8::1]",
            "[::1]:4433",
        ] {
            assert_eq!(check_authority(good), Ok(()), "{good}");
        }
        for bad in [
            "", ":443", "a@b", "a:b@c", "a:", "a:0", "a:65536", "a:+80", "a:80:80", "a,b", "a b",
            "[::1", "[x]", "[::1]x", "[::1]:", "%65", ".", ".a", "a..b", "a/b",
        ] {
            assert!(check_authority(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn paths_cannot_climb() {
        for bad in [
            "/..",
            "/.",
            "/a/../b",
            "/a/./b",
            "/%2e%2E/",
            "/.%2e",
            "/a%2f..%2fb",
            "/a%5c..",
            "/a/..",
        ] {
            assert!(has_dot_segment(bad), "{bad}");
        }
        for good in [
            "/",
            "/...",
            "/.well-known/x",
            "/a..b",
            "/a.",
            "/%2",
            "/%",
            "/a//b",
            "/%252e%252e",
        ] {
            assert!(!has_dot_segment(good), "{good}");
        }
    }
}

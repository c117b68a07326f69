//! The grammar of what names hosts, paths, backends, log levels and AWS targets.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Upstream, UpstreamProtocol};

/// Checks a host pattern and brings it into lower case.
pub(super) fn host_pattern(text: &str) -> Result<String, &'static str> {
    if text == "*" {
        return Err("leave the key out to match every host");
    }
    host(text.strip_prefix("*.").unwrap_or(text))?;
    Ok(text.to_ascii_lowercase())
}

/// Checks a host name (RFC 1123, section 2.1) or an address, without a port.
fn host(text: &str) -> Result<(), &'static str> {
    if let Some(address) = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
    {
        return match address.parse::<Ipv6Addr>() {
            Ok(_) => Ok(()),
            Err(_) => Err("not an IPv6 address"),
        };
    }
    if !text.is_ascii() {
        return Err("write the name in its ASCII form (xn--)");
    }
    if text.contains(':') {
        return Err("a port does not belong here");
    }
    if text.len() > MAX_HOST {
        return Err("longer than 253 bytes");
    }
    for label in text.split('.') {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if label.is_empty() || label.len() > MAX_LABEL {
            return Err("each label must have 1 to 63 bytes");
        }
        if !label.bytes().all(legal) || label.starts_with('-') || label.ends_with('-') {
            return Err("a label holds letters, digits, and - or _ inside");
        }
    }
    let last = text.rsplit('.').next().unwrap_or(text);
    let number = last.bytes().all(|byte| byte.is_ascii_digit());
    if number && text.parse::<Ipv4Addr>().is_err() {
        return Err("not an IPv4 address");
    }
    Ok(())
}

/// Says which names there are of the tables that a key can name, or that one has to be written.
pub(super) fn known(mut names: Vec<&str>, table: &str) -> String {
    names.retain(|name| !name.is_empty());
    if names.is_empty() {
        format!("there is no {table} with a name; write one")
    } else {
        format!("there are: {}", names.join(", "))
    }
}

/// Checks the beginning of a URL's path.
pub(super) fn path_prefix(text: &str) -> Result<(), &'static str> {
    let Some(rest) = text.strip_prefix('/') else {
        return Err("it must begin with \"/\"");
    };
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("it must be visible ASCII; percent-encode the rest");
    }
    if text.contains(['?', '#']) {
        return Err("a query or fragment does not belong here");
    }
    let segments = rest.strip_suffix('/').unwrap_or(rest);
    let dots = |segment: &str| matches!(segment, "" | "." | "..");
    if !rest.is_empty() && segments.split('/').any(dots) {
        return Err("it has an empty segment, \".\" or \"..\"");
    }
    Ok(())
}

/// Checks what an operator names things by.
pub(super) fn name(text: &str) -> Result<(), &'static str> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if text.is_empty() || text.len() > MAX_LABEL {
        return Err("it must have 1 to 63 bytes");
    }
    if text.bytes().all(legal) {
        Ok(())
    } else {
        Err("it has another character")
    }
}

/// Checks a token (RFC 9110, section 5.6.2).
pub(super) fn token(text: &str) -> Result<(), &'static str> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !text.is_empty() && text.bytes().all(legal) {
        Ok(())
    } else {
        Err("not a token")
    }
}

/// Checks what another system names itself or others by.
pub(super) fn visible(text: &str) -> Result<(), &'static str> {
    if text.is_empty() || text.len() > MAX_TEXT {
        return Err("it must have 1 to 255 bytes");
    }
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(())
    } else {
        Err("it must be visible ASCII")
    }
}

/// Checks a URL of HTTPS without user name and fragment.
pub(super) fn https_url(text: &str) -> Result<(), &'static str> {
    let rest = text
        .strip_prefix("https://")
        .ok_or("it must begin with \"https://\"")?;
    visible(text)?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.contains('@') {
        return Err("a user name does not belong here");
    }
    if path.contains('#') {
        return Err("a fragment does not belong here");
    }
    let (name, port) = match authority.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (authority, None),
    };
    host(name)?;
    let is_port = |port: &str| {
        port.bytes().all(|byte| byte.is_ascii_digit())
            && port.parse::<u16>().is_ok_and(|port| port != 0)
    };
    if port.is_none_or(is_port) {
        Ok(())
    } else {
        Err("the port must be 1 to 65535")
    }
}

/// Checks the path and query of a request.
pub(super) fn request_path(text: &str) -> Result<(), &'static str> {
    if !text.starts_with('/') {
        return Err("it must begin with \"/\"");
    }
    if text
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'#')
    {
        Ok(())
    } else {
        Err("it must be visible ASCII without \"#\"")
    }
}

/// Checks a host with or without a port.
pub(super) fn authority(text: &str) -> Result<String, &'static str> {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (text, None),
    };
    host(name)?;
    let is_port = |port: &str| {
        port.bytes().all(|byte| byte.is_ascii_digit())
            && port.parse::<u16>().is_ok_and(|port| port != 0)
    };
    if port.is_none_or(is_port) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("the port must be 1 to 65535")
    }
}

/// Reads a backend's URL.
pub(super) fn upstream(text: &str) -> Result<Upstream, &'static str> {
    let (scheme, rest) = text
        .split_once("://")
        .ok_or("expected http://HOST:PORT, https://HOST:PORT or h2://HOST:PORT")?;
    let (scheme, is_service) = match scheme.strip_suffix("+srv") {
        Some(scheme) => (scheme, true),
        None => (scheme, false),
    };
    let (protocol, default_port) = match scheme {
        "http" => (UpstreamProtocol::Http1, "80"),
        "https" => (UpstreamProtocol::Https, "443"),
        "h2" => (UpstreamProtocol::Http2, "80"),
        _ => return Err("the scheme must be http, https or h2"),
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#']) {
        return Err("nothing may follow the host and port");
    }
    if authority.contains('@') {
        return Err("a user name does not belong here");
    }
    if is_service {
        return service(authority).map(|authority| Upstream {
            protocol,
            authority,
        });
    }
    // An IPv6 address holds colons, and its port's colon follows the bracket.
    let (name, port) = match authority.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port),
        _ => (authority, default_port),
    };
    host(name)?;
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(port) if digits && port != 0 => Ok(Upstream {
            protocol,
            authority: format!("{}:{port}", name.to_ascii_lowercase()),
        }),
        _ => Err("the port must be 1 to 65535"),
    }
}

/// Checks the name of a service (RFC 2782).
fn service(text: &str) -> Result<String, &'static str> {
    let mut labels = text.split('.');
    let begins = labels.by_ref().take(2).filter(|it| it.starts_with('_'));
    if begins.count() != 2 || labels.next().is_none() {
        return Err("a service is _SERVICE._PROTOCOL.NAME, without a port");
    }
    host(text)?;
    Ok(text.to_ascii_lowercase())
}

/// Checks a list of `level` and `target=level`.
pub(super) fn log_filter(text: &str) -> Result<(), &'static str> {
    for directive in text.split(',') {
        let (target, level) = directive.split_once('=').unwrap_or(("", directive));
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'-');
        if !target.bytes().all(legal) || (target.is_empty() && directive.contains('=')) {
            return Err("a target is a module path such as wayhold::edge");
        }
        if !LEVELS.contains(&level) {
            return Err("a level is off, error, warn, info, debug or trace");
        }
    }
    Ok(())
}

/// Reads the 8 bytes that the AWS Load Balancer Controller puts into a pod's environment: base64
/// (RFC 4648, sections 4 and 5), with or without padding.
pub(super) fn aws_server_id(text: &str) -> Option<[u8; 8]> {
    let digits = text.strip_suffix('=').unwrap_or(text);
    if digits.len() != AWS_DIGITS {
        return None;
    }
    let bits = digits.bytes().try_fold(0_u128, |bits, byte| {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        Some(bits << 6 | u128::from(digit))
    })?;
    // Eleven digits are 66 bits; the two that are left over must be zero.
    let id = u64::try_from(bits >> 2).ok()?;
    (bits.trailing_zeros() >= 2).then(|| id.to_be_bytes())
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
const MAX_HOST: usize = 253;
const MAX_LABEL: usize = 63;
const MAX_TEXT: usize = 255;
const AWS_DIGITS: usize = 11;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_patterns_are_names_addresses_or_one_leading_star() {
        for (text, expected) in [
            ("example.org", "example.org"),
            ("Example.ORG", "example.org"),
            ("*.example.org", "*.example.org"),
            ("a_b.x-y.z9", "a_b.x-y.z9"),
            ("192.0.2.1", "192.0.2.1"),
            ("[2001:DB8::1]", "[2001:db8::1]"),
        ] {
            assert_eq!(host_pattern(text).as_deref(), Ok(expected));
        }
        let long = format!("{}.org", "a".repeat(64));
        for text in [
            "",
            "*",
            "*.",
            ".",
            "a..b",
            "a.",
            ".a",
            "-a",
            "a-",
            "a b",
            "*a.org",
            "a.*.org",
            "*.*.org",
            "example.org:443",
            "bücher.example",
            "a/b",
            "256.0.0.1",
            "[::1",
            "[1]",
            "2001:db8::1",
            &long,
        ] {
            assert!(host_pattern(text).is_err(), "{text}");
        }
        assert!(host_pattern(&["a"; 128].join(".")).is_err());
    }

    #[test]
    fn path_prefixes_begin_with_a_slash_and_have_real_segments() {
        for text in ["/", "/api", "/api/", "/a/b%20c", "/.well-known", "/..."] {
            assert_eq!(path_prefix(text), Ok(()), "{text}");
        }
        for text in [
            "", "api", "//", "/a//b", "/a/..", "/./a", "/a?b", "/a#b", "/a b", "/ä",
        ] {
            assert!(path_prefix(text).is_err(), "{text}");
        }
    }

    #[test]
    fn upstreams_name_a_protocol_and_an_authority() {
        for (text, protocol, authority) in [
            (
                "http://10.0.0.1:8080",
                UpstreamProtocol::Http1,
                "10.0.0.1:8080",
            ),
            (
                "h2://app.local:9000/",
                UpstreamProtocol::Http2,
                "app.local:9000",
            ),
            ("http://App", UpstreamProtocol::Http1, "app:80"),
            ("https://App", UpstreamProtocol::Https, "app:443"),
            ("https://app:1", UpstreamProtocol::Https, "app:1"),
            ("http://[::1]", UpstreamProtocol::Http1, "[::1]:80"),
            ("http://[::1]:81", UpstreamProtocol::Http1, "[::1]:81"),
        ] {
            let authority = authority.to_owned();
            assert_eq!(
                upstream(text),
                Ok(Upstream {
                    protocol,
                    authority
                }),
                "{text}"
            );
        }
        for text in [
            "",
            "a:1",
            "http://",
            "http://:80",
            "http:///",
            "https://",
            "ftp://a",
            "HTTP://a",
            "http://a:0",
            "http://a:65536",
            "http://a:",
            "http://a:+1",
            "http://a/b",
            "http://a//",
            "http://a?b",
            "http://u@a",
            "http://::1",
            "http://[::1]x",
            "http://a b",
            "http://a\n",
            "http://*.a",
        ] {
            assert!(upstream(text).is_err(), "{text}");
        }
    }

    #[test]
    fn log_filters_are_levels_with_or_without_a_target() {
        for text in [
            "info",
            "off",
            "wayhold=debug,warn",
            "wayhold::edge=trace,quinn=error",
        ] {
            assert_eq!(log_filter(text), Ok(()), "{text}");
        }
        for text in [
            "", "loud", "wayhold", "a=b", "=info", "info,", "a b=info", "INFO",
        ] {
            assert!(log_filter(text).is_err(), "{text}");
        }
    }

    #[test]
    fn aws_server_ids_are_base64_of_eight_bytes() {
        let id = [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef];
        for text in ["ASNFZ4mrze8=", "ASNFZ4mrze8"] {
            assert_eq!(aws_server_id(text), Some(id), "{text}");
        }
        assert_eq!(aws_server_id("//////////8="), Some([0xff; 8]));
        assert_eq!(aws_server_id("__________8"), Some([0xff; 8]));
        for text in [
            "",
            "ASNFZ4mrze9=",
            "ASNFZ4mrze8==",
            "ASNFZ4mrze",
            "ASNFZ4mrz!8=",
            "ASNFZ4mrze8A",
        ] {
            assert_eq!(aws_server_id(text), None, "{text}");
        }
    }
}

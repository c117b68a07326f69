//! The target that a request names (RFC 9298, sections 2 and 3).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;

/// Where the UDP packets of a tunnel go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The variable `target_host`.
    pub host: Host,
    /// The variable `target_port`.
    pub port: NonZeroU16,
}

/// A host as a client names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// An address; an IPv4 address that was written in IPv6 is one of IPv4.
    Address(IpAddr),
    /// A DNS name in lower case, of at most 253 bytes and without a closing dot.
    Name(String),
}

/// Why a path names no target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a UDP target: {0}")]
pub struct TargetError(pub &'static str);

impl Target {
    /// Reads what follows a template's beginning: `/{target_host}/{target_port}/`, percent-encoded.
    ///
    /// # Errors
    /// When there is anything more or less, when the host is neither a name nor an address, and when the
    /// port is not from 1 to 65535. Zone identifiers are not supported (RFC 9298, section 3).
    pub fn parse(rest: &str) -> Result<Self, TargetError> {
        let segments = rest
            .strip_prefix('/')
            .and_then(|rest| rest.strip_suffix('/'))
            .and_then(|rest| rest.split_once('/'));
        let Some((host, port)) = segments.filter(|(_, port)| !port.contains('/')) else {
            return Err(TargetError("the path is not .../HOST/PORT/"));
        };
        Ok(Self {
            host: Host::parse(&decoded(host)?)?,
            port: port_of(&decoded(port)?)?,
        })
    }
}

impl Host {
    fn parse(text: &str) -> Result<Self, TargetError> {
        if text.contains(':') {
            let address = text.parse::<Ipv6Addr>();
            let address = address.map_err(|_other| TargetError("the host is no IPv6 address"))?;
            return Ok(Self::Address(IpAddr::V6(address).to_canonical()));
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Address(IpAddr::V4(address)));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if !is_name(name) {
            return Err(TargetError("the host is no name and no address"));
        }
        Ok(Self::Name(name.to_ascii_lowercase()))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            Host::Address(IpAddr::V4(address)) => write!(f, "{address}:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

/// Whether a text is a host name (RFC 1123, section 2.1) that no resolver reads as an address: its last
/// label is no number, of whatever base.
pub(super) fn is_name(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && label.bytes().all(legal)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = text.rsplit('.').next().unwrap_or(text);
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last
            .strip_prefix("0x")
            .or_else(|| last.strip_prefix("0X"))
            .is_some_and(digits);
    text.len() <= MAX_NAME && text.split('.').all(label) && !number
}

fn port_of(text: &str) -> Result<NonZeroU16, TargetError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|_| digits)
        .ok_or(TargetError("the port is not from 1 to 65535"))
}

/// Decodes a segment once (RFC 3986, section 2.1); what is no ASCII afterwards is no host and no port.
fn decoded(segment: &str) -> Result<String, TargetError> {
    let mut decoded = String::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        let byte = if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            let (high, low) = (digit(), digit());
            let value = high.zip(low).map(|(high, low)| high << 4 | low);
            value.and_then(|value| u8::try_from(value).ok())
        } else {
            Some(byte)
        };
        match byte.filter(u8::is_ascii_graphic) {
            Some(byte) => decoded.push(char::from(byte)),
            None => return Err(TargetError("the percent-encoding is wrong")),
        }
    }
    Ok(decoded)
}

const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn target(path: &str) -> Option<String> {
        Target::parse(path).ok().map(|target| target.to_string())
    }

    #[test]
    fn names_and_addresses_are_read() {
        for (path, expected) in [
            ("/192.0.2.6/443/", "192.0.2.6:443"),
            ("/2001%3Adb8%3A%3A42/443/", "[2001:db8::42]:443"),
            ("/2001:db8::42/443/", "[2001:db8::42]:443"),
            ("/%3a%3A1/1/", "[::1]:1"),
            ("/::ffff:192.0.2.6/1/", "192.0.2.6:1"),
            ("/DNS.Example/53/", "dns.example:53"),
            ("/dns.example./65535/", "dns.example:65535"),
            ("/%64ns.example/%35%33/", "dns.example:53"),
            ("/a_b-c.x9/0053/", "a_b-c.x9:53"),
        ] {
            assert_eq!(target(path).as_deref(), Some(expected), "{path}");
        }
    }

    #[test]
    fn what_names_no_target_is_refused() {
        let long = format!("/{}.example/53/", "a".repeat(64));
        let longer = format!("/{}/53/", ["abcdefgh"; 29].join("."));
        for path in [
            "",
            "/",
            "//",
            "///",
            "/a/",
            "/a/53",
            "a/53/",
            "/a/53//",
            "/a/b/53/",
            "/a%2Fb/53/",
            "//53/",
            "/a//",
            "/a/0/",
            "/a/65536/",
            "/a/+53/",
            "/a/5 3/",
            "/a/-1/",
            "/a/http/",
            "/a%/53/",
            "/a%2/53/",
            "/a%zz/53/",
            "/a%00/53/",
            "/a%0a/53/",
            "/a%c3%a4/53/",
            "/%2561/53/",
            "/a b/53/",
            "/[::1]/53/",
            "/%5B::1%5D/53/",
            "/fe80::1%25eth0/53/",
            "/1:2/53/",
            "/*.example/53/",
            "/user@a/53/",
            "/a..b/53/",
            "/-a/53/",
            "/a-/53/",
            "/256.0.0.1/53/",
            "/127.1/53/",
            "/2130706433/53/",
            "/0x7f000001/53/",
            "/0x7f.0x1/53/",
            "/a.0X1/53/",
            &long,
            &longer,
        ] {
            assert_eq!(target(path), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_path_panics(path in "\\PC*") {
            drop(Target::parse(&path));
        }

        #[test]
        fn what_is_read_is_one_host(segment in "[a-z0-9%:.]{1,20}") {
            if let Ok(target) = Target::parse(&format!("/{segment}/1/")) {
                let name = |name: &str| name.bytes().all(|byte| byte != b'%' && byte != b'/');
                let one = match target.host {
                    Host::Address(_) => true,
                    Host::Name(host) => name(&host) && host.parse::<IpAddr>().is_err(),
                };
                prop_assert!(one);
            }
        }
    }
}

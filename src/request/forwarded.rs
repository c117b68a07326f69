//! Whom proxies say that they ask for: `X-Forwarded-For`, and `Forwarded` (RFC 7239).
//!
//! Nothing here decides whom to believe.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};
use http::uri::Authority;

/// One proxy's word about whom it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hop {
    pub(crate) node: Node,
    pub(crate) scheme: Option<Scheme>,
    /// The authority that it was asked for.
    pub(crate) host: Option<Authority>,
}

/// Who a proxy asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Address(IpAddr),
    /// It does not say (RFC 7239, section 6.2 and 6.3).
    Unnamed,
}

/// How a proxy was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    #[default]
    Https,
}

/// What proxies say is not in the form that it must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed")]
pub(crate) struct Malformed;

impl Scheme {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn of(name: &str) -> Option<Self> {
        [Self::Http, Self::Https]
            .into_iter()
            .find(|scheme| scheme.name().eq_ignore_ascii_case(name))
    }
}

/// The addresses of `X-Forwarded-For`, the last one first.
pub(crate) fn forwarded_for(fields: &HeaderMap) -> impl Iterator<Item = Result<Node, Malformed>> {
    let lines = fields.get_all(FORWARDED_FOR).iter().rev();
    lines
        .flat_map(|line| line.as_bytes().rsplit(|&byte| byte == b','))
        .map(|item| {
            let text = std::str::from_utf8(item).map_err(|_bad| Malformed)?;
            node(text.trim_matches([' ', '\t']))
        })
}

/// The scheme of `X-Forwarded-Proto`, if there is one.
pub(crate) fn forwarded_proto(fields: &HeaderMap) -> Option<Scheme> {
    let mut values = fields.get_all(FORWARDED_PROTO).iter();
    let value = values.next()?;
    match values.next() {
        None => Scheme::of(value.to_str().ok()?),
        Some(_) => None,
    }
}

/// The elements of `Forwarded`, the last one first, as far as `most`. One that is malformed hides all
/// others of its line: a quote may have swallowed their begin.
pub(crate) fn forwarded(fields: &HeaderMap, most: usize) -> Vec<Result<Hop, Malformed>> {
    let mut hops = Vec::new();
    for line in fields.get_all(FORWARDED).iter().rev() {
        match line.to_str().map_err(|_bad| Malformed).and_then(elements) {
            Ok(elements) => hops.extend(elements.into_iter().rev().map(Ok)),
            Err(error) => hops.push(Err(error)),
        }
        if hops.len() >= most {
            break;
        }
    }
    hops
}

/// Reads the elements of one line (RFC 7239, section 4).
fn elements(line: &str) -> Result<Vec<Hop>, Malformed> {
    let mut elements = Vec::new();
    let mut hop = Pairs::default();
    let mut rest = line.trim_matches([' ', '\t']);
    loop {
        let (name, after) = rest.split_once('=').ok_or(Malformed)?;
        let (value, after) = value(after)?;
        hop.take(name, &value)?;
        let after = after.trim_start_matches([' ', '\t']);
        if after.is_empty() {
            elements.push(hop.into_hop());
            return Ok(elements);
        }
        let more = if let Some(pair) = after.strip_prefix(';') {
            pair
        } else {
            elements.push(std::mem::take(&mut hop).into_hop());
            after.strip_prefix(',').ok_or(Malformed)?
        };
        rest = more.trim_start_matches([' ', '\t']);
    }
}

/// What one element says so far.
#[derive(Debug, Default)]
struct Pairs {
    node: Option<Node>,
    scheme: Option<Scheme>,
    host: Option<Authority>,
    by: bool,
}

impl Pairs {
    /// Each parameter may be there once (RFC 7239, section 4).
    fn take(&mut self, name: &str, value: &str) -> Result<(), Malformed> {
        let first = if name.eq_ignore_ascii_case("for") {
            self.node.replace(node(value)?).is_none()
        } else if name.eq_ignore_ascii_case("proto") {
            let scheme = Scheme::of(value).ok_or(Malformed)?;
            self.scheme.replace(scheme).is_none()
        } else if name.eq_ignore_ascii_case("host") {
            let host = authority(value)?;
            self.host.replace(host).is_none()
        } else if name.eq_ignore_ascii_case("by") {
            !std::mem::replace(&mut self.by, true)
        } else {
            !name.is_empty() && name.bytes().all(is_token)
        };
        if first { Ok(()) } else { Err(Malformed) }
    }

    fn into_hop(self) -> Hop {
        Hop {
            node: self.node.unwrap_or(Node::Unnamed),
            scheme: self.scheme,
            host: self.host,
        }
    }
}

/// Takes a token or a quoted string from the begin of a text, and gives the rest.
fn value(text: &str) -> Result<(String, &str), Malformed> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.bytes().position(|byte| !is_token(byte));
        let (token, rest) = text.split_at(end.unwrap_or(text.len()));
        return if token.is_empty() {
            Err(Malformed)
        } else {
            Ok((token.to_owned(), rest))
        };
    };
    let mut value = String::new();
    let mut letters = quoted.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => return Ok((value, letters.as_str())),
            '\\' => value.push(letters.next().ok_or(Malformed)?),
            letter => value.push(letter),
        }
    }
    Err(Malformed)
}

/// Reads a node with or without a port (RFC 7239, section 6), and an address of IPv6 without brackets,
/// which is what `X-Forwarded-For` has.
fn node(text: &str) -> Result<Node, Malformed> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(Node::Address(address.to_canonical()));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(Node::Address(address.ip().to_canonical()));
    }
    let (name, port) = match text.rsplit_once(':') {
        // The last colon of an address in brackets that has no port is its own.
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (text, None),
    };
    let obfuscated = |text: &str| {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        text.strip_prefix('_')
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(legal))
    };
    let is_port = |port: &str| {
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        (1..=5).contains(&port.len()) && digits || obfuscated(port)
    };
    if port.is_some_and(|port| !is_port(port)) {
        return Err(Malformed);
    }
    let inner = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    match inner.map(str::parse::<std::net::Ipv6Addr>) {
        Some(Ok(address)) => Ok(Node::Address(IpAddr::V6(address).to_canonical())),
        Some(Err(_)) => Err(Malformed),
        None if name.eq_ignore_ascii_case("unknown") || obfuscated(name) => Ok(Node::Unnamed),
        None => match name.parse::<std::net::Ipv4Addr>() {
            Ok(address) => Ok(Node::Address(address.into())),
            Err(_) => Err(Malformed),
        },
    }
}

/// An authority that can stand in a quoted string and in a field of its own.
fn authority(text: &str) -> Result<Authority, Malformed> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    if text.is_empty() || text.len() > MAX_HOST || !text.bytes().all(legal) {
        return Err(Malformed);
    }
    Authority::try_from(text).map_err(|_bad| Malformed)
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

pub(crate) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(crate) const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// A host name has at most 253 bytes, and a port five.
const MAX_HOST: usize = 260;

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn lines(name: &HeaderName, values: &[&[u8]]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for value in values {
            fields.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        fields
    }

    fn address(text: &str) -> Node {
        Node::Address(text.parse().unwrap())
    }

    #[test]
    fn a_list_of_addresses_is_read_from_its_end_over_all_lines() {
        let fields = lines(
            &FORWARDED_FOR,
            &[b"192.0.2.1, 192.0.2.2:80", b"[2001:db8::1]:9,::1"],
        );
        let read: Vec<_> = forwarded_for(&fields).map(Result::unwrap).collect();
        let expected = ["::1", "2001:db8::1", "192.0.2.2", "192.0.2.1"].map(address);
        assert_eq!(read, expected);
    }

    #[test]
    fn what_is_no_address_is_malformed_or_unnamed() {
        let read = |text: &[u8]| {
            forwarded_for(&lines(&FORWARDED_FOR, &[text]))
                .next()
                .unwrap()
        };
        assert_eq!(read(b"unknown"), Ok(Node::Unnamed));
        assert_eq!(read(b"_hidden:_port"), Ok(Node::Unnamed));
        assert_eq!(read(b"::ffff:192.0.2.1"), Ok(address("192.0.2.1")));
        for wrong in [
            &b""[..],
            b" ",
            b"1",
            b"256.0.0.1",
            b"192.0.2.1:port",
            b"192.0.2.1:123456",
            b"[::1",
            b"[192.0.2.1]",
            b"[::1]x",
            b"localhost",
            b"_",
            b"_a b",
            b"192.0.2.1 192.0.2.2",
            b"\xff",
        ] {
            assert_eq!(read(wrong), Err(Malformed), "{wrong:?}");
        }
    }

    #[test]
    fn an_element_says_who_asked_for_what() {
        let line = b"for=192.0.2.1;proto=http, For=\"[2001:db8::1]:4711\";Proto=HTTPS;\
                     host=\"a.example:8443\";by=_x;secret=\"a\\\"b\" ; ext=1";
        let hops = forwarded(&lines(&FORWARDED, &[line]), 9);
        assert_eq!(hops.len(), 2);
        let last = hops[0].as_ref().unwrap();
        assert_eq!(last.node, address("2001:db8::1"));
        assert_eq!(last.scheme, Some(Scheme::Https));
        assert_eq!(last.host.as_ref().unwrap(), "a.example:8443");
        let first = hops[1].as_ref().unwrap();
        assert_eq!(
            (first.node, first.scheme),
            (address("192.0.2.1"), Some(Scheme::Http))
        );
    }

    #[test]
    fn a_quote_of_a_client_swallows_no_address_of_a_proxy() {
        for line in [
            &b"for=6.6.6.6;x=\", for=192.0.2.1"[..],
            b"for=6.6.6.6;x=\", for=\"[2001:db8::1]\"",
            b"for=6.6.6.6;x=\"\\, for=\"[2001:db8::1]\"",
            b"for=6.6.6.6, for=",
            b"for=6.6.6.6,, for=192.0.2.1",
            b"for=1.2.3.4;for=192.0.2.1",
            b"for=192.0.2.1;host=a/b",
            b"for=192.0.2.1;host=\"a\\\"b\"",
            b"for=192.0.2.1;proto=gopher",
            b"for=2001:db8::1",
            b"for = 192.0.2.1",
            b"192.0.2.1",
            b"=",
            b"",
            b"for=\xe9",
        ] {
            let hops = forwarded(&lines(&FORWARDED, &[line]), 9);
            assert_eq!(
                hops,
                [Err(Malformed)],
                "{:?}",
                String::from_utf8_lossy(line)
            );
        }
    }

    #[test]
    fn a_scheme_is_known_only_if_one_is_named() {
        let read = |values: &[&[u8]]| forwarded_proto(&lines(&FORWARDED_PROTO, values));
        assert_eq!(read(&[b"HTTP"]), Some(Scheme::Http));
        assert_eq!(read(&[b"https", b"http"]), None);
        assert_eq!(read(&[b"https,http"]), None);
        assert_eq!(read(&[]), None);
    }

    #[test]
    fn an_address_of_ipv6_needs_no_port() {
        for (line, node) in [
            (
                &b"for=\"[2001:db8::7]\";host=\"a.example\";proto=https"[..],
                "2001:db8::7",
            ),
            (b"For=\"[2001:db8:cafe::17]\"", "2001:db8:cafe::17"),
            (b"for=\"[::ffff:192.0.2.1]\"", "192.0.2.1"),
            (b"for=\"[2001:db8::7]:_port\"", "2001:db8::7"),
        ] {
            let hops = forwarded(&lines(&FORWARDED, &[line]), 9);
            assert_eq!(hops[0].as_ref().unwrap().node, address(node));
        }
        for wrong in [
            &b"for=\"[2001:db8::7]x\""[..],
            b"for=\"[2001:db8::7]:\"",
            b"for=\"[2001:db8::7\"",
            b"for=\"2001:db8::7]\"",
            b"for=\"[192.0.2.1]\"",
        ] {
            let hops = forwarded(&lines(&FORWARDED, &[wrong]), 9);
            assert_eq!(hops, [Err(Malformed)]);
        }
    }

    /// The same rules in other words: cut at the marks outside of quotes, then look at each piece.
    mod second {
        use std::collections::HashSet;

        use super::*;

        pub(super) fn elements(line: &str) -> Option<Vec<Hop>> {
            cut(line, ',')?
                .into_iter()
                .map(|text| element(&text))
                .collect()
        }

        /// None if a quote does not end.
        fn cut(text: &str, mark: char) -> Option<Vec<String>> {
            let (mut pieces, mut quoted, mut escaped) = (vec![String::new()], false, false);
            for letter in text.chars() {
                if letter == mark && !quoted {
                    pieces.push(String::new());
                    continue;
                }
                pieces.last_mut()?.push(letter);
                match letter {
                    _ if escaped => escaped = false,
                    '\\' => escaped = quoted,
                    '"' => quoted = !quoted,
                    _ => {}
                }
            }
            (!quoted).then_some(pieces)
        }

        fn element(text: &str) -> Option<Hop> {
            let mut seen = HashSet::new();
            let mut hop = Hop {
                node: Node::Unnamed,
                scheme: None,
                host: None,
            };
            for pair in cut(text, ';')? {
                let (name, value) = pair.trim_matches([' ', '\t']).split_once('=')?;
                let name = name.to_ascii_lowercase();
                let value = plain(value)?;
                if name.is_empty() || !name.bytes().all(is_token) {
                    return None;
                }
                match name.as_str() {
                    "for" => hop.node = node(&value)?,
                    "proto" => hop.scheme = Some(Scheme::of(&value)?),
                    "host" => hop.host = Some(authority(&value).ok()?),
                    "by" => {}
                    _ => continue,
                }
                seen.insert(name.clone()).then_some(())?;
            }
            Some(hop)
        }

        fn plain(value: &str) -> Option<String> {
            if let Some(rest) = value.strip_prefix('"') {
                let inner = rest.strip_suffix('"')?;
                let mut text = String::new();
                let mut letters = inner.chars();
                while let Some(letter) = letters.next() {
                    match letter {
                        '"' => return None,
                        '\\' => text.push(letters.next()?),
                        letter => text.push(letter),
                    }
                }
                return Some(text);
            }
            (!value.is_empty() && value.bytes().all(is_token)).then(|| value.to_owned())
        }

        /// Every form of a node, one after the other.
        pub(super) fn node(text: &str) -> Option<Node> {
            let known = |address: IpAddr| Node::Address(address.to_canonical());
            if let Ok(address) = text.parse() {
                return Some(known(address));
            }
            let colons = text.char_indices().filter(|(_, letter)| *letter == ':');
            let mut ends = colons.map(|(at, _)| at).chain([text.len()]);
            ends.find_map(|at| {
                let (name, port) = text.split_at(at);
                let port = port
                    .strip_prefix(':')
                    .or_else(|| port.is_empty().then_some("0"))?;
                let digits =
                    port.len() <= 5 && port.parse::<u32>().is_ok() && !port.starts_with('+');
                (digits || is_hidden(port)).then_some(())?;
                let bracketed = name
                    .strip_prefix('[')
                    .and_then(|rest| rest.strip_suffix(']'));
                match bracketed {
                    Some(inner) => Some(known(IpAddr::V6(inner.parse().ok()?))),
                    None if is_hidden(name) || name.eq_ignore_ascii_case("unknown") => {
                        Some(Node::Unnamed)
                    }
                    None => Some(known(IpAddr::V4(name.parse().ok()?))),
                }
            })
        }

        fn is_hidden(text: &str) -> bool {
            let rest = text.strip_prefix('_').unwrap_or_default();
            let legal = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
            !rest.is_empty() && rest.chars().all(legal)
        }
    }

    /// Words of the grammar in any order, and letters between them.
    fn text() -> impl Strategy<Value = String> {
        let words = prop::sample::select(vec![
            "for=",
            "For=",
            "proto=",
            "host=",
            "by=",
            "x=",
            "https",
            "HTTP",
            "192.0.2.1",
            "\"[2001:db8::1]\"",
            "[::1]",
            "::1",
            "::ffff:192.0.2.7",
            ":80",
            ":_p",
            ":99999",
            "unknown",
            "_hidden",
            "a.example",
            "\"",
            "\\",
            "\\\"",
            ",",
            ", ",
            ";",
            " ; ",
            "=",
            " ",
            "\t",
            "[",
            "]",
            ":",
            ".",
            "1",
        ]);
        let letters = prop::char::range(' ', '~').prop_map(String::from);
        let piece = prop_oneof![12 => words.prop_map(str::to_owned), 1 => letters];
        prop::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn two_readers_of_forwarded_read_the_same(texts in prop::collection::vec(text(), 1..4)) {
            let mut expected = Vec::new();
            for line in texts.iter().rev() {
                match second::elements(line) {
                    Some(hops) => expected.extend(hops.into_iter().rev().map(Ok)),
                    None => expected.push(Err(Malformed)),
                }
            }
            let texts: Vec<_> = texts.iter().map(String::as_bytes).collect();
            prop_assert_eq!(forwarded(&lines(&FORWARDED, &texts), usize::MAX), expected);
        }

        #[test]
        fn two_readers_of_addresses_read_the_same(texts in prop::collection::vec(text(), 1..4)) {
            let joined = texts.join(",");
            let items = joined.rsplit(',').map(|item| {
                second::node(item.trim_matches([' ', '\t'])).ok_or(Malformed)
            });
            let texts: Vec<_> = texts.iter().map(String::as_bytes).collect();
            let fields = lines(&FORWARDED_FOR, &texts);
            let read: Vec<_> = forwarded_for(&fields).collect();
            prop_assert_eq!(read, items.collect::<Vec<_>>());
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(
            values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..4),
        ) {
            let legal = |value: &Vec<u8>| HeaderValue::from_bytes(value).is_ok();
            let values: Vec<_> = values.iter().filter(|value| legal(value)).map(Vec::as_slice).collect();
            drop(forwarded(&lines(&FORWARDED, &values), 9));
            forwarded_for(&lines(&FORWARDED_FOR, &values)).for_each(drop);
            let _scheme = forwarded_proto(&lines(&FORWARDED_PROTO, &values));
        }

        /// What the gateway itself writes, the next one reads.
        #[test]
        fn what_is_written_is_read_again(address: IpAddr, port: Option<u16>) {
            let host = match port {
                Some(port) => format!("a.example:{port}"),
                None => "[2001:db8::1]".to_owned(),
            };
            let node = match address.to_canonical() {
                IpAddr::V4(address) => address.to_string(),
                IpAddr::V6(address) => format!("\"[{address}]\""),
            };
            let line = format!("for={node};host=\"{host}\";proto=https");
            let hop = Hop {
                node: Node::Address(address.to_canonical()),
                scheme: Some(Scheme::Https),
                host: Some(host.parse().unwrap()),
            };
            prop_assert_eq!(forwarded(&lines(&FORWARDED, &[line.as_bytes()]), 9), [Ok(hop)]);
        }
    }
}

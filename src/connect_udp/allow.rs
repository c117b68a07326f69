//! Which targets clients may have UDP sent to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::network::{Network, is_special};
use super::target::{Host, Target, is_name};

/// The targets that rules allow, and none else.
///
/// An address is allowed by a rule whose network contains it. A name is allowed by a rule that matches
/// it, and then each address to which it resolves has to pass too: one that is special (loopback,
/// private, link-local, multicast, whatever else is not global unicast) or the gateway's own is refused,
/// however it was named, unless a rule for addresses names it. Such a rule lies within the special range,
/// and is for the one address where that is the gateway's own; so `0.0.0.0/0` names neither.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList(Vec<Rule>);

/// One rule: `HOST:PORTS`. The host is a name, `*.` and a name for all names below it, an address or a
/// network; addresses of IPv6 are in brackets, with the length of a network behind. The ports are one,
/// two with `-` between, or `*` for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    hosts: Hosts,
    ports: RangeInclusive<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    Name(String),
    /// With its leading dot.
    Below(String),
    Network(Network),
}

/// Why a target is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No rule names it.
    NotAllowed,
    /// Its address is special, or the gateway's own, and no rule names exactly that.
    Prohibited,
}

/// Why a text is no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RuleError(pub &'static str);

impl AllowList {
    /// Allows what any of these rules allows.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self(rules)
    }

    /// Judges a target as a client names it, before a name is resolved. `own` are the gateway's
    /// addresses.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn check(&self, target: &Target, own: &[IpAddr]) -> Result<(), Refusal> {
        let port = target.port.get();
        match &target.host {
            Host::Address(address) => {
                self.networks(*address, port)
                    .next()
                    .ok_or(Refusal::NotAllowed)?;
                self.check_address(*address, port, own)
            }
            Host::Name(name) => self
                .0
                .iter()
                .any(|rule| rule.matches_name(name) && rule.ports.contains(&port))
                .then_some(())
                .ok_or(Refusal::NotAllowed),
        }
    }

    /// Judges an address to which an allowed target resolved.
    ///
    /// # Errors
    /// [`Refusal::Prohibited`].
    pub fn check_address(&self, address: IpAddr, port: u16, own: &[IpAddr]) -> Result<(), Refusal> {
        let address = address.to_canonical();
        let is_own = own.iter().any(|own| own.to_canonical() == address);
        let named = || {
            self.networks(address, port)
                .any(|network| network.names(address) && (!is_own || network.is_one_address()))
        };
        if (is_own || is_special(address)) && !named() {
            return Err(Refusal::Prohibited);
        }
        Ok(())
    }

    fn networks(&self, address: IpAddr, port: u16) -> impl Iterator<Item = Network> {
        self.0.iter().filter_map(move |rule| match rule.hosts {
            Hosts::Network(network) if network.contains(address) && rule.ports.contains(&port) => {
                Some(network)
            }
            _ => None,
        })
    }
}

impl Rule {
    fn matches_name(&self, name: &str) -> bool {
        match &self.hosts {
            Hosts::Name(exact) => name == exact,
            Hosts::Below(suffix) => name.len() > suffix.len() && name.ends_with(suffix.as_str()),
            Hosts::Network(_) => false,
        }
    }
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let (hosts, ports) = text
            .rsplit_once(':')
            .filter(|(_, ports)| !ports.contains(']'))
            .ok_or(RuleError("expected HOST:PORT, such as \"dns.example:53\""))?;
        Ok(Self {
            hosts: hosts.parse()?,
            ports: ports_of(ports)?,
        })
    }
}

impl FromStr for Hosts {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        if text == "*" {
            return Err(RuleError(
                "\"*\" alone would make an open relay; name the hosts or the networks",
            ));
        }
        if text.contains(['[', ':', '/']) || text.parse::<Ipv4Addr>().is_ok() {
            return network_of(text).map(Self::Network);
        }
        let (name, below) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        if !is_name(name) {
            return Err(RuleError("the host is no name, no address and no network"));
        }
        let name = name.to_ascii_lowercase();
        Ok(if below {
            Self::Below(format!(".{name}"))
        } else {
            Self::Name(name)
        })
    }
}

fn network_of(text: &str) -> Result<Network, RuleError> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let bracketed = address
        .strip_prefix('[')
        .and_then(|address| address.strip_suffix(']'));
    let address = match bracketed {
        Some(address) => address.parse::<Ipv6Addr>().map(IpAddr::V6),
        None => address.parse::<Ipv4Addr>().map(IpAddr::V4),
    };
    let address = address.map_err(|_other| {
        RuleError("expected an address such as 192.0.2.1 or [2001:db8::1], and of a network its length behind: 192.0.2.0/24")
    })?;
    if address.to_canonical() != address {
        return Err(RuleError("write an IPv4 address without ::ffff:"));
    }
    let Some(bits) = bits else {
        return Ok(Network::host(address));
    };
    let digits = !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
    bits.parse()
        .ok()
        .filter(|_| digits)
        .and_then(|bits| Network::new(address, bits))
        .ok_or(RuleError(
            "the network's length is wrong, or its address has bits behind that",
        ))
}

fn ports_of(text: &str) -> Result<RangeInclusive<u16>, RuleError> {
    if text == "*" {
        return Ok(1..=u16::MAX);
    }
    let port = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|port| digits && *port != 0)
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (port(first), port(last)) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        _ => Err(RuleError("the ports are 443, 8000-8999, or * for all")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(rules: &[&str]) -> AllowList {
        AllowList::new(rules.iter().map(|rule| rule.parse().unwrap()).collect())
    }

    fn target(text: &str) -> Target {
        let (host, port) = text.rsplit_once(':').unwrap();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Target::parse(&format!("/{host}/{port}/")).unwrap()
    }

    fn own() -> Vec<IpAddr> {
        vec!["9.9.9.9".parse().unwrap(), "2a00::9".parse().unwrap()]
    }

    fn judged(rules: &[&str], text: &str) -> Result<(), Refusal> {
        list(rules).check(&target(text), &own())
    }

    #[test]
    fn what_no_rule_names_is_not_allowed() {
        let rules = &[
            "dns.example:53",
            "*.media.example:8000-8999",
            "1.1.1.0/24:443",
            "[2606:4700::]/32:*",
        ];
        for text in [
            "dns.example:53",
            "DNS.Example.:53",
            "a.media.example:8000",
            "b.a.media.example:8999",
            "1.1.1.1:443",
            "[::ffff:1.1.1.1]:443",
            "[2606:4700::1]:1",
        ] {
            assert_eq!(judged(rules, text), Ok(()), "{text}");
        }
        for text in [
            "dns.example:54",
            "x.dns.example:53",
            "notdns.example:53",
            "media.example:8000",
            "badmedia.example:8000",
            "a.media.example:7999",
            "a.media.example:9000",
            "1.1.1.1:53",
            "1.1.2.1:443",
            "[2606:4701::1]:1",
        ] {
            assert_eq!(judged(rules, text), Err(Refusal::NotAllowed), "{text}");
        }
        assert_eq!(judged(&[], "dns.example:53"), Err(Refusal::NotAllowed));
    }

    #[test]
    fn a_special_address_is_prohibited_unless_a_rule_names_it() {
        let all = &["0.0.0.0/0:*", "[::]/0:*"];
        for text in [
            "127.0.0.1:53",
            "10.0.0.1:53",
            "169.254.169.254:80",
            "224.0.0.1:53",
            "0.0.0.0:53",
            "255.255.255.255:53",
            "[::1]:53",
            "[::]:53",
            "[fe80::1]:53",
            "[ff02::1]:53",
            "[fd00::1]:53",
            "[::ffff:127.0.0.1]:53",
            "[64:ff9b::7f00:1]:53",
            "[2002:7f00:1::]:53",
        ] {
            assert_eq!(judged(all, text), Err(Refusal::Prohibited), "{text}");
        }
        assert_eq!(judged(all, "1.1.1.1:53"), Ok(()));
        assert_eq!(judged(&["127.0.0.1:53"], "127.0.0.1:53"), Ok(()));
        assert_eq!(judged(&["10.0.0.0/8:53"], "10.1.2.3:53"), Ok(()));
        assert_eq!(judged(&["[::1]:53"], "[::1]:53"), Ok(()));
        // The port belongs to the rule that names it.
        let mixed = &["0.0.0.0/0:*", "127.0.0.1:53"];
        assert_eq!(judged(mixed, "127.0.0.1:54"), Err(Refusal::Prohibited));
    }

    #[test]
    fn the_gateways_own_address_is_prohibited_unless_a_rule_names_that_alone() {
        for text in ["9.9.9.9:53", "[::ffff:9.9.9.9]:53"] {
            assert_eq!(judged(&["9.9.9.0/24:*"], text), Err(Refusal::Prohibited));
            assert_eq!(judged(&["9.9.9.9:53"], text), Ok(()));
        }
        assert_eq!(
            judged(&["[2a00::]/32:*"], "[2a00::9]:1"),
            Err(Refusal::Prohibited)
        );
    }

    #[test]
    fn a_name_does_not_make_an_address_allowed() {
        let rules = list(&["*.example:*", "0.0.0.0/0:*", "10.0.0.5:53"]);
        let check =
            |address: &str, port| rules.check_address(address.parse().unwrap(), port, &own());
        assert_eq!(check("1.1.1.1", 53), Ok(()));
        for address in [
            "127.0.0.1",
            "::1",
            "::ffff:127.0.0.1",
            "10.0.0.6",
            "9.9.9.9",
            "2a00::9",
        ] {
            assert_eq!(check(address, 53), Err(Refusal::Prohibited), "{address}");
        }
        assert_eq!(check("10.0.0.5", 53), Ok(()));
        assert_eq!(check("::ffff:10.0.0.5", 53), Ok(()));
        assert_eq!(check("10.0.0.5", 54), Err(Refusal::Prohibited));
    }

    #[test]
    fn what_is_no_rule_says_why() {
        for (text, part) in [
            ("", "HOST:PORT"),
            ("dns.example", "HOST:PORT"),
            ("[2001:db8::1]", "HOST:PORT"),
            ("*:443", "open relay"),
            (":53", "no name"),
            ("a b:53", "no name"),
            ("*.*.example:53", "no name"),
            ("a.*:53", "no name"),
            ("256.0.0.1:53", "no name"),
            ("127.1:53", "no name"),
            ("2001:db8::1:53", "expected an address"),
            ("dns.example/24:53", "expected an address"),
            ("[dns.example]:53", "expected an address"),
            ("[::ffff:10.0.0.1]:53", "without ::ffff:"),
            ("192.0.2.1/24:53", "bits behind"),
            ("192.0.2.0/33:53", "bits behind"),
            ("192.0.2.0/+8:53", "bits behind"),
            ("192.0.2.0/:53", "bits behind"),
            ("a:0", "ports"),
            ("a:", "ports"),
            ("a:65536", "ports"),
            ("a:9-8", "ports"),
            ("a:+1", "ports"),
            ("a:1-", "ports"),
            ("a:http", "ports"),
        ] {
            let error = text.parse::<Rule>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}

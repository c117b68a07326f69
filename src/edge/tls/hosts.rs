use std::collections::HashSet;
use std::net::IpAddr;

use super::x509::Name;

/// The hosts that some certificates name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hosts(HashSet<Name>);

impl Hosts {
    /// Whether this host, a name or an address as it stands in a URI, is among them. A wildcard stands for
    /// one label (RFC 9525, section 6.3).
    pub(crate) fn name(&self, host: &str) -> bool {
        let unbracketed = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        if let Ok(address) = unbracketed.unwrap_or(host).parse::<IpAddr>() {
            return self.0.contains(&Name::Address(address));
        }
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let below = host.split_once('.').filter(|(label, _)| !label.is_empty());
        let below = below.map(|(_, domain)| domain.to_owned());
        self.0.contains(&Name::Exact(host))
            || below.is_some_and(|domain| self.0.contains(&Name::Below(domain)))
    }

    /// The names for which both have a certificate.
    pub(crate) fn shared<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a Name> {
        let below = |name: &Name, hosts: &Self| match name {
            Name::Exact(host) => hosts.name(host),
            Name::Below(_) | Name::Address(_) => hosts.0.contains(name),
        };
        let here = self.0.iter().filter(move |name| below(name, other));
        let there = other
            .0
            .iter()
            .filter(move |name| below(name, self) && !self.0.contains(name));
        here.chain(there)
    }
}

impl FromIterator<Name> for Hosts {
    fn from_iter<I: IntoIterator<Item = Name>>(names: I) -> Self {
        Self(names.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts() -> Hosts {
        let names = [
            Name::Exact("a.example".into()),
            Name::Below("b.example".into()),
            Name::Address("192.0.2.7".parse().unwrap()),
            Name::Address("2001:db8::7".parse().unwrap()),
        ];
        names.into_iter().collect()
    }

    #[test]
    fn a_host_is_named_in_any_case_and_with_its_root() {
        for named in [
            "a.example",
            "A.Example",
            "a.example.",
            "x.b.example",
            "192.0.2.7",
            "[2001:DB8::7]",
        ] {
            assert!(hosts().name(named), "{named}");
        }
    }

    #[test]
    fn a_wildcard_is_for_one_label_and_no_address() {
        for unnamed in [
            "b.example",
            "x.y.b.example",
            "x.a.example",
            "192.0.2.8",
            "[2001:db8::8]",
            "",
            ".b.example.",
            "example",
        ] {
            assert!(!hosts().name(unnamed), "{unnamed}");
        }
    }

    #[test]
    fn names_that_two_have_in_common_are_found_through_wildcards() {
        let other: Hosts = [
            Name::Exact("x.b.example".into()),
            Name::Exact("c.example".into()),
        ]
        .into_iter()
        .collect();
        for (one, two) in [(hosts(), other.clone()), (other, hosts())] {
            let shared: Vec<_> = one.shared(&two).map(Name::to_string).collect();
            assert_eq!(shared, ["x.b.example"]);
        }
    }
}

//! Where a request comes from and what it is called.

use std::net::IpAddr;

use aws_lc_rs::rand;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::config::{Forwarded, ForwardedField, Trace, TraceContext};
use crate::connect_udp::Network;
use crate::request::{Account, ClientFacts, Hop, Malformed, Node, Traced, forwarded, trace};
use crate::telemetry::{Metrics, Reason};

/// Whom to believe, and how to name requests.
#[derive(Clone, Debug)]
pub(crate) struct Provenance {
    trusted: Vec<Network>,
    field: ForwardedField,
    trace: Trace,
}

/// Why no more of what proxies say is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// It led to an address that is no proxy's.
    Taken,
    Malformed,
    /// A proxy does not say for whom it asks.
    Unnamed,
    TooLong,
}

impl Stop {
    fn reason(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Malformed => "malformed",
            Self::Unnamed => "unnamed",
            Self::TooLong => "too_long",
        }
    }
}

impl Provenance {
    pub(crate) fn new(forwarded: &Forwarded, trace: &Trace) -> Self {
        Self {
            trusted: forwarded.trusted.clone(),
            field: forwarded.field,
            trace: trace.clone(),
        }
    }

    /// Reads what the fields of a request say, before anybody has checked them.
    pub(super) fn account(
        &self,
        fields: &HeaderMap,
        client: &ClientFacts,
        metrics: &Metrics,
    ) -> Account {
        let mut account = Account::default();
        let peer = client.address.ip().to_canonical();
        let trusted = self.is_trusted(peer);
        if !self.trusted.is_empty() {
            let outcome = if trusted {
                self.follow(fields, &mut account).map(Stop::reason)
            } else {
                self.claims(fields).then_some("untrusted")
            };
            if let Some(reason) = outcome {
                let counter = &metrics.forwarded_claims;
                counter.get_or_create(&Reason { reason }).inc();
            }
        }
        if let Some(name) = &self.trace.request_id {
            let given = trusted.then(|| given_id(fields, name)).flatten();
            account.request_id = given.or_else(new_id).map(|id| (name.clone(), id));
        }
        account.trace = self.traced(fields);
        account
    }

    fn is_trusted(&self, address: IpAddr) -> bool {
        let mut networks = self.trusted.iter();
        networks.any(|network| network.contains(address))
    }

    fn claims(&self, fields: &HeaderMap) -> bool {
        fields.contains_key(match self.field {
            ForwardedField::ForwardedFor => forwarded::FORWARDED_FOR,
            ForwardedField::Forwarded => http::header::FORWARDED,
        })
    }

    /// Follows the chain from the peer to the first address that is not trusted, which is the client's.
    /// Where the chain breaks, the last one who was named is taken for it. None if nothing is said.
    fn follow(&self, fields: &HeaderMap, account: &mut Account) -> Option<Stop> {
        if !self.claims(fields) {
            return None;
        }
        Some(match self.field {
            ForwardedField::ForwardedFor => {
                account.scheme = forwarded::forwarded_proto(fields).unwrap_or_default();
                let plain = |node| Hop {
                    node,
                    scheme: None,
                    host: None,
                };
                self.walk(
                    forwarded::forwarded_for(fields).map(|node| node.map(plain)),
                    account,
                )
            }
            ForwardedField::Forwarded => self.walk(
                forwarded::forwarded(fields, MOST_HOPS + 1).into_iter(),
                account,
            ),
        })
    }

    fn walk(
        &self,
        hops: impl Iterator<Item = Result<Hop, Malformed>>,
        account: &mut Account,
    ) -> Stop {
        for (number, hop) in hops.enumerate() {
            if number == MOST_HOPS {
                return Stop::TooLong;
            }
            let Ok(hop) = hop else {
                return Stop::Malformed;
            };
            if let Some(scheme) = hop.scheme {
                account.scheme = scheme;
            }
            if let Some(host) = hop.host {
                account.host = Some(host);
            }
            let Node::Address(address) = hop.node else {
                return Stop::Unnamed;
            };
            account.origin = Some(address);
            if !self.is_trusted(address) {
                return Stop::Taken;
            }
        }
        Stop::Taken
    }

    fn traced(&self, fields: &HeaderMap) -> Traced {
        match (trace::trace_id(fields), self.trace.context) {
            (Some(id), _) => Traced::Passed(id),
            (None, TraceContext::Pass) => Traced::No,
            (None, TraceContext::Start) => {
                let mut random = [0; 24];
                match rand::fill(&mut random) {
                    Ok(()) => {
                        let (id, parent) = trace::start(random, self.trace.sampled_percent);
                        Traced::Started(id, parent)
                    }
                    Err(_unspecified) => Traced::No,
                }
            }
        }
    }
}

/// The name that a proxy gave to a request, if it is one.
fn given_id(fields: &HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    let mut values = fields.get_all(name).iter();
    let value = values.next()?;
    let legal = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~+/=:@".contains(byte);
    let is_one = values.next().is_none()
        && (1..=MOST_ID).contains(&value.len())
        && value.as_bytes().iter().all(legal);
    is_one.then(|| value.clone())
}

/// 128 random bits; none where the system has none.
fn new_id() -> Option<HeaderValue> {
    let mut random = [0; 16];
    rand::fill(&mut random).ok()?;
    let text = format!("{:032x}", u128::from_be_bytes(random));
    HeaderValue::try_from(text).ok()
}

/// Nobody has more proxies of his own; a client can write as many as it likes.
const MOST_HOPS: usize = 32;
const MOST_ID: usize = 128;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::request::ClientFacts;

    const TRUSTED: [&str; 2] = ["10.0.0.0/8", "2001:db8:1::/48"];

    fn provenance(field: ForwardedField) -> Provenance {
        let forwarded = Forwarded {
            trusted: TRUSTED.map(|network| network.parse().unwrap()).into(),
            field,
        };
        Provenance::new(&forwarded, &Trace::default())
    }

    fn account(
        provenance: &Provenance,
        peer: &str,
        lines: &[(&'static str, &str)],
    ) -> (Account, Vec<(&'static str, u64)>) {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            fields.append(HeaderName::from_static(name), value);
        }
        let peer = format!("{peer}:5000").parse().unwrap();
        let metrics = Metrics::default();
        let client = ClientFacts::new(Arc::default(), peer, peer);
        let account = provenance.account(&fields, &client, &metrics);
        let counts = ["taken", "untrusted", "malformed", "unnamed", "too_long"].map(|reason| {
            let counter = &metrics.forwarded_claims;
            (reason, counter.get_or_create(&Reason { reason }).get())
        });
        (
            account,
            counts.into_iter().filter(|(_, count)| *count > 0).collect(),
        )
    }

    #[test]
    fn the_client_is_the_first_from_the_right_who_is_not_trusted() {
        let provenance = provenance(ForwardedField::ForwardedFor);
        for (peer, chain, origin, outcome) in [
            ("10.0.0.1", "192.0.2.7", Some("192.0.2.7"), "taken"),
            (
                "10.0.0.1",
                "6.6.6.6, 192.0.2.7, 10.2.2.2",
                Some("192.0.2.7"),
                "taken",
            ),
            ("10.0.0.1", "10.9.9.9, 10.2.2.2", Some("10.9.9.9"), "taken"),
            ("[::ffff:10.0.0.1]", "192.0.2.7", Some("192.0.2.7"), "taken"),
            (
                "[2001:db8:1::5]",
                "2001:db8:2::1",
                Some("2001:db8:2::1"),
                "taken",
            ),
            (
                "10.0.0.1",
                "6.6.6.6, garbage, 10.2.2.2",
                Some("10.2.2.2"),
                "malformed",
            ),
            ("10.0.0.1", "6.6.6.6, ", None, "malformed"),
            (
                "10.0.0.1",
                "6.6.6.6, unknown, 10.2.2.2",
                Some("10.2.2.2"),
                "unnamed",
            ),
            ("192.0.2.9", "6.6.6.6", None, "untrusted"),
            ("[2001:db8:2::1]", "6.6.6.6", None, "untrusted"),
        ] {
            let (account, counts) = account(&provenance, peer, &[("x-forwarded-for", chain)]);
            let origin = origin.map(|origin| origin.parse().unwrap());
            assert_eq!(
                (account.origin, counts),
                (origin, vec![(outcome, 1)]),
                "{chain}"
            );
        }
    }

    #[test]
    fn a_chain_without_end_is_followed_so_far_only() {
        let provenance = provenance(ForwardedField::ForwardedFor);
        let chain = ",10.0.0.9".repeat(10_000);
        let (account, counts) = account(&provenance, "10.0.0.1", &[("x-forwarded-for", &chain)]);
        assert_eq!(account.origin, Some("10.0.0.9".parse().unwrap()));
        assert_eq!(counts, [("too_long", 1)]);
    }

    #[test]
    fn only_the_field_that_is_named_counts() {
        let both = [
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-proto", "http"),
            (
                "forwarded",
                "for=192.0.2.2;host=a.example, for=10.1.1.1;host=b.example;proto=https",
            ),
        ];
        let (account_for, _) =
            account(&provenance(ForwardedField::ForwardedFor), "10.0.0.1", &both);
        assert_eq!(account_for.origin, Some("192.0.2.1".parse().unwrap()));
        assert_eq!(account_for.scheme.name(), "http");
        assert_eq!(account_for.host, None);
        let (account, _) = account(&provenance(ForwardedField::Forwarded), "10.0.0.1", &both);
        assert_eq!(account.origin, Some("192.0.2.2".parse().unwrap()));
        assert_eq!(account.host.unwrap(), "a.example");
        assert_eq!(account.scheme.name(), "https");
    }

    #[test]
    fn nobody_is_trusted_unless_named_and_then_nothing_is_counted() {
        let provenance = Provenance::new(&Forwarded::default(), &Trace::default());
        let (account, counts) =
            account(&provenance, "127.0.0.1", &[("x-forwarded-for", "6.6.6.6")]);
        assert_eq!((account.origin, counts), (None, vec![]));
    }

    #[test]
    fn a_name_is_taken_from_a_trusted_proxy_if_it_is_one() {
        let provenance = provenance(ForwardedField::ForwardedFor);
        let named = |peer, values: &[&str]| {
            let lines: Vec<_> = values
                .iter()
                .map(|value| ("x-request-id", *value))
                .collect();
            let (account, _) = account(&provenance, peer, &lines);
            account.request_id.unwrap().1.to_str().unwrap().to_owned()
        };
        assert_eq!(
            named("10.0.0.1", &["Root=1-67891233-abc"]),
            "Root=1-67891233-abc"
        );
        let long = "x".repeat(129);
        for (peer, values) in [
            ("192.0.2.1", &["abc"][..]),
            ("10.0.0.1", &["abc", "abc"]),
            ("10.0.0.1", &[""]),
            ("10.0.0.1", &["a b"]),
            ("10.0.0.1", &["a\"b"]),
            ("10.0.0.1", &["caf\u{e9}"]),
            ("10.0.0.1", &[&long]),
            ("10.0.0.1", &[]),
        ] {
            let made = named(peer, values);
            assert!(made.len() == 32 && !values.contains(&&*made), "{values:?}");
            assert_ne!(made, named(peer, values));
        }
    }

    #[test]
    fn a_trace_is_started_only_where_there_is_none() {
        const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let mut provenance = provenance(ForwardedField::ForwardedFor);
        let traced = |provenance: &Provenance, value: &str| {
            account(provenance, "192.0.2.1", &[("traceparent", value)])
                .0
                .trace
        };
        assert_eq!(traced(&provenance, "nonsense"), Traced::No);
        assert!(
            matches!(traced(&provenance, PARENT), Traced::Passed(id) if PARENT.contains(id.as_str()))
        );
        provenance.trace.context = TraceContext::Start;
        assert!(matches!(traced(&provenance, PARENT), Traced::Passed(_)));
        assert!(matches!(
            traced(&provenance, "nonsense"),
            Traced::Started(..)
        ));
    }
}

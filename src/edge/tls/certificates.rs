use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{SignatureAlgorithm, SignatureScheme};

use super::hosts::Hosts;
use super::x509::Name;
use super::{Identity, IdentityWarning};
use crate::config::UnknownName;

/// The certificates of one listener, of which a client is shown one for the name that it asks for (RFC 6066,
/// section 3).
///
/// A name itself goes before the wildcard that covers it. Of several certificates for one name, a client
/// gets the first whose key it can verify: those that cost little before those of RSA, then in the order in
/// which they were given, the default last.
#[derive(Debug)]
pub(crate) struct Certificates {
    identities: Vec<Identity>,
    default: Vec<Arc<CertifiedKey>>,
    exact: HashMap<String, Vec<Arc<CertifiedKey>>>,
    below: HashMap<String, Vec<Arc<CertifiedKey>>>,
    unknown: UnknownName,
}

/// A certificate as operators see it.
#[derive(Clone, Debug)]
pub(crate) struct CertificateFacts {
    /// Its file.
    pub(crate) path: String,
    /// The names in it.
    pub(crate) names: Vec<String>,
    /// When it ends.
    pub(crate) expires: SystemTime,
}

impl Certificates {
    /// Takes the one for clients that ask for no name, and those for clients that ask for one of theirs.
    pub(crate) fn new(default: Identity, others: Vec<Identity>, unknown: UnknownName) -> Self {
        let (mut exact, mut below) = (HashMap::new(), HashMap::new());
        for identity in others.iter().chain([&default]) {
            for name in identity.names() {
                let (map, name): (&mut HashMap<_, Vec<_>>, _) = match name {
                    Name::Exact(name) => (&mut exact, name),
                    Name::Below(domain) => (&mut below, domain),
                    // No client asks for an address (RFC 6066, section 3).
                    Name::Address(_) => continue,
                };
                let candidates = map.entry(name.clone()).or_default();
                if candidates.len() < MOST_FOR_A_NAME {
                    candidates.push(identity.certified());
                }
            }
        }
        let equal = others
            .iter()
            .filter(|other| other.names() == default.names());
        let mut first: Vec<_> = std::iter::once(&default)
            .chain(equal)
            .map(Identity::certified)
            .collect();
        first.truncate(MOST_FOR_A_NAME);
        let lists = exact.values_mut().chain(below.values_mut());
        for candidates in lists.chain([&mut first]) {
            candidates.sort_by_key(|certified| kind(certified) == SignatureAlgorithm::RSA);
        }
        Self {
            identities: std::iter::once(default).chain(others).collect(),
            default: first,
            exact,
            below,
            unknown,
        }
    }

    /// What an operator should mend about them.
    pub(crate) fn warnings(&self, now: SystemTime) -> Vec<IdentityWarning> {
        let mut warnings: Vec<_> = self
            .identities
            .iter()
            .flat_map(|identity| identity.warnings(now))
            .collect();
        let mut seen: BTreeMap<(&Name, String), &Path> = BTreeMap::new();
        let (default, others) = self.identities.split_first().expect("there is a default");
        for identity in others {
            if identity
                .names()
                .iter()
                .all(|name| matches!(name, Name::Address(_)))
            {
                warnings.push(IdentityWarning::Nameless(identity.path().to_owned()));
            }
        }
        for identity in others.iter().chain([default]) {
            for name in identity.names() {
                let kind = format!("{:?}", kind(&identity.certified()));
                let earlier = *seen.entry((name, kind)).or_insert_with(|| identity.path());
                if earlier != identity.path() {
                    warnings.push(IdentityWarning::Overlap {
                        name: name.to_string(),
                        shown: earlier.to_owned(),
                        hidden: identity.path().to_owned(),
                    });
                }
            }
        }
        warnings
    }

    /// The hosts that they name.
    pub(crate) fn hosts(&self) -> Hosts {
        let names = self.identities.iter().flat_map(Identity::names);
        names.cloned().collect()
    }

    /// Each of them, the default first.
    pub(crate) fn facts(&self) -> Vec<CertificateFacts> {
        let fact = |identity: &Identity| CertificateFacts {
            path: identity.path().display().to_string(),
            names: identity.names().iter().map(Name::to_string).collect(),
            expires: identity.expires(),
        };
        self.identities.iter().map(fact).collect()
    }

    fn chosen(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let Some(name) = name.map(str::to_ascii_lowercase) else {
            return first(&self.default, schemes);
        };
        let exact = self.exact.get(&name);
        let below = name
            .split_once('.')
            .and_then(|(_, domain)| self.below.get(domain));
        let known: Vec<_> = [exact, below]
            .into_iter()
            .flatten()
            .flatten()
            .cloned()
            .collect();
        match (known.is_empty(), self.unknown) {
            (false, _) => first(&known, schemes),
            (true, UnknownName::Default) => first(&self.default, schemes),
            (true, UnknownName::Refuse) => None,
        }
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.chosen(hello.server_name(), hello.signature_schemes())
    }
}

/// The first that the client can verify; if there is none, one with which the handshake fails as it should.
fn first(
    candidates: &[Arc<CertifiedKey>],
    schemes: &[SignatureScheme],
) -> Option<Arc<CertifiedKey>> {
    let verifiable =
        |certified: &&Arc<CertifiedKey>| certified.key.choose_scheme(schemes).is_some();
    let found = candidates.iter().find(verifiable);
    found.or_else(|| candidates.first()).cloned()
}

fn kind(certified: &CertifiedKey) -> SignatureAlgorithm {
    certified.key.algorithm()
}

/// There are fewer kinds of keys.
const MOST_FOR_A_NAME: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::tls::testing::{EC, identity_for};

    fn chosen(
        certificates: &Certificates,
        name: Option<&str>,
        schemes: &[SignatureScheme],
    ) -> String {
        let chosen = certificates.chosen(name, schemes).unwrap();
        let is = |identity: &&Identity| Arc::ptr_eq(&identity.certified(), &chosen);
        let identity = certificates.identities.iter().find(is).unwrap();
        identity.names()[0].to_string()
    }

    fn all() -> Certificates {
        let others = ["a.example", "*.a.example", "b.a.example"];
        let others = others.map(|name| identity_for(&[name], EC)).to_vec();
        Certificates::new(
            identity_for(&["default.example"], EC),
            others,
            UnknownName::Default,
        )
    }

    const ANY: &[SignatureScheme] = &[
        SignatureScheme::ECDSA_NISTP256_SHA256,
        SignatureScheme::RSA_PSS_SHA256,
    ];

    #[test]
    fn a_name_itself_goes_before_its_wildcard_and_an_unknown_one_gets_the_default() {
        let all = all();
        for (asked, shown) in [
            (Some("a.example"), "a.example"),
            (Some("A.EXAMPLE"), "a.example"),
            (Some("b.a.example"), "b.a.example"),
            (Some("c.a.example"), "*.a.example"),
            (Some("d.c.a.example"), "default.example"),
            (Some("example"), "default.example"),
            (None, "default.example"),
        ] {
            assert_eq!(chosen(&all, asked, ANY), shown, "{asked:?}");
        }
    }

    #[test]
    fn an_unknown_name_can_be_refused_and_no_name_cannot() {
        let mut all = all();
        all.unknown = UnknownName::Refuse;
        assert!(all.chosen(Some("other.example"), ANY).is_none());
        assert!(all.chosen(Some("a.example"), ANY).is_some());
        assert!(all.chosen(None, ANY).is_some());
    }

    #[test]
    fn of_two_kinds_of_keys_a_client_gets_one_that_it_can_verify() {
        let rsa = identity_for(&["a.example"], &rcgen::PKCS_RSA_SHA256);
        let ec = identity_for(&["a.example", "b.example"], EC);
        let both = Certificates::new(
            identity_for(&["default.example"], EC),
            vec![rsa.clone(), ec.clone()],
            UnknownName::Default,
        );
        let shown = |schemes: &[SignatureScheme]| both.chosen(Some("a.example"), schemes).unwrap();
        assert!(Arc::ptr_eq(&shown(ANY), &ec.certified()), "the cheaper");
        let only_rsa = shown(&[SignatureScheme::RSA_PSS_SHA256]);
        assert!(Arc::ptr_eq(&only_rsa, &rsa.certified()));
        assert!(both.warnings(SystemTime::UNIX_EPOCH + YEAR * 56).is_empty());
    }

    #[test]
    fn the_default_has_a_second_kind_of_key_if_another_has_its_names() {
        let rsa = identity_for(&["a.example"], &rcgen::PKCS_RSA_SHA256);
        let ec = identity_for(&["a.example"], EC);
        let both = Certificates::new(ec, vec![rsa.clone()], UnknownName::Default);
        let shown = both
            .chosen(None, &[SignatureScheme::RSA_PSS_SHA256])
            .unwrap();
        assert!(Arc::ptr_eq(&shown, &rsa.certified()));
    }

    #[test]
    fn what_is_never_shown_is_a_warning() {
        let twice = ["a.example", "192.0.2.7"];
        let mut others = twice.map(|name| identity_for(&[name], EC)).to_vec();
        let mut hidden = identity_for(&["a.example", "b.example"], EC);
        hidden.rename("hidden.pem");
        others.push(hidden);
        let default = identity_for(&["default.example"], EC);
        let all = Certificates::new(default, others, UnknownName::Default);
        let warnings = all.warnings(SystemTime::UNIX_EPOCH + YEAR * 56);
        let warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        assert_eq!(
            warnings,
            [
                "the certificate in the given certificate chain has no DNS name, so no client is shown it",
                "a.example is in the given certificate chain and in hidden.pem with a key of the same kind; \
                 clients are shown the first",
            ]
        );
    }

    const YEAR: std::time::Duration = std::time::Duration::from_hours(24 * 365);
}

//! Who may pass to a route: how often, how much, and with which token.

use std::path::PathBuf;
use std::time::Duration;

use crate::balance::RateTerms;

/// What the requests of a route are held to before they are sent anywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gate {
    /// How many requests all clients together may send. Default any number.
    pub rate: Option<Rate>,
    /// How many of them at once. Default the number of `rate`.
    pub rate_burst: Option<u32>,
    /// How many requests one client may send. Default any number.
    pub client_rate: Option<Rate>,
    /// How many of them at once. Default the number of `client_rate`.
    pub client_burst: Option<u32>,
    /// Bytes of a request body, in place of `limits.body_bytes`; 0 means no limit.
    pub body_bytes: Option<u64>,
    /// Bytes of a response body; 0 means no limit. Default 0.
    pub response_bytes: u64,
    /// The name of the tokens that requests must have, if they must have one.
    pub jwt: Option<String>,
}

/// A number of requests in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many: 1 to 1000000.
    pub requests: u32,
    /// In a second, a minute or an hour.
    pub per: Duration,
}

/// Tokens of one issuer (RFC 7519), and how they are verified.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Jwt {
    /// What routes, logs and metrics call them; unique.
    pub name: String,
    /// Who must have issued a token.
    pub issuer: String,
    /// For whom a token must be: for one of these at least.
    pub audience: Vec<String>,
    /// The algorithms by which a token may be signed.
    pub algorithms: Vec<JwtAlgorithm>,
    /// Where the keys come from.
    pub keys: JwtKeys,
    /// By how much the clocks of the issuer and this node may differ. Default 30 s.
    pub leeway: Duration,
    /// Bytes of a token at most. Default 8 KiB.
    pub token_bytes: u32,
    /// The cookie in which a token may be, where there is no `Authorization` field.
    pub cookie: Option<String>,
    /// Which claims a backend is told, each in a field.
    pub claims_to: Vec<ClaimTo>,
    /// Whether backends get the token itself. Default true.
    pub pass_on: bool,
}

/// Where the keys of tokens come from: one of these exactly.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JwtKeys {
    /// A file with a JWK Set (RFC 7517, section 5).
    pub file: Option<PathBuf>,
    /// Where a JWK Set is fetched from, by HTTPS.
    pub url: Option<String>,
    /// The authorities that `url` is held to, in PEM. Default those of the system.
    pub ca: Option<PathBuf>,
    /// How long at least until keys are fetched again. Default 60 s.
    pub refresh_min: Duration,
    /// How long at most until keys are fetched again. Default 1 h.
    pub refresh_max: Duration,
    /// How long fetched keys are used while they cannot be fetched again. Default 24 h.
    pub stale_max: Duration,
    /// In which a fetch has to succeed. Default 5 s.
    pub timeout: Duration,
    /// A file of mode 0600 with the secret of HS256, HS384 and HS512.
    pub secret_file: Option<PathBuf>,
}

/// A claim that backends are told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimTo {
    /// The name of the claim, at the top of the token's claims.
    pub claim: String,
    /// The name of the field, in lower case.
    pub field: String,
}

/// How a token is signed (RFC 7518, section 3.1; RFC 8037). There is no `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are the RFC's names")]
pub enum JwtAlgorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
    Hs256,
    Hs384,
    Hs512,
}

impl Gate {
    /// The limit of the route.
    pub fn rate_terms(&self) -> Option<RateTerms> {
        self.rate.map(|rate| rate.terms(self.rate_burst))
    }

    /// The limit of each client.
    pub fn client_terms(&self) -> Option<RateTerms> {
        self.client_rate.map(|rate| rate.terms(self.client_burst))
    }
}

impl Rate {
    fn terms(self, burst: Option<u32>) -> RateTerms {
        RateTerms {
            requests: self.requests,
            per: self.per,
            burst: burst.unwrap_or(self.requests),
        }
    }
}

impl Jwt {
    /// Tokens of this name, of nobody yet.
    pub(super) fn empty() -> Self {
        Self {
            name: String::new(),
            issuer: String::new(),
            audience: Vec::new(),
            algorithms: Vec::new(),
            keys: JwtKeys::default(),
            leeway: Duration::from_secs(30),
            token_bytes: 8 << 10,
            cookie: None,
            claims_to: Vec::new(),
            pass_on: true,
        }
    }

    /// Tokens that this issuer signed with keys of a file.
    pub fn new(name: impl Into<String>, issuer: impl Into<String>, keys: JwtKeys) -> Self {
        Self {
            name: name.into(),
            issuer: issuer.into(),
            keys,
            ..Self::empty()
        }
    }
}

impl Default for JwtKeys {
    fn default() -> Self {
        Self {
            file: None,
            url: None,
            ca: None,
            refresh_min: Duration::from_secs(60),
            refresh_max: Duration::from_hours(1),
            stale_max: Duration::from_hours(24),
            timeout: Duration::from_secs(5),
            secret_file: None,
        }
    }
}

impl JwtAlgorithm {
    /// Every one, by its name.
    pub const ALL: [(&str, Self); 12] = [
        ("RS256", Self::Rs256),
        ("RS384", Self::Rs384),
        ("RS512", Self::Rs512),
        ("PS256", Self::Ps256),
        ("PS384", Self::Ps384),
        ("PS512", Self::Ps512),
        ("ES256", Self::Es256),
        ("ES384", Self::Es384),
        ("EdDSA", Self::EdDsa),
        ("HS256", Self::Hs256),
        ("HS384", Self::Hs384),
        ("HS512", Self::Hs512),
    ];

    /// Whether whoever verifies with a key can sign with it too.
    pub fn is_symmetric(self) -> bool {
        matches!(self, Self::Hs256 | Self::Hs384 | Self::Hs512)
    }
}

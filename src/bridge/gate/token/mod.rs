//! Tokens of requests: JSON Web Tokens (RFC 7519) as bearer tokens (RFC 6750).
//!
//! Nothing is asked of the issuer for a request: a token is verified by the issuer's public keys alone, so
//! every node can do it, and one that was withdrawn is good until it expires.

mod claims;
mod fetch;
mod jws;
mod key_set;
mod keys;
mod presented;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use tokio::task::JoinSet;

use self::claims::Terms;
use self::jws::Signed;
pub(super) use self::keys::Keys;
use super::kept::{Kept, KeysOf};
use crate::bridge::tls;
use crate::config::{Jwt, JwtAlgorithm};
use crate::request::{RequestError, clock};
use crate::telemetry::{GateMetrics, TokenReason};

/// The tokens of one issuer.
#[derive(Debug)]
pub(in crate::bridge) struct Tokens {
    name: String,
    algorithms: Vec<JwtAlgorithm>,
    terms: Terms,
    token_bytes: usize,
    cookie: Option<String>,
    claims_to: Vec<(String, HeaderName)>,
    passed_on: bool,
    keys: Arc<Keys>,
    metrics: GateMetrics,
}

/// Why tokens cannot be verified as they are configured.
#[derive(Debug, thiserror::Error)]
pub(in crate::bridge) enum TokenError {
    /// A file cannot be read.
    #[error("cannot read {0}: {1}")]
    Read(String, std::io::Error),
    /// The secret can be read by others.
    #[error("{0} has mode {1:04o}, so others can read or change it; run `chmod 600 {0}`")]
    Mode(String, u32),
    /// A file is no regular file, or far too large.
    #[error("{0} is not a regular file of at most {1} bytes")]
    Size(String, u64),
    /// The keys are of no use.
    #[error("{0}: {1}")]
    Keys(String, key_set::KeySetError),
    /// The authorities are of no use.
    #[error("{0}")]
    Authorities(#[from] tls::PoolTlsError),
}

/// Why a token is not accepted. Clients are not told, and it has nothing of the token in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Missing,
    Repeated,
    TooLarge,
    Malformed,
    Critical,
    Algorithm,
    NoKeys,
    UnknownKey,
    Signature,
    Issuer,
    Audience,
    Expired,
    NotYet,
    Claim,
}

impl Tokens {
    /// Reads the keys, where they are in a file.
    pub(super) fn new(jwt: &Jwt, metrics: &GateMetrics, kept: &Kept) -> Result<Self, TokenError> {
        let of = KeysOf {
            name: jwt.name.clone(),
            from: jwt.keys.clone(),
            algorithms: jwt.algorithms.clone(),
        };
        let claims_to = jwt.claims_to.iter().filter_map(|to| {
            let field = HeaderName::try_from(&to.field).ok()?;
            Some((to.claim.clone(), field))
        });
        Ok(Self {
            name: jwt.name.clone(),
            algorithms: jwt.algorithms.clone(),
            terms: Terms {
                issuer: jwt.issuer.clone(),
                audience: jwt.audience.clone(),
                leeway: jwt.leeway,
            },
            token_bytes: usize::try_from(jwt.token_bytes).unwrap_or(usize::MAX),
            cookie: jwt.cookie.clone(),
            claims_to: claims_to.collect(),
            passed_on: jwt.pass_on,
            keys: kept.keys(of, |of| Keys::new(of, metrics))?,
            metrics: metrics.clone(),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Keeps the keys up to date.
    pub(super) fn follow(&self, tasks: &mut JoinSet<()>) {
        tasks.spawn(keys::follow(Arc::clone(&self.keys)));
    }

    /// Lets a request with a valid token pass, and writes into its fields what backends are to know.
    pub(super) fn admit(&self, fields: &mut HeaderMap) -> Result<(), RequestError> {
        let claimed = self.verified(fields, clock::time_of_day());
        let claimed = claimed.map_err(|refusal| {
            let label = TokenReason {
                jwt: self.name.clone(),
                reason: refusal.reason(),
            };
            self.metrics.tokens_refused.get_or_create(&label).inc();
            refusal.error()
        })?;
        if !self.passed_on {
            fields.remove(header::AUTHORIZATION);
            if let Some(name) = &self.cookie {
                presented::remove_cookie(fields, name);
            }
        }
        for (field, value) in claimed {
            fields.insert(field, value);
        }
        Ok(())
    }

    /// The fields that follow from the request's token, if it has a valid one.
    fn verified(
        &self,
        fields: &HeaderMap,
        now: SystemTime,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, Refusal> {
        let token = presented::token(fields, self.cookie.as_deref())?;
        if token.len() > self.token_bytes {
            return Err(Refusal::TooLarge);
        }
        let signed = Signed::parse(token)?;
        let algorithm = signed.algorithm(&self.algorithms)?;
        let keys = self.keys.load().ok_or(Refusal::NoKeys)?;
        let key = keys.find(algorithm, signed.kid()).ok_or_else(|| {
            self.keys.want();
            Refusal::UnknownKey
        })?;
        key.verify(&signed)?;
        let claims = signed.claims()?;
        self.terms.check(&claims, now)?;
        claims::fields(&claims, &self.claims_to)
    }
}

impl Refusal {
    fn reason(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Repeated => "repeated",
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::Critical => "critical",
            Self::Algorithm => "algorithm",
            Self::NoKeys => "no_keys",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "signature",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Expired => "expired",
            Self::NotYet => "not_yet",
            Self::Claim => "claim",
        }
    }

    fn error(self) -> RequestError {
        match self {
            Self::Missing => RequestError::TokenMissing,
            Self::NoKeys => RequestError::TokenUnverifiable,
            _ => RequestError::TokenRefused,
        }
    }
}

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value};

use super::Refusal;
use super::jws::Signed;
use crate::config::JwtAlgorithm;

/// The keys by which tokens are verified, each for one algorithm.
#[derive(Debug)]
pub(super) struct KeySet {
    keys: Vec<Key>,
}

/// A key that is for one algorithm.
pub(super) struct Key {
    kid: Option<String>,
    algorithm: JwtAlgorithm,
    material: DecodingKey,
}

/// Why there are no keys in what was read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::bridge) enum KeySetError {
    #[error("it is no JWK Set (RFC 7517, section 5)")]
    NotASet,
    #[error("it has {0} keys; at most {MAX_KEYS} are taken")]
    TooMany(usize),
    #[error("it has no key that fits the algorithms")]
    NoKey,
    #[error("the secret has {0} bytes; the algorithms need at least {1}")]
    ShortSecret(usize, usize),
}

impl KeySet {
    /// Reads a JWK Set. Keys that fit no algorithm are left out, as RFC 7517, section 5 has it.
    pub(super) fn from_json(json: &[u8], algorithms: &[JwtAlgorithm]) -> Result<Self, KeySetError> {
        let set: Map<String, Value> =
            serde_json::from_slice(json).map_err(|_error| KeySetError::NotASet)?;
        let Some(Value::Array(listed)) = set.get("keys") else {
            return Err(KeySetError::NotASet);
        };
        if listed.len() > MAX_KEYS {
            return Err(KeySetError::TooMany(listed.len()));
        }
        let mut keys = Vec::new();
        for jwk in listed.iter().filter_map(Value::as_object) {
            let fitting = algorithms.iter().filter(|algorithm| fits(jwk, **algorithm));
            for algorithm in fitting {
                if let Some(key) = public(jwk) {
                    keys.push(Key {
                        kid: member(jwk, "kid").map(str::to_owned),
                        algorithm: *algorithm,
                        material: key,
                    });
                }
            }
        }
        if keys.is_empty() {
            return Err(KeySetError::NoKey);
        }
        Ok(Self { keys })
    }

    /// Takes a secret for algorithms with one.
    pub(super) fn from_secret(
        secret: &[u8],
        algorithms: &[JwtAlgorithm],
    ) -> Result<Self, KeySetError> {
        // RFC 7518, section 3.2.
        let needed = algorithms.iter().map(|algorithm| match algorithm {
            JwtAlgorithm::Hs256 => 32,
            JwtAlgorithm::Hs384 => 48,
            _ => 64,
        });
        let needed = needed.max().unwrap_or(usize::MAX);
        if secret.len() < needed {
            return Err(KeySetError::ShortSecret(secret.len(), needed));
        }
        let symmetric = algorithms.iter().filter(|one| one.is_symmetric());
        let keys = symmetric.filter_map(|algorithm| {
            Some(Key {
                kid: None,
                algorithm: *algorithm,
                material: DecodingKey::from_secret(secret).ok()?,
            })
        });
        let keys: Vec<_> = keys.collect();
        if keys.is_empty() {
            return Err(KeySetError::NoKey);
        }
        Ok(Self { keys })
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The one key that a token with this algorithm and key ID can be signed with; what names no key must
    /// leave only one. So each request has one signature verified at most.
    pub(super) fn find(&self, algorithm: JwtAlgorithm, kid: Option<&str>) -> Option<&Key> {
        let mut fitting = self.keys.iter().filter(|key| key.algorithm == algorithm);
        if algorithm.is_symmetric() {
            return fitting.next();
        }
        match kid {
            Some(kid) => fitting.find(|key| key.kid.as_deref() == Some(kid)),
            None => fitting.next().filter(|_| fitting.next().is_none()),
        }
    }
}

impl Key {
    /// Verifies the signature of a token.
    pub(super) fn verify(&self, signed: &Signed<'_>) -> Result<(), Refusal> {
        let verifier =
            (DEFAULT_PROVIDER.verifier_factory)(&library(self.algorithm), &self.material);
        let verified = verifier.map(|one| one.verify(signed.message, &signed.signature));
        match verified {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Refusal::Signature),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// Whether a key may verify what is signed by an algorithm: by its type, and by what it says itself that it
/// is for (RFC 7517, section 4).
fn fits(jwk: &Map<String, Value>, algorithm: JwtAlgorithm) -> bool {
    use JwtAlgorithm::{
        EdDsa, Es256, Es384, Hs256, Hs384, Hs512, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512,
    };
    let kind = (member(jwk, "kty"), member(jwk, "crv"));
    let of_type = match algorithm {
        Rs256 | Rs384 | Rs512 | Ps256 | Ps384 | Ps512 => kind.0 == Some("RSA") && is_rsa_size(jwk),
        Es256 => kind == (Some("EC"), Some("P-256")),
        Es384 => kind == (Some("EC"), Some("P-384")),
        EdDsa => kind == (Some("OKP"), Some("Ed25519")),
        // A secret in a set that anybody can fetch is none.
        Hs256 | Hs384 | Hs512 => false,
    };
    let says = |name: &str, right: &dyn Fn(&Value) -> bool| jwk.get(name).is_none_or(right);
    let named = JwtAlgorithm::ALL
        .into_iter()
        .find(|(_, one)| *one == algorithm);
    let is_named = |value: &Value| named.is_some_and(|(name, _)| value == name);
    let verifies = |value: &Value| {
        let operations = value.as_array();
        operations.is_some_and(|operations| operations.iter().any(|one| one == "verify"))
    };
    of_type
        && says("use", &|value| value == "sig")
        && says("key_ops", &verifies)
        && says("alg", &is_named)
        && says("kid", &Value::is_string)
}

/// What aws-lc takes: 2048 to 8192 bits (RFC 7518, section 3.3 asks for the lower bound).
fn is_rsa_size(jwk: &Map<String, Value>) -> bool {
    let modulus = member(jwk, "n").and_then(|n| URL_SAFE_NO_PAD.decode(n).ok());
    modulus.is_some_and(|modulus| {
        let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
        (256..=1024).contains(&(modulus.len() - zeros))
    })
}

fn public(jwk: &Map<String, Value>) -> Option<DecodingKey> {
    let of = |name| member(jwk, name).unwrap_or_default();
    let key = match of("kty") {
        "RSA" => DecodingKey::from_rsa_components(of("n"), of("e")),
        "EC" => DecodingKey::from_ec_components(of("x"), of("y")),
        _ => DecodingKey::from_ed_components(of("x")),
    };
    key.ok()
}

fn member<'a>(jwk: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    jwk.get(name).and_then(Value::as_str)
}

fn library(algorithm: JwtAlgorithm) -> Algorithm {
    match algorithm {
        JwtAlgorithm::Rs256 => Algorithm::RS256,
        JwtAlgorithm::Rs384 => Algorithm::RS384,
        JwtAlgorithm::Rs512 => Algorithm::RS512,
        JwtAlgorithm::Ps256 => Algorithm::PS256,
        JwtAlgorithm::Ps384 => Algorithm::PS384,
        JwtAlgorithm::Ps512 => Algorithm::PS512,
        JwtAlgorithm::Es256 => Algorithm::ES256,
        JwtAlgorithm::Es384 => Algorithm::ES384,
        JwtAlgorithm::EdDsa => Algorithm::EdDSA,
        JwtAlgorithm::Hs256 => Algorithm::HS256,
        JwtAlgorithm::Hs384 => Algorithm::HS384,
        JwtAlgorithm::Hs512 => Algorithm::HS512,
    }
}

/// No issuer has nearly as many at a time.
const MAX_KEYS: usize = 256;

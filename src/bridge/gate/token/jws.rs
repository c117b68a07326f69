use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::Refusal;
use crate::config::JwtAlgorithm;

/// A JWS in its compact form (RFC 7515, section 3.1), taken apart and not verified.
///
/// Of the header only `alg` and `kid` are looked at: keys that a token brings itself or names by a URL
/// (`jwk`, `jku`, `x5c`, `x5u`) mean nothing here.
pub(super) struct Signed<'a> {
    algorithm: String,
    kid: Option<String>,
    /// What is signed: the header and the payload as they came.
    pub(super) message: &'a [u8],
    payload: &'a [u8],
    pub(super) signature: Vec<u8>,
}

impl<'a> Signed<'a> {
    pub(super) fn parse(token: &'a [u8]) -> Result<Self, Refusal> {
        let mut dots = token.iter().enumerate().filter(|(_, byte)| **byte == b'.');
        let (Some((first, _)), Some((second, _)), None) = (dots.next(), dots.next(), dots.next())
        else {
            return Err(Refusal::Malformed);
        };
        let mut header = object(&token[..first])?;
        // There is no extension that is known here (RFC 7515, section 4.1.11; RFC 7797, section 6).
        if header.contains_key("crit") || header.contains_key("b64") {
            return Err(Refusal::Critical);
        }
        let Some(Value::String(algorithm)) = header.remove("alg") else {
            return Err(Refusal::Malformed);
        };
        let kid = match header.remove("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid),
            Some(_) => return Err(Refusal::Malformed),
        };
        Ok(Self {
            algorithm,
            kid,
            message: &token[..second],
            payload: &token[first + 1..second],
            signature: decoded(&token[second + 1..])?,
        })
    }

    /// The algorithm that the token names, if it is one of these.
    pub(super) fn algorithm(&self, pinned: &[JwtAlgorithm]) -> Result<JwtAlgorithm, Refusal> {
        let known = JwtAlgorithm::ALL.into_iter();
        let mut named = known.filter(|(name, _)| *name == self.algorithm);
        match named.next() {
            Some((_, algorithm)) if pinned.contains(&algorithm) => Ok(algorithm),
            _ => Err(Refusal::Algorithm),
        }
    }

    /// What the token calls its key.
    pub(super) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The claims, which are good for nothing until the signature is verified.
    pub(super) fn claims(&self) -> Result<Map<String, Value>, Refusal> {
        object(self.payload)
    }
}

impl fmt::Debug for Signed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signed").finish_non_exhaustive()
    }
}

fn object(part: &[u8]) -> Result<Map<String, Value>, Refusal> {
    serde_json::from_slice(&decoded(part)?).map_err(|_error| Refusal::Malformed)
}

fn decoded(part: &[u8]) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_error| Refusal::Malformed)
}

//! Rates, sizes and tokens out of the tree of all layers.

use std::time::Duration;

use super::decode::{Decode, mismatch, some};
use super::load::Reader;
use super::schema::Key;
use super::tree::{Entry, Value};
use super::{ClaimTo, Gate, Jwt, JwtAlgorithm, Rate, names};

impl Reader<'_> {
    /// Reads what `route.N` holds requests to.
    pub(super) fn gate(&mut self, at: &str) -> Gate {
        let mut gate = Gate::default();
        let key = |name: &str| format!("{at}.{name}");
        self.read(&key("rate"), &mut gate.rate);
        self.read(&key("rate_burst"), &mut gate.rate_burst);
        self.read(&key("client_rate"), &mut gate.client_rate);
        self.read(&key("client_burst"), &mut gate.client_burst);
        self.read(&key("body_bytes"), &mut gate.body_bytes);
        self.read(&key("response_bytes"), &mut gate.response_bytes);
        self.read(&key("jwt"), &mut gate.jwt);
        gate
    }

    /// Reads `jwt.N`.
    pub(super) fn jwt(&mut self, at: &str) -> Jwt {
        let mut jwt = Jwt::empty();
        let key = |name: &str| format!("{at}.{name}");
        self.read(&key("name"), &mut jwt.name);
        self.read(&key("issuer"), &mut jwt.issuer);
        self.read(&key("audience"), &mut jwt.audience);
        self.read(&key("algorithms"), &mut jwt.algorithms);
        self.read(&key("jwks_file"), &mut jwt.keys.file);
        self.read(&key("jwks_url"), &mut jwt.keys.url);
        self.read(&key("jwks_ca"), &mut jwt.keys.ca);
        self.read(&key("jwks_refresh_min"), &mut jwt.keys.refresh_min);
        self.read(&key("jwks_refresh_max"), &mut jwt.keys.refresh_max);
        self.read(&key("jwks_stale_max"), &mut jwt.keys.stale_max);
        self.read(&key("jwks_timeout"), &mut jwt.keys.timeout);
        self.read(&key("secret_file"), &mut jwt.keys.secret_file);
        self.read(&key("leeway"), &mut jwt.leeway);
        self.read(&key("token_bytes"), &mut jwt.token_bytes);
        self.read(&key("cookie"), &mut jwt.cookie);
        self.read(&key("claims_to"), &mut jwt.claims_to);
        self.read(&key("pass_on"), &mut jwt.pass_on);
        jwt
    }
}

impl Decode for Rate {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        let (number, unit) = match &entry.value {
            Value::Integer(number) => (number.to_string(), "s"),
            Value::String(text) | Value::Untyped(text) => {
                let (number, unit) = text.split_once('/').unwrap_or((text, "s"));
                (number.to_owned(), unit)
            }
            _ => return Err(mismatch(entry, key)),
        };
        let per = match unit {
            "s" => Some(Duration::from_secs(1)),
            "m" => Some(Duration::from_mins(1)),
            "h" => Some(Duration::from_hours(1)),
            _ => None,
        };
        let digits = number.bytes().all(|byte| byte.is_ascii_digit());
        match (number.parse(), per) {
            (Ok(requests @ 1..=1_000_000), Some(per)) if digits => Ok(Self { requests, per }),
            _ => Err(match &entry.value {
                Value::String(text) | Value::Untyped(text) => {
                    format!("{text:?}: expected {}", key.kind)
                }
                _ => format!("{number}: expected {}", key.kind),
            }),
        }
    }
}

impl Decode for Vec<JwtAlgorithm> {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        some(entry, key, |text| {
            let found = JwtAlgorithm::ALL
                .into_iter()
                .find(|(name, _)| *name == text);
            found
                .map(|(_, algorithm)| algorithm)
                .ok_or_else(|| format!("expected {}", key.kind))
        })
    }
}

impl Decode for Vec<ClaimTo> {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        some(entry, key, |text| {
            // The name of a claim may be a URL; that of a field has no colon.
            let (claim, field) = text.rsplit_once(':').ok_or("expected CLAIM: FIELD")?;
            let (claim, field) = (claim.trim(), field.trim());
            names::visible(claim)?;
            names::token(field)?;
            Ok::<_, &str>(ClaimTo {
                claim: claim.to_owned(),
                field: field.to_ascii_lowercase(),
            })
        })
    }
}

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

use super::Refusal;

/// What the claims of a token must be (RFC 7519, section 4.1).
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) issuer: String,
    pub(super) audience: Vec<String>,
    pub(super) leeway: Duration,
}

impl Terms {
    /// Looks at who issued a token, for whom, and whether it is good now.
    pub(super) fn check(
        &self,
        claims: &Map<String, Value>,
        now: SystemTime,
    ) -> Result<(), Refusal> {
        if claims.get("iss").and_then(Value::as_str) != Some(&*self.issuer) {
            return Err(Refusal::Issuer);
        }
        let is_for = |who: &Value| {
            let who = who.as_str();
            who.is_some_and(|who| self.audience.iter().any(|one| one == who))
        };
        let meant = match claims.get("aud") {
            Some(Value::Array(several)) => several.iter().any(is_for),
            Some(one) => is_for(one),
            None => false,
        };
        if !meant {
            return Err(Refusal::Audience);
        }
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (now, leeway) = (now.as_secs_f64(), self.leeway.as_secs_f64());
        let expires = claims.get("exp").ok_or(Refusal::Expired)?;
        if now >= date(expires)? + leeway {
            return Err(Refusal::Expired);
        }
        match claims.get("nbf") {
            Some(begins) if now + leeway < date(begins)? => Err(Refusal::NotYet),
            _ => Ok(()),
        }
    }
}

/// A `NumericDate` (RFC 7519, section 2).
fn date(value: &Value) -> Result<f64, Refusal> {
    let seconds = value.as_f64().filter(|seconds| seconds.is_finite());
    seconds.ok_or(Refusal::Malformed)
}

/// What backends are told. A claim that is not there is told by nothing; one that cannot be told is no good,
/// since a backend would take nothing for nobody.
pub(super) fn fields(
    claims: &Map<String, Value>,
    wanted: &[(String, HeaderName)],
) -> Result<Vec<(HeaderName, HeaderValue)>, Refusal> {
    let mut fields = Vec::with_capacity(wanted.len());
    for (claim, field) in wanted {
        let value = match claims.get(claim) {
            None | Some(Value::Null) => continue,
            Some(value) => text(value)?,
        };
        fields.push((field.clone(), field_value(&value)?));
    }
    Ok(fields)
}

fn text(value: &Value) -> Result<String, Refusal> {
    match value {
        Value::Array(items) => {
            let items = items.iter().map(|item| {
                // Whoever reads the list could not tell it from two items, or from none.
                let is_one =
                    |item: &String| !item.is_empty() && item.trim() == item && !item.contains(',');
                let item = scalar(item).filter(is_one);
                item.ok_or(Refusal::Claim)
            });
            Ok(items.collect::<Result<Vec<_>, _>>()?.join(","))
        }
        value => scalar(value).ok_or(Refusal::Claim),
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn field_value(text: &str) -> Result<HeaderValue, Refusal> {
    let legal = text.len() <= MAX_VALUE && text.trim() == text && !text.contains(char::is_control);
    let value = legal
        .then(|| HeaderValue::from_bytes(text.as_bytes()).ok())
        .flatten();
    let mut value = value.ok_or(Refusal::Claim)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Backends take at least 8 KiB of fields.
const MAX_VALUE: usize = 1024;

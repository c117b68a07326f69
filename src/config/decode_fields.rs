//! From the text of one value to what is about fields, addresses and where requests come from.

use http::HeaderName;

use super::decode::{Decode, mismatch, text, word};
use super::field_edits::{self, FieldLine};
use super::schema::Key;
use super::tree::{Entry, Value};
use super::{ForwardedField, Location, Template, TraceContext};
use crate::connect_udp::Network;

impl Decode for Vec<FieldLine> {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        each(entry, key, field_edits::line)
    }
}

impl Decode for Vec<HeaderName> {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        each(entry, key, field_edits::removed)
    }
}

impl Decode for Vec<Network> {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        each(entry, key, |network| {
            network
                .parse()
                .map_err(|error: crate::connect_udp::NetworkError| error.to_string())
        })
    }
}

impl Decode for Option<HeaderName> {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        match text(entry, key)? {
            "off" => Ok(None),
            name => field_edits::own_name(name)
                .map(Some)
                .map_err(|reason| format!("{name:?}: {reason}; expected {}", key.kind)),
        }
    }
}

impl Decode for Location {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        let text = text(entry, key)?;
        text.parse()
            .map_err(|error| format!("{text:?}: {error}; expected {}", key.kind))
    }
}

/// A media type has no variables, and is a type and a subtype at least.
impl Decode for Template {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        let text = text(entry, key)?;
        let wrong = || format!("{text:?}: expected {}", key.kind);
        let template: Self = text.parse().map_err(|_bad| wrong())?;
        let essence = text.split(';').next().unwrap_or_default();
        match (template.fixed(), essence.trim_end().split_once('/')) {
            (Some(_), Some((kind, subtype)))
                if super::names::token(kind).is_ok() && super::names::token(subtype).is_ok() =>
            {
                Ok(template)
            }
            _ => Err(wrong()),
        }
    }
}

impl Decode for ForwardedField {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        let words = [
            ("x-forwarded-for", Self::ForwardedFor),
            ("forwarded", Self::Forwarded),
        ];
        word(entry, key, &words)
    }
}

impl Decode for TraceContext {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        word(entry, key, &[("pass", Self::Pass), ("start", Self::Start)])
    }
}

/// Reads a list of bounded length.
fn each<T>(
    entry: &Entry,
    key: &Key,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let Value::List(items) = &entry.value else {
        return Err(mismatch(entry, key));
    };
    if items.len() > MAX_ITEMS {
        return Err(format!("more than {MAX_ITEMS} entries"));
    }
    items
        .iter()
        .map(|item| {
            let text = text(item, key)?;
            read(text).map_err(|reason| format!("{text:?}: {reason}"))
        })
        .collect()
}

const MAX_ITEMS: usize = 64;

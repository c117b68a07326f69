//! From the text of a value to its checked type, for the keys of pools.

use super::decode::{Decode, text, word};
use super::schema::Key;
use super::tree::Entry;
use super::{Alpn, HashBy, Probe, ProxyProtocol, names};
use crate::balance::Choice;

impl Decode for Choice {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        let words = [
            ("latency", Self::Latency),
            ("least_requests", Self::LeastRequests),
            ("round_robin", Self::RoundRobin),
            ("hash", Self::Hash),
        ];
        word(entry, key, &words)
    }
}

impl Decode for Alpn {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        let words = [
            ("any", Self::Any),
            ("http/1.1", Self::Http1),
            ("h2", Self::Http2),
        ];
        word(entry, key, &words)
    }
}

impl Decode for ProxyProtocol {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        word(entry, key, &[("off", Self::Off), ("v2", Self::V2)])
    }
}

impl Decode for HashBy {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        let text = text(entry, key)?;
        let name = |name: &str| {
            names::token(name)
                .map(|()| name.to_owned())
                .map_err(|reason| format!("{text:?}: {reason}; expected {}", key.kind))
        };
        match text.split_once(':') {
            None if text == "client" => Ok(Self::Client),
            None if text == "path" => Ok(Self::Path),
            Some(("header", field)) => name(&field.to_ascii_lowercase()).map(Self::Header),
            Some(("cookie", cookie)) => name(cookie).map(Self::Cookie),
            _ => Err(format!("{text:?}: expected {}", key.kind)),
        }
    }
}

impl Decode for Probe {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        match text(entry, key)? {
            "off" => Ok(Self::Off),
            "tcp" => Ok(Self::Tcp),
            "grpc" => Ok(Self::Grpc(String::new())),
            text => match text.strip_prefix("grpc:") {
                Some(service) => names::name(service).map(|()| Self::Grpc(service.to_owned())),
                None => names::request_path(text).map(|()| Self::Path(text.to_owned())),
            }
            .map_err(|reason| format!("{text:?}: {reason}; expected {}", key.kind)),
        }
    }
}

//! From the text of one value to its checked type, by the kind of its key.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::Origin;
use super::schema::{Key, Kind};
use super::tree::{Entry, Value};
use super::{
    AdminAddress, EarlyData, Keepalive, LogFormat, Profile, Return, Upstream, names, units,
};
use crate::cid::{ConfigId, FirstOctet};
use crate::connect_udp::{AllowList, Rule};
use crate::fleet::NodeId;

/// A type that some key's value has.
pub(super) trait Decode: Sized {
    /// Reads the value.
    ///
    /// # Errors
    /// A message that says what is wrong and what would be right.
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String>;
}

impl<T: Decode> Decode for Option<T> {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        T::decode(entry, key).map(Some)
    }
}

impl Decode for bool {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        match &entry.value {
            Value::Boolean(value) => Ok(*value),
            Value::Untyped(text) => text.parse().map_err(|_bad| mismatch(entry, key)),
            _ => Err(mismatch(entry, key)),
        }
    }
}

impl Decode for u8 {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        narrow(entry, key)
    }
}

impl Decode for u16 {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        narrow(entry, key)
    }
}

impl Decode for u32 {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        narrow(entry, key)
    }
}

impl Decode for u64 {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        narrow(entry, key)
    }
}

impl Decode for NodeId {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        Self::new(narrow(entry, key)?).map_err(|error| error.to_string())
    }
}

impl Decode for ConfigId {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        Self::new(narrow(entry, key)?).map_err(|error| error.to_string())
    }
}

impl Decode for Duration {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        let text = text(entry, key)?;
        let duration = units::parse_duration(text)
            .map_err(|error| format!("{text:?}: {error}; expected {}", key.kind))?;
        match key.kind {
            Kind::Duration(min, max) | Kind::DurationOrOff(min, max)
                if (min..=max).contains(&duration) =>
            {
                Ok(duration)
            }
            _ => Err(format!("{text:?} is out of range; expected {}", key.kind)),
        }
    }
}

impl Decode for Keepalive {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        match text(entry, key)? {
            "off" => Ok(Self::Off),
            _ => Duration::decode(entry, key).map(Self::After),
        }
    }
}

impl Decode for SocketAddr {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        let text = text(entry, key)?;
        match text.parse::<Self>() {
            Ok(address) if key.kind == Kind::Address || address.port() != 0 => Ok(address),
            Err(_) if key.kind == Kind::Servers => Err(format!(
                "{text:?}: a server is an IP address with a port, and no name; expected {}",
                key.kind
            )),
            _ => Err(format!("{text:?}: expected {}", key.kind)),
        }
    }
}

impl Decode for AdminAddress {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        let text = text(entry, key)?;
        if text == "off" {
            return Ok(Self::Off);
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() {
                Err(format!("{text:?}: expected {}", key.kind))
            } else {
                Ok(Self::Unix(relative(entry, path)))
            };
        }
        match text.parse::<SocketAddr>() {
            Ok(address) if address.ip().to_canonical().is_loopback() => Ok(Self::Tcp(address)),
            Ok(address) => Err(format!(
                "{address} is not a loopback address, and this listener asks nobody who they are; \
                 expected {}",
                key.kind
            )),
            Err(_) => Err(format!("{text:?}: expected {}", key.kind)),
        }
    }
}

impl Decode for PathBuf {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        let text = text(entry, key)?;
        if text.is_empty() {
            return Err(format!("expected {}", key.kind));
        }
        let path = relative(entry, text);
        if key.kind == Kind::File {
            readable(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        }
        Ok(path)
    }
}

impl Decode for String {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        let text = text(entry, key)?;
        let checked = match key.kind {
            Kind::Host => names::host_pattern(text),
            Kind::PathPrefix => names::path_prefix(text).map(|()| text.to_owned()),
            Kind::Name => names::name(text).map(|()| text.to_owned()),
            Kind::Token => names::token(text).map(|()| text.to_owned()),
            Kind::Visible => names::visible(text).map(|()| text.to_owned()),
            Kind::HttpsUrl => names::https_url(text).map(|()| text.to_owned()),
            Kind::Authority => names::authority(text),
            Kind::Text(max) if text.len() > max => Err("too long"),
            Kind::Text(_) => Ok(text.to_owned()),
            _ => names::log_filter(text).map(|()| text.to_owned()),
        };
        checked.map_err(|reason| format!("{text:?}: {reason}; expected {}", key.kind))
    }
}

impl Decode for Vec<Upstream> {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        some(entry, key, names::upstream)
    }
}

impl Decode for Upstream {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        let url = text(entry, key)?;
        names::upstream(url).map_err(|reason| format!("{url:?}: {reason}"))
    }
}

impl Decode for AllowList {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        some(entry, key, str::parse::<Rule>).map(Self::new)
    }
}

impl Decode for Vec<SocketAddr> {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        let Value::List(items) = &entry.value else {
            return Err(mismatch(entry, key));
        };
        let addresses = items.iter().map(|item| SocketAddr::decode(item, key));
        let addresses = addresses.collect::<Result<Self, _>>()?;
        if key.kind == Kind::Servers {
            let count = addresses.len();
            return ((1..=8).contains(&count).then_some(addresses))
                .ok_or_else(|| mismatch(entry, key));
        }
        let of_family = |v4| addresses.iter().filter(|one| one.is_ipv4() == v4).count();
        if of_family(true) > 1 || of_family(false) > 1 {
            return Err(format!("several of one family; expected {}", key.kind));
        }
        Ok(addresses)
    }
}

/// A command: its program and its arguments, none of which goes through a shell; or other texts.
impl Decode for Vec<String> {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        if key.kind == Kind::Texts {
            return some(entry, key, |text| {
                names::visible(text).map(|()| text.to_owned())
            });
        }
        let Value::List(items) = &entry.value else {
            return Err(mismatch(entry, key));
        };
        let words = items.iter().map(|item| text(item, key).map(str::to_owned));
        let words = words.collect::<Result<Self, _>>()?;
        match words.first() {
            Some(program) if program.is_empty() => {
                Err(format!("the program has no name; expected {}", key.kind))
            }
            _ => Ok(words),
        }
    }
}

impl Decode for Profile {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        word(
            entry,
            key,
            &[("wayhold", Self::Wayhold), ("aws-nlb", Self::AwsNlb)],
        )
    }
}

impl Decode for FirstOctet {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        word(
            entry,
            key,
            &[("random", Self::Random), ("length", Self::Length)],
        )
    }
}

impl Decode for EarlyData {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        word(entry, key, &[("off", Self::Off), ("owner", Self::Owner)])
    }
}

impl Decode for Return {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        word(
            entry,
            key,
            &[("direct", Self::Direct), ("ingress", Self::Ingress)],
        )
    }
}

impl Decode for LogFormat {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        word(entry, key, &[("text", Self::Text), ("json", Self::Json)])
    }
}

/// Reads a list of one item or more.
pub(super) fn some<T, E: std::fmt::Display>(
    entry: &Entry,
    key: &Key,
    read: impl Fn(&str) -> Result<T, E>,
) -> Result<Vec<T>, String> {
    match &entry.value {
        Value::List(items) if items.is_empty() => {
            Err(format!("the list is empty; expected {}", key.kind))
        }
        Value::List(items) => items
            .iter()
            .map(|item| {
                let text = text(item, key)?;
                read(text).map_err(|reason| format!("{text:?}: {reason}"))
            })
            .collect(),
        _ => Err(mismatch(entry, key)),
    }
}

/// The text of a value, from whichever layer.
pub(super) fn text<'e>(entry: &'e Entry, key: &Key) -> Result<&'e str, String> {
    match &entry.value {
        Value::String(text) | Value::Untyped(text) => Ok(text),
        _ => Err(mismatch(entry, key)),
    }
}

/// Resolves a path against where it was written.
pub(super) fn relative(entry: &Entry, path: &str) -> PathBuf {
    let directory = entry.origin.as_ref().map(Origin::directory);
    directory.unwrap_or_default().join(path)
}

/// Opens a regular file to see whether it can be read. Opening a pipe would wait for its writer.
fn readable(path: &Path) -> io::Result<()> {
    let metadata = path.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if metadata.is_file() {
        File::open(path)?;
    }
    Ok(())
}

pub(super) fn word<T: Copy>(entry: &Entry, key: &Key, words: &[(&str, T)]) -> Result<T, String> {
    let text = text(entry, key)?;
    let found = words.iter().find(|(word, _)| *word == text);
    found
        .map(|(_, value)| *value)
        .ok_or_else(|| format!("{text:?}: expected {}", key.kind))
}

/// Reads a number in the key's limits.
fn narrow<T: TryFrom<u64>>(entry: &Entry, key: &Key) -> Result<T, String> {
    let out_of_range = |shown: &dyn std::fmt::Display| {
        Err(format!("{shown} is out of range; expected {}", key.kind))
    };
    let number = match (&entry.value, key.kind) {
        (Value::Integer(number), _) => *number,
        (Value::String(text) | Value::Untyped(text), Kind::Size(..)) => units::parse_size(text)
            .map_err(|error| format!("{text:?}: {error}; expected {}", key.kind))?
            .into(),
        (Value::Untyped(text), _) => text.parse().map_err(|_bad| mismatch(entry, key))?,
        _ => return Err(mismatch(entry, key)),
    };
    let (Kind::Integer(min, max) | Kind::Size(min, max)) = key.kind else {
        return Err(mismatch(entry, key));
    };
    match u64::try_from(number) {
        Ok(number) if (min..=max).contains(&number) => {
            T::try_from(number).or_else(|_| out_of_range(&number))
        }
        _ => out_of_range(&number),
    }
}

pub(super) fn mismatch(entry: &Entry, key: &Key) -> String {
    match &entry.value {
        Value::Untyped(text) => format!("{text:?}: expected {}", key.kind),
        Value::Integer(number)
            if matches!(key.kind, Kind::Duration(..) | Kind::DurationOrOff(..)) =>
        {
            format!(
                "{number} has no unit; write \"{number}s\" for seconds; expected {}",
                key.kind
            )
        }
        value => format!("found {}, expected {}", value.describe(), key.kind),
    }
}

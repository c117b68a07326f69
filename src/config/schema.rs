//! What a key is: its path, its kind and limits, and how an unknown key is told from a known one.

use std::fmt;
use std::time::Duration;

use super::keys::KEYS;
use super::units;

/// One key of the configuration.
///
/// The table [`KEYS`] is the only list of keys: the loader knows no key that is not in it, and
/// docs/config.md is checked against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Key {
    /// The path from the top, joined by dots; `N` stands for the index of a list, from 0.
    pub path: &'static str,
    /// What its value may be.
    pub kind: Kind,
    /// The value that it has when it is not set, in words where it has none.
    pub default: &'static str,
    /// A value that differs from the default, as the environment or the command line would give it.
    pub example: &'static str,
    /// What it does, in one sentence.
    pub meaning: &'static str,
}

/// What the value of a key may be. Limits are inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Integer(u64, u64),
    /// A number of bytes: an integer, or a string such as `"64KiB"`.
    Size(u64, u64),
    /// A string of a number and a unit such as `"500ms"`.
    Duration(Duration, Duration),
    /// A duration, or `"off"`.
    DurationOrOff(Duration, Duration),
    /// One of these words.
    Word(&'static [&'static str]),
    /// An IP address and a port; port 0 lets the system choose.
    Address,
    /// An IP address and a port that is not 0.
    RelayAddress,
    /// A loopback address and port, `unix:` and a path, or `off`.
    AdminAddress,
    /// A host pattern.
    Host,
    /// The beginning of a URL's path.
    PathPrefix,
    /// Log levels, each for everything or for one target.
    LogFilter,
    /// The path of a file that exists and can be read.
    File,
    /// The path of a directory, which is made when it is needed.
    Directory,
    /// A list of backend URLs.
    Upstreams,
    /// A backend's URL.
    Upstream,
    /// Letters, digits, `-`, `_` and `.`.
    Name,
    /// A token (RFC 9110, section 5.6.2).
    Token,
    /// What a request is sent by.
    HashBy,
    /// How a backend is asked how it is.
    Probe,
    /// A list of UDP targets.
    UdpTargets,
    /// At most one IPv4 and one IPv6 address, each with a port that is not 0.
    Addresses,
    /// Socket addresses of servers, at least one and at most eight.
    Servers,
    /// A program and its arguments.
    Command,
    /// A number of requests in a second, a minute or an hour.
    Rate,
    /// Visible ASCII.
    Visible,
    /// A list of texts.
    Texts,
    /// A list of some of these words.
    Words(&'static [&'static str]),
    /// A URL of HTTPS.
    HttpsUrl,
    /// A list of claims and the fields that they go into.
    Claims,
    /// A list of fields with their values.
    Fields,
    /// A list of field names.
    FieldNames,
    /// A field name of one's own, or `"off"`.
    FieldNameOrOff,
    /// A list of networks of IP addresses.
    Networks,
    /// A host with or without a port.
    Authority,
    /// Where a redirect leads.
    Location,
    /// The media type of a body.
    MediaType,
    /// Any text of at most so many bytes.
    Text(usize),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Integer(min, max) => write!(f, "an integer from {min} to {max}"),
            Self::Size(min, max) => {
                write!(f, "bytes, {} to {}", units::Size(min), units::Size(max))
            }
            Self::Duration(min, max) => {
                write!(
                    f,
                    "a duration, {} to {}",
                    units::Span(min),
                    units::Span(max)
                )
            }
            Self::DurationOrOff(min, max) => {
                write!(
                    f,
                    "a duration, {} to {}, or \"off\"",
                    units::Span(min),
                    units::Span(max)
                )
            }
            Self::Word(words) => {
                for (index, word) in words.iter().enumerate() {
                    let joint = if index == 0 { "" } else { " or " };
                    write!(f, "{joint}\"{word}\"")?;
                }
                Ok(())
            }
            Self::Text(max) => write!(f, "text of at most {max} bytes"),
            Self::Words(words) => write!(f, "a list of {}", words.join(", ")),
            kind => f.write_str(kind.form()),
        }
    }
}

impl Kind {
    /// What values without limits of their own look like.
    fn form(self) -> &'static str {
        match self {
            Self::Boolean => "true or false",
            Self::Address => "an IP address and a port such as \"[::]:443\"",
            Self::RelayAddress => "an IP address and a port other than 0 such as \"10.0.0.1:4434\"",
            Self::AdminAddress => {
                "\"unix:PATH\", a loopback address such as \"127.0.0.1:9090\", or \"off\""
            }
            Self::Host => "a host pattern such as \"*.example.org\"",
            Self::PathPrefix => "a path that begins with \"/\"",
            Self::LogFilter => "log levels such as \"info\" or \"wayhold=debug,warn\"",
            Self::File => "the path of a file",
            Self::Directory => "the path of a directory",
            Self::Command => "a list of words such as [\"ip\", \"route\"]",
            Self::Fields => "a list of fields such as [\"x-env: prod\"]",
            Self::FieldNames => "a list of field names such as [\"x-debug\"]",
            Self::FieldNameOrOff => "a field name of your own such as \"x-request-id\", or \"off\"",
            Self::Networks => "a list of networks such as [\"10.0.0.0/8\"]",
            Self::Authority => "a host such as \"app.internal\" or \"app:8080\"",
            Self::Location => "a URL such as \"https://www.example.org{path}{query}\", or a path",
            Self::MediaType => "a media type such as \"text/html\"",
            Self::Addresses => {
                "a list of at most one IPv4 and one IPv6 address such as [\"192.0.2.1:443\"]"
            }
            Self::Servers => "a list of one to eight addresses such as [\"10.0.0.2:53\"]",
            Self::UdpTargets => {
                "a list of hosts or networks with ports such as [\"dns.example:53\"]"
            }
            Self::Upstreams => "a list of URLs such as [\"http://10.0.0.1:8080\"]",
            Self::Upstream => "a URL such as \"http://10.0.0.1:8080\"",
            Self::Name => "a name of letters, digits, \"-\", \"_\" and \".\"",
            Self::Token => "a token such as \"session\"",
            Self::HashBy => "\"client\", \"path\", \"header:NAME\" or \"cookie:NAME\"",
            Self::Rate => "1 to 1000000 in a time such as \"100/s\", \"10/m\" or \"500/h\"",
            Self::Visible => "1 to 255 visible ASCII characters",
            Self::Texts => "a list of texts such as [\"api\", \"shop\"]",
            Self::HttpsUrl => "a URL such as \"https://login.example.org/jwks.json\"",
            Self::Claims => "a list of claims with fields such as [\"sub: x-user\"]",
            Self::Probe => {
                "\"off\", \"tcp\", \"grpc\", \"grpc:SERVICE\" or a path such as \"/healthz\""
            }
            // These have limits, and their words are made.
            Self::Integer(..)
            | Self::Size(..)
            | Self::Duration(..)
            | Self::DurationOrOff(..)
            | Self::Word(_)
            | Self::Text(_)
            | Self::Words(_) => "",
        }
    }

    /// Whether a value is a list, which is written with commas, or for a command with spaces, outside of
    /// files.
    pub(super) fn is_list(&self) -> bool {
        matches!(
            self,
            Self::Upstreams
                | Self::UdpTargets
                | Self::Addresses
                | Self::Servers
                | Self::Command
                | Self::Fields
                | Self::FieldNames
                | Self::Networks
                | Self::Texts
                | Self::Words(_)
                | Self::Claims
        )
    }
}

/// What stands at a path of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A value.
    Value(&'static Key),
    /// A table of named entries.
    Table,
    /// A list of tables.
    List,
}

/// Finds what stands at a path, if anything may.
pub(super) fn shape(path: &str) -> Option<Shape> {
    if path.is_empty() {
        return Some(Shape::Table);
    }
    KEYS.iter().find_map(|key| {
        let rest = rest_after(key.path, path)?;
        Some(match rest.first() {
            None => Shape::Value(key),
            Some(&INDEX) => Shape::List,
            Some(_) => Shape::Table,
        })
    })
}

/// Says which key was meant by an unknown one: the nearest in the same table or of all, one of the
/// same name elsewhere, or else every name of the table.
pub(super) fn hint(path: &str) -> String {
    let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
    let siblings = children(parent);
    // A name is short, so half of it may be wrong; a path is long and mostly other names.
    if let Some(near) = nearest(name, siblings.iter().copied(), 2) {
        return format!("did you mean \"{near}\"?");
    }
    let paths = || KEYS.iter().map(|key| key.path);
    let same_name = |key: &&str| key.rsplit_once('.').map_or(*key, |(_, last)| last) == name;
    match nearest(path, paths(), 3).or_else(|| paths().find(same_name)) {
        Some(near) => format!("did you mean \"{}\"?", near.replace(".N", ".0")),
        None if siblings.is_empty() => "nothing can be set here".into(),
        None => format!("known here: {}", siblings.join(", ")),
    }
}

/// The names that may stand in the table at a path, sorted.
fn children(parent: &str) -> Vec<&'static str> {
    let mut names: Vec<_> = KEYS
        .iter()
        .filter_map(|key| rest_after(key.path, parent)?.first().copied())
        .collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|name| *name != INDEX);
    names
}

/// The segments of a key's path that follow `path`, if the key is at or under it.
fn rest_after(key: &'static str, path: &str) -> Option<Vec<&'static str>> {
    let mut segments = key.split('.');
    for wanted in path.split('.').filter(|_| !path.is_empty()) {
        let segment = segments.next()?;
        let matches = match segment {
            INDEX => is_index(wanted),
            name => name == wanted,
        };
        if !matches {
            return None;
        }
    }
    Some(segments.collect())
}

/// The nearest of the known names, if at most one in `share` of the letters must change.
fn nearest(
    name: &str,
    known: impl Iterator<Item = &'static str>,
    share: usize,
) -> Option<&'static str> {
    let allowed = (name.chars().count() / share).max(1);
    // Half a word is a frequent mistake: `nonce` for `nonce_len`, `address` for `addr`.
    let part = |known: &str| name.len() > 2 && (known.starts_with(name) || name.starts_with(known));
    known
        .map(|known| {
            let distance = strsim::damerau_levenshtein(name, known);
            (if part(known) { 1 } else { distance }, known)
        })
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, known)| known)
}

/// Whether a segment is an index, written in the one canonical way.
pub(super) fn is_index(segment: &str) -> bool {
    segment
        .parse::<usize>()
        .is_ok_and(|index| index.to_string() == segment)
}

/// Stands for an index in the paths of [`KEYS`].
pub(super) const INDEX: &str = "N";

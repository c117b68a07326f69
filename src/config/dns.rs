use std::net::SocketAddr;
use std::time::Duration;

use super::decode::{Decode, word};
use super::schema::Key;
use super::tree::Entry;

/// How the names of backends are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dns {
    /// The servers that are asked. Default those of `/etc/resolv.conf`.
    pub servers: Vec<SocketAddr>,
    /// An answer is good for this long at least, whatever its TTL. Default 1 s.
    pub min_ttl: Duration,
    /// An answer is good for this long at most. Default 60 s.
    pub max_ttl: Duration,
    /// In which a name has to be answered, with everything that belongs to it. Default 5 s.
    pub timeout: Duration,
    /// Which addresses are asked for. Default both.
    pub families: Families,
}

/// Which addresses are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Families {
    /// `both`: A and AAAA.
    #[default]
    Both,
    /// `ipv4`: A.
    Ipv4,
    /// `ipv6`: AAAA.
    Ipv6,
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            min_ttl: Duration::from_secs(1),
            max_ttl: Duration::from_mins(1),
            timeout: Duration::from_secs(5),
            families: Families::default(),
        }
    }
}

impl Decode for Families {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        let words = [
            ("both", Self::Both),
            ("ipv4", Self::Ipv4),
            ("ipv6", Self::Ipv6),
        ];
        word(entry, key, &words)
    }
}

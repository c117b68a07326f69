//! The keys of looking up the names of backends.

use std::time::Duration;

use super::schema::{Key, Kind};

/// `dns`.
pub(super) const DNS_KEYS: &[Key] = &[
    Key {
        path: "dns.servers",
        kind: Kind::Servers,
        default: "those of /etc/resolv.conf",
        example: "10.0.0.2:53,10.0.0.3:53",
        meaning: "The servers that are asked for the names of backends.",
    },
    Key {
        path: "dns.families",
        kind: Kind::Word(&["both", "ipv4", "ipv6"]),
        default: "both",
        example: "ipv4",
        meaning: "Which addresses are asked for: A and AAAA, or one of them.",
    },
    Key {
        path: "dns.min_ttl",
        kind: Kind::Duration(Duration::from_millis(100), HOUR),
        default: "1s",
        example: "5s",
        meaning: "An answer is good for this long at least, and less a tenth, whatever its TTL.",
    },
    Key {
        path: "dns.max_ttl",
        kind: Kind::Duration(Duration::from_millis(100), HOUR),
        default: "60s",
        example: "10s",
        meaning: "An answer is good for this long at most.",
    },
    Key {
        path: "dns.timeout",
        kind: Kind::Duration(Duration::from_millis(10), Duration::from_mins(1)),
        default: "5s",
        example: "2s",
        meaning: "In which a name has to be answered, with everything that belongs to it.",
    },
];

const HOUR: Duration = Duration::from_hours(1);

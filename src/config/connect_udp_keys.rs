//! The keys of tunnels of UDP.

use std::time::Duration;

use super::schema::{Key, Kind};

/// Tunnels of UDP, in the order of docs/config.md.
pub(super) const CONNECT_UDP_KEYS: &[Key] = &[
    Key {
        path: "route.N.connect_udp",
        kind: Kind::UdpTargets,
        default: "none",
        example: "dns.example:53,*.media.example:8000-8999,[2001:db8::]/32:443",
        meaning: "Takes tunnels of UDP (RFC 9298) to these targets, in place of requests to \
                  backends. Each is `HOST:PORTS`: a name, `*.` and a name for all below it, an \
                  address or a network; one port, two with `-` between, or `*`.",
    },
    Key {
        path: "connect_udp.tunnels",
        kind: Kind::Integer(1, 1_000_000),
        default: "1024",
        example: "200",
        meaning: "Open tunnels of UDP in all, each of which has a socket.",
    },
    Key {
        path: "connect_udp.tunnels_per_client",
        kind: Kind::Integer(1, 1_000_000),
        default: "32",
        example: "4",
        meaning: "Open tunnels of one client: an IPv4 address, or 64 bits of an IPv6 address.",
    },
    Key {
        path: "connect_udp.idle_timeout",
        kind: Kind::Duration(Duration::from_mins(2), Duration::from_hours(24)),
        default: "120s",
        example: "10m",
        meaning: "A tunnel without a packet either way for this long is closed.",
    },
    Key {
        path: "connect_udp.payload_bytes",
        kind: Kind::Integer(1200, 65527),
        default: "1500",
        example: "1350",
        meaning: "The largest UDP payload in bytes that is passed on, either way; larger ones are \
                  dropped.",
    },
    Key {
        path: "connect_udp.queue",
        kind: Kind::Integer(16, 4096),
        default: "64",
        example: "256",
        meaning: "Packets of one tunnel that wait, each way; more are dropped.",
    },
    Key {
        path: "connect_udp.resolve_timeout",
        kind: Kind::Duration(Duration::from_millis(10), Duration::from_mins(1)),
        default: "5s",
        example: "2s",
        meaning: "To find the addresses of a target that is a name.",
    },
];

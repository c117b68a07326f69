//! The one table of every key. The tables of docs/config.md are made from it.

use std::time::Duration;

use super::connect_udp_keys::CONNECT_UDP_KEYS;
use super::dns_keys::DNS_KEYS;
use super::fleet_keys::FLEET_KEYS;
use super::gate_keys::GATE_KEYS;
use super::listen_keys::LISTEN_KEYS;
use super::operating_keys::OPERATING_KEYS;
use super::pool_keys::POOL_KEYS;
use super::provenance_keys::PROVENANCE_KEYS;
use super::route_keys::ROUTE_KEYS;
use super::schema::{Key, Kind};

/// Every key of the configuration, in the order of docs/config.md.
pub static KEYS: &[Key] = &JOINED;

const PARTS: [&[Key]; 11] = [
    PROCESS_KEYS,
    LISTEN_KEYS,
    ROUTE_KEYS,
    GATE_KEYS,
    POOL_KEYS,
    DNS_KEYS,
    CONNECT_UDP_KEYS,
    PROVENANCE_KEYS,
    FLEET_KEYS,
    TRANSPORT_KEYS,
    OPERATING_KEYS,
];

static JOINED: [Key; count_all()] = {
    let mut keys = [PROCESS_KEYS[0]; _];
    let (mut part, mut index, mut joined) = (0, 0, 0);
    while joined < keys.len() {
        if index == PARTS[part].len() {
            (part, index) = (part + 1, 0);
        } else {
            keys[joined] = PARTS[part][index];
            (index, joined) = (index + 1, joined + 1);
        }
    }
    keys
};

const fn count_all() -> usize {
    let (mut part, mut count) = (0, 0);
    while part < PARTS.len() {
        count += PARTS[part].len();
        part += 1;
    }
    count
}

/// The process.
const PROCESS_KEYS: &[Key] = &[
    Key {
        path: "state_dir",
        kind: Kind::Directory,
        default: "$XDG_STATE_HOME/wayhold, else ~/.local/state/wayhold, else /var/lib/wayhold",
        example: "/var/lib/wayhold-blue",
        meaning: "Where the development certificate and other made files live.",
    },
    Key {
        path: "runtime_dir",
        kind: Kind::Directory,
        default: "run in state_dir",
        example: "/run/wayhold",
        meaning: "Where the live processes of this node find each other; of its user alone.",
    },
    Key {
        path: "workers",
        kind: Kind::Integer(1, 64),
        default: "the number of cores, at most 64",
        example: "4",
        meaning: "QUIC endpoints of each listener, each with a UDP socket of its own.",
    },
];

/// QUIC, and bounds on what clients hold and on time.
const TRANSPORT_KEYS: &[Key] = &[
    Key {
        path: "quic.idle_timeout",
        kind: Kind::Duration(Duration::from_millis(100), HOUR),
        default: "120s",
        example: "90s",
        meaning: "A connection without any packet for this long ends.",
    },
    Key {
        path: "quic.keep_alive",
        kind: Kind::DurationOrOff(Duration::from_millis(10), HOUR),
        default: "25s",
        example: "off",
        meaning: "How long a connection is silent before the gateway pings; less than \
                  `idle_timeout`.",
    },
    Key {
        path: "quic.stream_receive_window",
        kind: Kind::Size(16 << 10, 1 << 30),
        default: "512KiB",
        example: "256KiB",
        meaning: "Bytes a client may send ahead on one stream; at most `receive_window`.",
    },
    Key {
        path: "quic.receive_window",
        kind: Kind::Size(16 << 10, 1 << 30),
        default: "512KiB",
        example: "8MiB",
        meaning: "Bytes a client may send ahead on all streams of a connection.",
    },
    Key {
        path: "quic.send_window",
        kind: Kind::Size(16 << 10, 1 << 30),
        default: "4MiB",
        example: "8MiB",
        meaning: "Bytes of responses held for one connection until they are acknowledged, at most; \
                  512KiB until its path has carried more than half of that at once.",
    },
    Key {
        path: "quic.max_udp_payload",
        kind: Kind::Integer(1200, 65527),
        default: "1400",
        example: "1350",
        meaning: "The largest UDP payload in bytes that is ever sent; also bounds the MTU search.",
    },
    Key {
        path: "quic.initial_mtu",
        kind: Kind::Integer(1200, 65527),
        default: "1200",
        example: "1350",
        meaning: "The UDP payload in bytes with which connections begin; at most `max_udp_payload`, \
                  and safe above 1200 only where every path is known to carry it.",
    },
    Key {
        path: "quic.mtu_discovery",
        kind: Kind::Boolean,
        default: "true",
        example: "false",
        meaning: "Whether connections look for a larger payload, up to `max_udp_payload`.",
    },
    Key {
        path: "quic.initial_rtt",
        kind: Kind::Duration(Duration::from_millis(1), Duration::from_secs(10)),
        default: "333ms",
        example: "100ms",
        meaning: "The round-trip time that is assumed until one is measured: three times as long a \
                  lost first flight is repeated.",
    },
    Key {
        path: "quic.retry",
        kind: Kind::Boolean,
        default: "false",
        example: "true",
        meaning: "Whether every new address is answered with a Retry, at the cost of one round \
                  trip. Otherwise this happens only while more than half of `limits.handshakes` \
                  are under way.",
    },
    Key {
        path: "quic.retry_token_lifetime",
        kind: Kind::Duration(Duration::from_secs(1), Duration::from_mins(10)),
        default: "90s",
        example: "30s",
        meaning: "How long a Retry may be answered, beside 60s by which clocks may differ.",
    },
    Key {
        path: "quic.early_data",
        kind: Kind::Word(&["off", "owner"]),
        default: "off",
        example: "owner",
        meaning: "Whether QUIC clients resume at the `owner` only, and may send early data there.",
    },
    Key {
        path: "quic.preferred_address",
        kind: Kind::Addresses,
        default: "no address",
        example: "192.0.2.9:4433,[2001:db8::9]:4433",
        meaning: "Addresses to which clients are asked to move once they are connected.",
    },
    Key {
        path: "quic.cid_lifetime",
        kind: Kind::Duration(Duration::from_secs(1), DAY),
        default: "300s",
        example: "600s",
        meaning: "The connection IDs of open connections are replaced after this time; more than \
                  `idle_timeout`, or losses may end connections.",
    },
    Key {
        path: "tcp.early_data",
        kind: Kind::Word(&["off", "owner"]),
        default: "off",
        example: "owner",
        meaning: "Whether TCP clients resume at the `owner` only, and may send early data there.",
    },
    Key {
        path: "tcp.fast_open",
        kind: Kind::Integer(0, 65535),
        default: "0",
        example: "256",
        meaning: "Clients that wait to be accepted and sent data with their SYN (TCP Fast Open), at \
                  most; 0 is off.",
    },
    Key {
        path: "limits.connections",
        kind: Kind::Integer(1, 10_000_000),
        default: "100000",
        example: "20000",
        meaning: "Open connections, QUIC and TCP counted apart.",
    },
    Key {
        path: "limits.handshakes",
        kind: Kind::Integer(1, 1_000_000),
        default: "1024",
        example: "256",
        meaning: "Connections whose handshake is not complete, QUIC and TCP counted apart.",
    },
    Key {
        path: "limits.streams",
        kind: Kind::Integer(1, 65535),
        default: "128",
        example: "64",
        meaning: "Concurrent requests on one connection.",
    },
    Key {
        path: "limits.header_bytes",
        kind: Kind::Size(1 << 10, 1 << 20),
        default: "32KiB",
        example: "64KiB",
        meaning: "Bytes of a request's header section: name, value and 32 for each field.",
    },
    Key {
        path: "limits.header_fields",
        kind: Kind::Integer(8, 4096),
        default: "128",
        example: "100",
        meaning: "Fields of a request's header section.",
    },
    Key {
        path: "limits.body_bytes",
        kind: Kind::Size(0, 1 << 50),
        default: "0",
        example: "100MiB",
        meaning: "Bytes of a request body; 0 means no limit.",
    },
    Key {
        path: "limits.body_rate",
        kind: Kind::Integer(0, 1 << 30),
        default: "16",
        example: "500",
        meaning: "Bytes of a body each second, averaged over `timeouts.body_idle` of waiting for the \
                  client, with which a request is sent until its response begins, and with which \
                  a response is taken; 0 means no rate.",
    },
    Key {
        path: "limits.client_ipv4_prefix",
        kind: Kind::Integer(8, 32),
        default: "24",
        example: "32",
        meaning: "How many bits of an IPv4 address tell one client from another where a route limits \
                  the rate of each.",
    },
    Key {
        path: "limits.client_ipv6_prefix",
        kind: Kind::Integer(16, 64),
        default: "56",
        example: "64",
        meaning: "How many bits of an IPv6 address do.",
    },
    Key {
        path: "limits.client_rates",
        kind: Kind::Integer(1024, 16 << 20),
        default: "65536",
        example: "1048576",
        meaning: "Clients whose requests are counted for each route with a `client_rate`; 16 bytes each.",
    },
    Key {
        path: "limits.upstream_idle",
        kind: Kind::Integer(0, 1_000_000),
        default: "256",
        example: "64",
        meaning: "Idle connections kept to each backend.",
    },
    Key {
        path: "limits.upstream_requests",
        kind: Kind::Integer(1, 1_000_000),
        default: "4096",
        example: "1000",
        meaning: "Requests under way to each backend.",
    },
    Key {
        path: "limits.tunnel_queue",
        kind: Kind::Integer(16, 1 << 20),
        default: "4096",
        example: "8192",
        meaning: "Datagrams from peers and other workers that wait for an endpoint.",
    },
    Key {
        path: "limits.early_sessions",
        kind: Kind::Integer(16, 1 << 24),
        default: "65536",
        example: "10000",
        meaning: "Sessions kept for early data, two for each handshake, for at most 24 hours.",
    },
    Key {
        path: "timeouts.handshake",
        kind: TIMEOUT,
        default: "10s",
        example: "5s",
        meaning: "From the first packet to a complete handshake.",
    },
    Key {
        path: "timeouts.header",
        kind: TIMEOUT,
        default: "10s",
        example: "5s",
        meaning: "From the first byte of a request to its complete header section.",
    },
    Key {
        path: "timeouts.body_idle",
        kind: TIMEOUT,
        default: "60s",
        example: "30s",
        meaning: "Between two pieces of a request or response body.",
    },
    Key {
        path: "timeouts.tunnel_idle",
        kind: TIMEOUT,
        default: "10m",
        example: "1h",
        meaning: "A WebSocket or another tunnel in which nothing passes either way for this long ends; \
                  also between two pieces of server-sent events, or of a call of gRPC once its \
                  response has begun.",
    },
    Key {
        path: "timeouts.connect",
        kind: TIMEOUT,
        default: "2s",
        example: "500ms",
        meaning: "To connect to a backend.",
    },
    Key {
        path: "timeouts.first_byte",
        kind: TIMEOUT,
        default: "60s",
        example: "5m",
        meaning: "From the last byte of the request to the response's header section.",
    },
    Key {
        path: "timeouts.idle",
        kind: TIMEOUT,
        default: "120s",
        example: "75s",
        meaning: "A connection of a client without a request for this long ends.",
    },
    Key {
        path: "timeouts.upstream_idle",
        kind: TIMEOUT,
        default: "30s",
        example: "15s",
        meaning: "An idle connection to a backend is closed after this time.",
    },
    Key {
        path: "timeouts.total",
        kind: Kind::Duration(Duration::ZERO, DAY),
        default: "0s",
        example: "2m",
        meaning: "From a request's complete header section to the last byte of its response, with \
                  everything that is sent again; 0 is any time. Tunnels have no end by this.",
    },
];

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const TIMEOUT: Kind = Kind::Duration(Duration::from_millis(1), DAY);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::test_directory::TestDirectory;
    use crate::config::{Config, Setting, Sources, load};

    /// A configuration in which the key can be set.
    fn surroundings(directory: &TestDirectory, key: &Key) -> Sources {
        let needed = [
            ("listen.0.cert", directory.path("old.pem")),
            ("listen.0.key", directory.path("old.key")),
            ("listen.0.certificate.0.cert", directory.path("old.pem")),
            ("listen.0.certificate.0.key", directory.path("old.key")),
            ("listen.0.client_auth", "optional".into()),
            ("listen.0.client_ca", directory.path("old.pem")),
            ("route.0.to", "http://127.0.0.1:1".into()),
            ("pool.0.name", "other".into()),
            ("pool.0.to", "https://127.0.0.1:2".into()),
            ("pool.0.backend.0.url", "https://127.0.0.1:4".into()),
            ("pool.0.client_cert", directory.path("old.pem")),
            ("pool.0.client_key", directory.path("old.key")),
            ("pool.1.name", "app".into()),
            ("pool.1.to", "http://127.0.0.1:3".into()),
            ("node.id", "3".into()),
            ("fleet.key_file", directory.path("old.fleet.key")),
            ("fleet.member.0.id", "3".into()),
            ("fleet.member.0.relay", "127.0.0.1:9".into()),
            ("fleet.member.1.id", "1".into()),
            ("fleet.member.1.relay", "127.0.0.1:8".into()),
        ];
        let mut needed = needed.to_vec();
        needed.extend(gate(directory, key));
        let from_file = key.path == "fleet.file";
        // A route leads to one of these.
        let redirects = key.path.starts_with("route.N.redirect");
        let responds = key.path.starts_with("route.N.respond") && !key.path.contains("response");
        let elsewhere = matches!(key.path, "route.N.pool" | "route.N.connect_udp");
        let elsewhere = elsewhere || redirects || responds;
        let answers = [
            (redirects, ("route.0.redirect", "/elsewhere".to_owned())),
            (responds, ("route.0.respond", "404".to_owned())),
        ];
        let answers = answers.into_iter().filter(|(wanted, _)| *wanted);
        let settings = needed
            .into_iter()
            .filter(|(path, _)| !(from_file && path.starts_with("fleet")))
            .filter(|(path, _)| !(elsewhere && *path == "route.0.to"))
            .chain(answers.map(|(_, answer)| answer))
            .map(|(path, value)| Setting::flag("--set", path, value))
            .collect();
        Sources {
            file: None,
            environment: aws(),
            settings,
        }
    }

    /// What a key of rates or tokens needs around it.
    fn gate(directory: &TestDirectory, key: &Key) -> Vec<(&'static str, String)> {
        match key.path {
            "route.N.rate_burst" => return vec![("route.0.rate", "7/s".into())],
            "route.N.client_burst" => return vec![("route.0.client_rate", "7/s".into())],
            path if path.starts_with("jwt.") || path == "route.N.jwt" => {}
            _ => return Vec::new(),
        }
        let (source, algorithm) = match key.path {
            "jwt.N.secret_file" => (("jwt.0.secret_file", directory.path("old.secret")), "HS256"),
            "jwt.N.jwks_url" | "jwt.N.jwks_ca" => {
                (("jwt.0.jwks_url", "https://old.test/".into()), "RS256")
            }
            _ => (("jwt.0.jwks_file", directory.path("old.jwks")), "RS256"),
        };
        vec![
            source,
            ("jwt.0.algorithms", algorithm.into()),
            ("jwt.0.name", "login".into()),
            ("jwt.0.issuer", "https://old.test/".into()),
            ("jwt.0.audience", "old".into()),
        ]
    }

    fn aws() -> Vec<(String, String)> {
        vec![("AWS_LBC_QUIC_SERVER_ID".into(), "ASNFZ4mrze8=".into())]
    }

    #[test]
    fn every_key_is_read() {
        let directory = TestDirectory::with_files(&[
            "old.pem",
            "old.key",
            "old.fleet.key",
            "old.jwks",
            "old.secret",
            "jwks.json",
            "jwt.key",
            "ca.pem",
            "tls.pem",
            "tls.key",
            "shop.pem",
            "shop.key",
            "clients.pem",
            "clients.crl",
            "fleet.key",
        ]);
        directory.write("tls.pem", "no certificate");
        directory.write(
            "fleet.toml",
            "key_file = \"fleet.key\"\nmember = [{ id = 3, relay = \"127.0.0.1:9\" }]\n",
        );
        for key in KEYS {
            let mut sources = surroundings(&directory, key);
            let without = load(&sources).unwrap();
            let path = key.path.replace(".N", ".0");
            let value = match key.kind {
                Kind::File => directory.path(key.example),
                _ => key.example.to_owned(),
            };
            // A member that changes its ID must not be this node.
            let path = path.replace("member.0.id", "member.1.id");
            sources.settings.push(Setting::flag("--set", &path, value));
            let with = load(&sources).unwrap_or_else(|errors| panic!("{path}: {errors}"));
            assert_ne!(without, with, "{path} changes nothing");
        }
    }

    #[test]
    fn every_default_is_what_no_key_gives() {
        for key in KEYS {
            // A list has no first entry, and words are no value.
            let listed = ["route.", "pool.", "jwt.", "fleet."]
                .iter()
                .any(|list| key.path.starts_with(list));
            if listed || key.default.contains(' ') || key.default == "none" {
                continue;
            }
            let path = key.path.replace(".N", ".0");
            let settings = vec![Setting::flag("--set", &path, key.default)];
            let loaded = load(&Sources {
                settings,
                ..Sources::default()
            });
            assert_eq!(loaded, Ok(Config::default()), "{path}");
        }
    }
}

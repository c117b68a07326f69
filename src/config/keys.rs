//! The one table of every key. docs/config.md is checked against it.

use std::time::Duration;

use super::operating_keys::OPERATING_KEYS;
use super::schema::{Key, Kind};

/// Every key of the configuration, in the order of docs/config.md.
pub static KEYS: &[Key] = &JOINED;

const JOINED: [Key; SERVING_KEYS.len() + OPERATING_KEYS.len()] = {
    let mut keys = [SERVING_KEYS[0]; _];
    let mut index = 0;
    while index < keys.len() {
        keys[index] = if index < SERVING_KEYS.len() {
            SERVING_KEYS[index]
        } else {
            OPERATING_KEYS[index - SERVING_KEYS.len()]
        };
        index += 1;
    }
    keys
};

/// What concerns clients, backends and peers.
const SERVING_KEYS: &[Key] = &[
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
    Key {
        path: "listen.N.addr",
        kind: Kind::Address,
        default: "[::]:4433",
        example: "192.0.2.1:443",
        meaning: "The address of the UDP and the TCP socket; `[::]` also takes IPv4, and port 0 \
                  lets the system choose.",
    },
    Key {
        path: "listen.N.cert",
        kind: Kind::File,
        default: "a development certificate",
        example: "tls.pem",
        meaning: "The certificate chain in PEM; only together with `key`.",
    },
    Key {
        path: "listen.N.key",
        kind: Kind::File,
        default: "the development certificate's key",
        example: "tls.key",
        meaning: "The private key in PEM; only together with `cert`.",
    },
    Key {
        path: "listen.N.tcp",
        kind: Kind::Boolean,
        default: "true",
        example: "false",
        meaning: "Whether HTTP/2 and HTTP/1.1 are served over TCP too.",
    },
    Key {
        path: "listen.N.public_port",
        kind: Kind::Integer(1, 65535),
        default: "the port of addr",
        example: "8443",
        meaning: "The port that Alt-Svc names, where clients reach another one than the port of \
                  `addr`.",
    },
    Key {
        path: "route.N.host",
        kind: Kind::Host,
        default: "every host",
        example: "*.example.org",
        meaning: "The host without a port, in any case; `*.example.org` matches one or more \
                  labels before it.",
    },
    Key {
        path: "route.N.path",
        kind: Kind::PathPrefix,
        default: "/",
        example: "/api",
        meaning: "The beginning of the path, matched at a segment boundary: `/api` matches \
                  `/api/x` and not `/apix`.",
    },
    Key {
        path: "route.N.to",
        kind: Kind::Upstreams,
        default: "none",
        example: "http://10.0.0.1:8080,h2://10.0.0.2:8080",
        meaning: "The backends, any of which can serve any request: `http://` speaks HTTP/1.1, \
                  `h2://` HTTP/2 without TLS.",
    },
    Key {
        path: "node.id",
        kind: Kind::Integer(0, 0x00ff_ffff),
        default: "0",
        example: "1",
        meaning: "The node's ID, unique in the fleet; required when there is a fleet.",
    },
    Key {
        path: "node.instance",
        kind: Kind::Integer(0, 255),
        default: "random at each start",
        example: "7",
        meaning: "The instance byte of connection IDs, which tells two processes of one node \
                  apart.",
    },
    Key {
        path: "fleet.file",
        kind: Kind::File,
        default: "none",
        example: "fleet.toml",
        meaning: "A file with the keys of this table, which every node shares unchanged; keys \
                  beside it win, except `member`.",
    },
    Key {
        path: "fleet.key_file",
        kind: Kind::File,
        default: "none",
        example: "fleet.key",
        meaning: "The file with the fleet's key, mode 0600, from `wayhold keys init`.",
    },
    Key {
        path: "fleet.link_mtu",
        kind: Kind::Integer(1280, 65535),
        default: "1500",
        example: "9000",
        meaning: "The MTU of the links between nodes in bytes; it also bounds `quic.max_udp_payload`, so \
                  that what a client sends fits through the tunnel.",
    },
    Key {
        path: "fleet.heartbeat",
        kind: Kind::Duration(Duration::from_millis(50), Duration::from_secs(1)),
        default: "200ms",
        example: "250ms",
        meaning: "Between two heartbeats to each peer; the round trip between two nodes must be shorter \
                  than three.",
    },
    Key {
        path: "fleet.silent_after",
        kind: Kind::Duration(Duration::from_millis(150), Duration::from_secs(30)),
        default: "800ms",
        example: "2s",
        meaning: "A peer that proves nothing for this long is silent, and dead once more than half of \
                  the members say so; at least three heartbeats.",
    },
    Key {
        path: "fleet.dead_after",
        kind: Kind::Duration(Duration::from_secs(1), Duration::from_mins(10)),
        default: "10s",
        example: "30s",
        meaning: "In a fleet of two nodes, where there is no majority, a peer that proves nothing for \
                  this long is dead; at least `fleet.silent_after`.",
    },
    Key {
        path: "fleet.return",
        kind: Kind::Word(&["direct", "ingress"]),
        default: "direct",
        example: "ingress",
        meaning: "How this node answers clients whose packets reach a peer: from here, or by way of the peer.",
    },
    Key {
        path: "fleet.member.N.id",
        kind: Kind::Integer(0, 0x00ff_ffff),
        default: "none",
        example: "2",
        meaning: "A node's ID.",
    },
    Key {
        path: "fleet.member.N.relay",
        kind: Kind::RelayAddress,
        default: "none",
        example: "10.0.0.2:4434",
        meaning: "The UDP address at which the node takes tunnelled datagrams from its peers.",
    },
    Key {
        path: "cid.profile",
        kind: Kind::Word(&["wayhold", "aws-nlb"]),
        default: "wayhold",
        example: "aws-nlb",
        meaning: "The form of connection IDs: `wayhold` is encrypted; `aws-nlb` is plaintext \
                  with the 8-byte server ID of the environment variable `AWS_LBC_QUIC_SERVER_ID`.",
    },
    Key {
        path: "cid.config_id",
        kind: Kind::Integer(0, 6),
        default: "0",
        example: "1",
        meaning: "The config rotation bits.",
    },
    Key {
        path: "cid.nonce_len",
        kind: Kind::Integer(4, 18),
        default: "12; 7 under aws-nlb",
        example: "10",
        meaning: "Bytes of nonce; with the server ID (4 bytes; 8 under `aws-nlb`) at most 19.",
    },
    Key {
        path: "cid.first_octet",
        kind: Kind::Word(&["random", "length"]),
        default: "random",
        example: "length",
        meaning: "The low five bits of the first octet: random, or the connection ID's length \
                  for hardware that needs it.",
    },
    Key {
        path: "cid.dangerous_short_nonce",
        kind: Kind::Boolean,
        default: "false",
        example: "true",
        meaning: "Whether encrypted nonces of less than 8 bytes may be minted, although they can \
                  run out.",
    },
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
        default: "1MiB",
        example: "512KiB",
        meaning: "Bytes a client may send ahead on one stream; at most `receive_window`.",
    },
    Key {
        path: "quic.receive_window",
        kind: Kind::Size(16 << 10, 1 << 30),
        default: "4MiB",
        example: "8MiB",
        meaning: "Bytes a client may send ahead on all streams of a connection.",
    },
    Key {
        path: "quic.send_window",
        kind: Kind::Size(16 << 10, 1 << 30),
        default: "4MiB",
        example: "8MiB",
        meaning: "Bytes of responses held for one connection until they are acknowledged.",
    },
    Key {
        path: "quic.max_udp_payload",
        kind: Kind::Integer(1200, 65527),
        default: "1400",
        example: "1350",
        meaning: "The largest UDP payload in bytes that is ever sent; also bounds the MTU search.",
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
        example: "60s",
        meaning: "The connection IDs of open connections are replaced after this time.",
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
];

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::test_directory::TestDirectory;
    use crate::config::{Config, Setting, Sources, load};

    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/config.md");

    /// The table row of a key in docs/config.md.
    fn row(key: &Key) -> String {
        let default = if key.default.contains(' ') || key.default == "none" {
            key.default.to_owned()
        } else {
            format!("`{}`", key.default)
        };
        let kind = key.kind.to_string().replace('"', "`");
        format!(
            "| `{}` | {kind} | {default} | `{}` | {} |",
            key.path, key.example, key.meaning
        )
    }

    #[test]
    fn every_key_stands_in_the_documentation_as_in_the_table() {
        let page = std::fs::read_to_string(PAGE).unwrap();
        let rows: Vec<_> = page
            .lines()
            .filter(|line| line.starts_with("| `"))
            .collect();
        for key in KEYS {
            let row = row(key);
            assert!(
                rows.contains(&row.as_str()),
                "docs/config.md lacks this row:\n{row}"
            );
        }
        assert_eq!(
            rows.len(),
            KEYS.len(),
            "docs/config.md has a row for no key"
        );
    }

    #[test]
    fn every_example_of_the_documentation_loads() {
        let page = std::fs::read_to_string(PAGE).unwrap();
        let directory = TestDirectory::with_files(&["tls.pem", "tls.key", "fleet.key"]);
        let blocks = page
            .split("```toml\n")
            .skip(1)
            .map(|rest| rest.split_once("```").unwrap().0);
        let (fleets, mains): (Vec<_>, Vec<_>) =
            blocks.partition(|block| block.starts_with("# fleet.toml"));
        assert!(!fleets.is_empty() && mains.len() >= 3);
        for fleet in fleets {
            directory.write("fleet.toml", fleet);
            for main in &mains {
                let file = directory.write("wayhold.toml", main);
                let loaded = load(&Sources {
                    file: Some(file),
                    environment: aws(),
                    settings: vec![],
                });
                assert!(loaded.is_ok(), "{main}\n{}", loaded.unwrap_err());
            }
        }
    }

    /// A configuration in which the key can be set.
    fn surroundings(directory: &TestDirectory, key: &Key) -> Sources {
        let needed = [
            ("listen.0.cert", directory.path("old.pem")),
            ("listen.0.key", directory.path("old.key")),
            ("route.0.to", "http://127.0.0.1:1".into()),
            ("node.id", "3".into()),
            ("fleet.key_file", directory.path("old.fleet.key")),
            ("fleet.member.0.id", "3".into()),
            ("fleet.member.0.relay", "127.0.0.1:9".into()),
            ("fleet.member.1.id", "1".into()),
            ("fleet.member.1.relay", "127.0.0.1:8".into()),
        ];
        let from_file = key.path == "fleet.file";
        let settings = needed
            .into_iter()
            .filter(|(path, _)| !(from_file && path.starts_with("fleet")))
            .map(|(path, value)| Setting::flag("--set", path, value))
            .collect();
        Sources {
            file: None,
            environment: aws(),
            settings,
        }
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
            "tls.pem",
            "tls.key",
            "fleet.key",
        ]);
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
            let listed = key.path.starts_with("route.") || key.path.starts_with("fleet.");
            if listed || key.default.contains(' ') {
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

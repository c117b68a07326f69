use std::time::Duration;

use super::schema::{Key, Kind};

/// What makes a node one of a fleet, in the order of docs/config.md.
pub(super) const FLEET_KEYS: &[Key] = &[
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
        path: "node.zone",
        kind: Kind::Name,
        default: "nowhere, so that all backends are near",
        example: "eu-west-1a",
        meaning: "Where this node is: backends of the same zone come first.",
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
];

use std::time::Duration;

use super::schema::{Key, Kind};

/// What concerns operators, in the order of docs/config.md.
pub(super) const OPERATING_KEYS: &[Key] = &[
    Key {
        path: "admin.listen",
        kind: Kind::AdminAddress,
        default: "unix:admin.sock in state_dir",
        example: "127.0.0.1:9090",
        meaning: "Where health, status and metrics are served; they ask nobody who they are.",
    },
    Key {
        path: "log.format",
        kind: Kind::Word(&["text", "json"]),
        default: "text",
        example: "json",
        meaning: "The form of the lines on standard error.",
    },
    Key {
        path: "log.level",
        kind: Kind::LogFilter,
        default: "info",
        example: "wayhold=debug,warn",
        meaning: "The least severe level that is written, for everything or for one target.",
    },
    Key {
        path: "log.access",
        kind: Kind::Boolean,
        default: "true",
        example: "false",
        meaning: "Whether each request writes a line.",
    },
    Key {
        path: "log.qlog_dir",
        kind: Kind::Directory,
        default: "no traces",
        example: "/var/log/wayhold-qlog",
        meaning: "Where traces of QUIC connections are written; its files are for the gateway's user alone.",
    },
    Key {
        path: "log.qlog_one_in",
        kind: Kind::Integer(1, 1_000_000_000),
        default: "1000",
        example: "1",
        meaning: "One in this many QUIC connections is traced, drawn by lot.",
    },
    Key {
        path: "log.qlog_bytes",
        kind: Kind::Size(1 << 20, 1 << 40),
        default: "256MiB",
        example: "2GiB",
        meaning: "Bytes of all traces together; the oldest make room.",
    },
    Key {
        path: "shutdown.grace",
        kind: Kind::Duration(Duration::ZERO, HOUR),
        default: "30s",
        example: "10s",
        meaning: "How long requests under way may take after the first SIGTERM.",
    },
    Key {
        path: "upgrade.keep",
        kind: Kind::Duration(Duration::ZERO, Duration::from_hours(24)),
        default: "10m",
        example: "1h",
        meaning: "How long a process that has given way keeps its connections before it tells them to \
                  finish.",
    },
    Key {
        path: "upgrade.timeout",
        kind: Kind::Duration(Duration::from_millis(100), Duration::from_mins(2)),
        default: "30s",
        example: "5s",
        meaning: "How long a new process may take until it is prepared to take over.",
    },
    Key {
        path: "hooks.announce",
        kind: Kind::Command,
        default: "no command",
        example: "ip addr add 192.0.2.1/32 dev lo",
        meaning: "Run when the node welcomes clients: at start, and when a drain is taken back.",
    },
    Key {
        path: "hooks.withdraw",
        kind: Kind::Command,
        default: "no command",
        example: "ip addr del 192.0.2.1/32 dev lo",
        meaning: "Run when clients are to go elsewhere, before a drain or the end changes anything.",
    },
    Key {
        path: "hooks.settle",
        kind: Kind::Duration(Duration::ZERO, MINUTE),
        default: "1s",
        example: "5s",
        meaning: "How long everything is still served as before after `withdraw`.",
    },
    Key {
        path: "hooks.timeout",
        kind: Kind::Duration(Duration::from_millis(10), MINUTE),
        default: "5s",
        example: "20s",
        meaning: "A command that runs longer is killed.",
    },
];

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

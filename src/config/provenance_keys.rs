//! The keys of where requests come from and what they are called.

use super::schema::{Key, Kind};

/// `forwarded` and `trace`.
pub(super) const PROVENANCE_KEYS: &[Key] = &[
    Key {
        path: "forwarded.trusted",
        kind: Kind::Networks,
        default: "no address",
        example: "10.0.0.0/8,2001:db8::/32",
        meaning: "The proxies before the gateway whose word about their clients counts.",
    },
    Key {
        path: "forwarded.field",
        kind: Kind::Word(&["x-forwarded-for", "forwarded"]),
        default: "x-forwarded-for",
        example: "forwarded",
        meaning: "The field by which they say it; they must not pass on that of their clients.",
    },
    Key {
        path: "trace.request_id",
        kind: Kind::FieldNameOrOff,
        default: "x-request-id",
        example: "x-correlation-id",
        meaning: "The field with the name of each request, to backends and clients.",
    },
    Key {
        path: "trace.context",
        kind: Kind::Word(&["pass", "start"]),
        default: "pass",
        example: "start",
        meaning: "Whether a request without `traceparent` gets one.",
    },
    Key {
        path: "trace.sampled_percent",
        kind: Kind::Integer(0, 100),
        default: "100",
        example: "1",
        meaning: "Of 100 traces that the gateway starts, how many are to be recorded.",
    },
];

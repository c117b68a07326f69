//! The keys of who may pass to a route.

use std::time::Duration;

use super::schema::{Key, Kind};

/// `route.N`, but for where it leads, and `jwt.N`.
pub(super) const GATE_KEYS: &[Key] = &[
    Key {
        path: "route.N.rate",
        kind: Kind::Rate,
        default: "any number",
        example: "1000/s",
        meaning: "How many requests all clients together may send; further ones are answered with \
                  429 and Retry-After.",
    },
    Key {
        path: "route.N.rate_burst",
        kind: BURST,
        default: "the number of rate",
        example: "2000",
        meaning: "How many of them at once.",
    },
    Key {
        path: "route.N.client_rate",
        kind: Kind::Rate,
        default: "any number",
        example: "10/s",
        meaning: "How many requests one client may send; what one client is, `limits.client_ipv4_prefix` \
                  and `limits.client_ipv6_prefix` say.",
    },
    Key {
        path: "route.N.client_burst",
        kind: BURST,
        default: "the number of client_rate",
        example: "50",
        meaning: "How many of them at once.",
    },
    Key {
        path: "route.N.body_bytes",
        kind: Kind::Size(0, 1 << 50),
        default: "that of limits.body_bytes",
        example: "10MiB",
        meaning: "Bytes of a request body, in place of `limits.body_bytes`; 0 means no limit.",
    },
    Key {
        path: "route.N.response_bytes",
        kind: Kind::Size(0, 1 << 50),
        default: "0",
        example: "100MiB",
        meaning: "Bytes of a response body; 0 means no limit.",
    },
    Key {
        path: "route.N.jwt",
        kind: Kind::Name,
        default: "none",
        example: "login",
        meaning: "The name of the tokens of which every request must have one.",
    },
    Key {
        path: "jwt.N.name",
        kind: Kind::Name,
        default: "none",
        example: "other",
        meaning: "What routes, logs and metrics call these tokens; required, and unique.",
    },
    Key {
        path: "jwt.N.issuer",
        kind: Kind::Visible,
        default: "none",
        example: "https://login.example.org/",
        meaning: "What `iss` must be, to the letter; required.",
    },
    Key {
        path: "jwt.N.audience",
        kind: Kind::Texts,
        default: "none",
        example: "https://api.example.org,shop",
        meaning: "Of what `aud` must name one; required.",
    },
    Key {
        path: "jwt.N.algorithms",
        kind: Kind::Words(&[
            "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
            "HS256", "HS384", "HS512",
        ]),
        default: "none",
        example: "ES256,EdDSA",
        meaning: "How tokens may be signed; required. HS256, HS384 and HS512 need a `secret_file`, \
                  and the others a JWK Set.",
    },
    Key {
        path: "jwt.N.jwks_file",
        kind: Kind::File,
        default: "none",
        example: "jwks.json",
        meaning: "A file with the issuer's public keys, a JWK Set (RFC 7517); it is read again when \
                  it has changed.",
    },
    Key {
        path: "jwt.N.jwks_url",
        kind: Kind::HttpsUrl,
        default: "none",
        example: "https://login.example.org/jwks.json",
        meaning: "Where the JWK Set is fetched from, and fetched again.",
    },
    Key {
        path: "jwt.N.jwks_ca",
        kind: Kind::File,
        default: "the authorities of the system",
        example: "ca.pem",
        meaning: "The authorities that `jwks_url` is held to, in PEM.",
    },
    Key {
        path: "jwt.N.jwks_refresh_min",
        kind: SPAN,
        default: "60s",
        example: "5m",
        meaning: "How long at least until keys are fetched again, whatever the response says and \
                  whatever tokens name.",
    },
    Key {
        path: "jwt.N.jwks_refresh_max",
        kind: SPAN,
        default: "1h",
        example: "2h",
        meaning: "How long at most until keys are fetched again.",
    },
    Key {
        path: "jwt.N.jwks_stale_max",
        kind: SPAN,
        default: "24h",
        example: "2h",
        meaning: "How long fetched keys are used while they cannot be fetched again; at least \
                  `jwks_refresh_max`.",
    },
    Key {
        path: "jwt.N.jwks_timeout",
        kind: Kind::Duration(Duration::from_millis(10), Duration::from_mins(1)),
        default: "5s",
        example: "2s",
        meaning: "In which a fetch has to succeed.",
    },
    Key {
        path: "jwt.N.secret_file",
        kind: Kind::File,
        default: "none",
        example: "jwt.key",
        meaning: "A file of mode 0600 whose bytes, as they are, are the secret of HS256, HS384 and HS512: \
                  at least as many as the hash has.",
    },
    Key {
        path: "jwt.N.leeway",
        kind: Kind::Duration(Duration::ZERO, Duration::from_mins(5)),
        default: "30s",
        example: "5s",
        meaning: "By how much the clocks of the issuer and of this node may differ.",
    },
    Key {
        path: "jwt.N.token_bytes",
        kind: Kind::Size(256, 64 << 10),
        default: "8KiB",
        example: "4KiB",
        meaning: "Bytes of a token at most.",
    },
    Key {
        path: "jwt.N.cookie",
        kind: Kind::Token,
        default: "none",
        example: "access_token",
        meaning: "A cookie in which the token may be too, where there is no `Authorization` field.",
    },
    Key {
        path: "jwt.N.claims_to",
        kind: Kind::Claims,
        default: "none",
        example: "sub: x-user,scope: x-scope",
        meaning: "Which claims a backend is told, each in a field; what clients send in these fields is \
                  removed, on every route.",
    },
    Key {
        path: "jwt.N.pass_on",
        kind: Kind::Boolean,
        default: "true",
        example: "false",
        meaning: "Whether backends get the token itself.",
    },
];

const BURST: Kind = Kind::Integer(1, 1_000_000);
const SPAN: Kind = Kind::Duration(Duration::from_secs(1), Duration::from_hours(24 * 30));

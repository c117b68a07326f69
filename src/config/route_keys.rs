//! The keys of routes.

use super::schema::{Key, Kind};

/// `route.N`, but for tunnels of UDP.
pub(super) const ROUTE_KEYS: &[Key] = &[
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
                  `h2://` HTTP/2 without TLS, `https://` what the backend chooses of both over TLS.",
    },
    Key {
        path: "route.N.pool",
        kind: Kind::Name,
        default: "none",
        example: "app",
        meaning: "The name of a pool of backends, instead of `to`.",
    },
];

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
    Key {
        path: "route.N.redirect",
        kind: Kind::Location,
        default: "none",
        example: "https://www.example.org{path}{query}",
        meaning: "Where clients are sent, instead of `to`.",
    },
    Key {
        path: "route.N.redirect_status",
        kind: Kind::Integer(301, 308),
        default: "308",
        example: "302",
        meaning: "301, 302, 303, 307 or 308: how long and with which method clients go there.",
    },
    Key {
        path: "route.N.respond",
        kind: Kind::Integer(200, 599),
        default: "none",
        example: "503",
        meaning: "The status of a response that is always the same, instead of `to`.",
    },
    Key {
        path: "route.N.respond_body",
        kind: Kind::Text(64 << 10),
        default: "nothing",
        example: "Back at noon.",
        meaning: "Its body.",
    },
    Key {
        path: "route.N.respond_file",
        kind: Kind::File,
        default: "none",
        example: "tls.pem",
        meaning: "The file that is its body, at most 1 MiB, read when the configuration is.",
    },
    Key {
        path: "route.N.respond_type",
        kind: Kind::MediaType,
        default: "text/plain; charset=utf-8",
        example: "text/html; charset=utf-8",
        meaning: "The media type of its body.",
    },
    Key {
        path: "route.N.rewrite_host",
        kind: Kind::Authority,
        default: "that of the client",
        example: "app.internal",
        meaning: "The host that backends are asked for.",
    },
    Key {
        path: "route.N.rewrite_prefix",
        kind: Kind::PathPrefix,
        default: "none",
        example: "/v2",
        meaning: "What takes the place of `path` in the path that backends are asked for; `/` takes \
                  it away.",
    },
    Key {
        path: "route.N.request_set",
        kind: Kind::Fields,
        default: "none",
        example: "x-env: prod",
        meaning: "Fields of requests to backends that take the place of the client's.",
    },
    Key {
        path: "route.N.request_add",
        kind: Kind::Fields,
        default: "none",
        example: "x-client: {client}",
        meaning: "Fields of requests to backends that stand beside the client's.",
    },
    Key {
        path: "route.N.request_remove",
        kind: Kind::FieldNames,
        default: "none",
        example: "x-debug",
        meaning: "Fields that requests to backends lose.",
    },
    Key {
        path: "route.N.response_set",
        kind: Kind::Fields,
        default: "none",
        example: "strict-transport-security: max-age=31536000",
        meaning: "Fields of responses that take the place of the backend's.",
    },
    Key {
        path: "route.N.response_add",
        kind: Kind::Fields,
        default: "none",
        example: "vary: origin",
        meaning: "Fields of responses that stand beside the backend's.",
    },
    Key {
        path: "route.N.response_remove",
        kind: Kind::FieldNames,
        default: "none",
        example: "server",
        meaning: "Fields that responses lose.",
    },
    Key {
        path: "route.N.server_timing",
        kind: Kind::Boolean,
        default: "false",
        example: "true",
        meaning: "Whether responses say in `Server-Timing` how the client is connected.",
    },
];

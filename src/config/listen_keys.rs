//! The keys of what clients connect to.

use super::schema::{Key, Kind};

/// `listen.N`.
pub(super) const LISTEN_KEYS: &[Key] = &[
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
        path: "listen.N.certificate.N.cert",
        kind: Kind::File,
        default: "none",
        example: "shop.pem",
        meaning: "The certificate chain in PEM for clients that ask for one of its names.",
    },
    Key {
        path: "listen.N.certificate.N.key",
        kind: Kind::File,
        default: "none",
        example: "shop.key",
        meaning: "Its private key in PEM.",
    },
    Key {
        path: "listen.N.unknown_name",
        kind: Kind::Word(&["default", "refuse"]),
        default: "default",
        example: "refuse",
        meaning: "What a client gets that asks for a name that no certificate has: the one in `cert`, or \
                  an alert.",
    },
    Key {
        path: "listen.N.authority",
        kind: Kind::Word(&["any", "certificate"]),
        default: "any host, or `certificate` where listeners differ in `client_auth`",
        example: "certificate",
        meaning: "Which hosts requests may be for: `any`, or those that a certificate of the listener \
                  names; others get 421.",
    },
    Key {
        path: "listen.N.client_auth",
        kind: Kind::Word(&["off", "optional", "required"]),
        default: "off",
        example: "required",
        meaning: "Whether clients are asked for a certificate, and whether they must have one.",
    },
    Key {
        path: "listen.N.client_ca",
        kind: Kind::File,
        default: "none",
        example: "clients.pem",
        meaning: "The authorities that client certificates come from, in PEM.",
    },
    Key {
        path: "listen.N.client_crl",
        kind: Kind::File,
        default: "none is revoked",
        example: "clients.crl",
        meaning: "What those authorities have revoked, in PEM: a list of each authority in the chain.",
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
];

//! The keys of pools of backends.

use std::time::Duration;

use super::schema::{Key, Kind};

/// `pool.N`.
pub(super) const POOL_KEYS: &[Key] = &[
    Key {
        path: "pool.N.name",
        kind: Kind::Name,
        default: "none",
        example: "api",
        meaning: "What routes, logs and metrics call the pool; required, and unique.",
    },
    Key {
        path: "pool.N.to",
        kind: Kind::Upstreams,
        default: "none",
        example: "http://10.0.0.1:8080,http://10.0.0.2:8080",
        meaning: "Backends of weight 1, as in `route.N.to`.",
    },
    Key {
        path: "pool.N.backend.N.url",
        kind: Kind::Upstream,
        default: "none",
        example: "http://10.0.0.9:8080",
        meaning: "A backend, where a weight or a zone is to be given.",
    },
    Key {
        path: "pool.N.backend.N.weight",
        kind: Kind::Integer(0, 1000),
        default: "1",
        example: "3",
        meaning: "Its share beside the others; 0 is none.",
    },
    Key {
        path: "pool.N.backend.N.zone",
        kind: Kind::Name,
        default: "the node's own",
        example: "eu-west-1a",
        meaning: "Where it is; what is not in `node.zone` gets what the own zone cannot bear.",
    },
    Key {
        path: "pool.N.choice",
        kind: Kind::Word(&["latency", "least_requests", "round_robin", "hash"]),
        default: "latency",
        example: "hash",
        meaning: "How a backend is chosen: the quicker of two drawn by weight, by the time of its \
                  answers and the requests under way; the one with the fewest requests; each in \
                  turn; the one that `hash_by` belongs to.",
    },
    Key {
        path: "pool.N.hash_by",
        kind: Kind::HashBy,
        default: "client",
        example: "cookie:session",
        meaning: "What a request is sent by where `choice` is `hash`: the client's address, the \
                  path, a field or a cookie.",
    },
    Key {
        path: "pool.N.sticky_cookie",
        kind: Kind::Token,
        default: "none",
        example: "wayhold_backend",
        meaning: "The name of a cookie that is set to lead a client back to its backend while that \
                  is fit, for applications that keep sessions.",
    },
    Key {
        path: "pool.N.failures",
        kind: Kind::Integer(0, 1000),
        default: "5",
        example: "3",
        meaning: "Failures in a row (no connection, no answer, a broken one, or 502, 503, 504) \
                  after which a backend is ejected; 0 is never.",
    },
    Key {
        path: "pool.N.ejection",
        kind: SPAN,
        default: "1s",
        example: "2s",
        meaning: "How long it gets no requests at first; twice as long after each trial that fails.",
    },
    Key {
        path: "pool.N.ejection_max",
        kind: SPAN,
        default: "4s",
        example: "60s",
        meaning: "How long at most until the next trial.",
    },
    Key {
        path: "pool.N.slow_start",
        kind: Kind::Duration(Duration::ZERO, HOUR),
        default: "10s",
        example: "30s",
        meaning: "In which a backend that is new or back grows from a tenth of its share to all of it.",
    },
    Key {
        path: "pool.N.failure_gap",
        kind: Kind::Integer(0, 100),
        default: "30",
        example: "50",
        meaning: "How many of a hundred requests may fail (500 and above too) more than at the \
                  median of three backends or more, before one is ejected; 0 is any number.",
    },
    Key {
        path: "pool.N.latency_factor",
        kind: Kind::Integer(0, 1000),
        default: "0",
        example: "10",
        meaning: "How many times longer answers may take than at the median backend, before one is \
                  ejected; 0 is any time.",
    },
    Key {
        path: "pool.N.panic_percent",
        kind: Kind::Integer(0, 100),
        default: "25",
        example: "50",
        meaning: "With less than this of a hundred parts of all weight fit, health counts for nothing.",
    },
    Key {
        path: "pool.N.requests",
        kind: Kind::Integer(1, 1_000_000),
        default: "that of limits.upstream_requests",
        example: "16",
        meaning: "Requests under way to one backend at most; further ones wait.",
    },
    Key {
        path: "pool.N.connections",
        kind: Kind::Integer(1, 1_000_000),
        default: "no bound of its own",
        example: "64",
        meaning: "Connections to one backend at most, tunnels among them; a request that needs a \
                  further one waits for `queue_burst`, and is answered with 503 then.",
    },
    Key {
        path: "pool.N.ca",
        kind: Kind::File,
        default: "what the system trusts",
        example: "tls.pem",
        meaning: "The certificates in PEM one of which must have signed that of an `https` backend.",
    },
    Key {
        path: "pool.N.server_name",
        kind: Kind::Name,
        default: "the host of the URL",
        example: "app.internal",
        meaning: "The name that `https` backends are asked for and must have in their certificates.",
    },
    Key {
        path: "pool.N.client_cert",
        kind: Kind::File,
        default: "none",
        example: "tls.pem",
        meaning: "The certificate chain in PEM for `https` backends that ask for one; only together \
                  with `client_key`.",
    },
    Key {
        path: "pool.N.client_key",
        kind: Kind::File,
        default: "none",
        example: "tls.key",
        meaning: "Its key in PEM; only together with `client_cert`.",
    },
    Key {
        path: "pool.N.alpn",
        kind: Kind::Word(&["any", "http/1.1", "h2"]),
        default: "any",
        example: "http/1.1",
        meaning: "What `https` backends are offered to speak: HTTP/2 and HTTP/1.1, of which they \
                  choose, or one of them alone. With `any`, tunnels are opened over HTTP/1.1.",
    },
    Key {
        path: "pool.N.proxy_protocol",
        kind: Kind::Word(&["off", "v2"]),
        default: "off",
        example: "v2",
        meaning: "Whether each connection begins with the PROXY protocol, version 2, which names \
                  its client; not with `h2` backends.",
    },
    Key {
        path: "pool.N.probe",
        kind: Kind::Probe,
        default: "off",
        example: "/healthz",
        meaning: "How backends are asked how they are: not at all, by a connection (`tcp`), by gRPC's \
                  health protocol for the whole server (`grpc`) or a service (`grpc:SERVICE`), or by \
                  a GET of this path, which 200 to 399 answers well.",
    },
    Key {
        path: "pool.N.probe_interval",
        kind: SPAN,
        default: "2s",
        example: "500ms",
        meaning: "Between two probes of a backend, give or take a tenth.",
    },
    Key {
        path: "pool.N.probe_timeout",
        kind: SPAN,
        default: "1s",
        example: "200ms",
        meaning: "In which a probe has to succeed.",
    },
    Key {
        path: "pool.N.rise",
        kind: Kind::Integer(1, 100),
        default: "2",
        example: "1",
        meaning: "Probes in a row that must succeed before a backend is up again.",
    },
    Key {
        path: "pool.N.fall",
        kind: Kind::Integer(1, 100),
        default: "3",
        example: "2",
        meaning: "Probes in a row that must fail before a backend is down.",
    },
    Key {
        path: "pool.N.retries",
        kind: Kind::Integer(0, 10),
        default: "2",
        example: "0",
        meaning: "How often one request is sent again at most, if that cannot run it twice or its \
                  method or an `Idempotency-Key` says that it may.",
    },
    Key {
        path: "pool.N.retry_percent",
        kind: Kind::Integer(0, 100),
        default: "20",
        example: "10",
        meaning: "How many of a hundred requests may be sent again, in any ten seconds.",
    },
    Key {
        path: "pool.N.retry_per_second",
        kind: Kind::Integer(0, 10_000),
        default: "10",
        example: "50",
        meaning: "How many more may be in each second, so that a quiet pool can retry too.",
    },
    Key {
        path: "pool.N.retry_backoff",
        kind: Kind::Duration(Duration::ZERO, Duration::from_secs(10)),
        default: "25ms",
        example: "100ms",
        meaning: "What is waited before a request is sent again the second time, and twice as long \
                  each further time, less a random part; the first time nothing is.",
    },
    Key {
        path: "pool.N.retry_body",
        kind: Kind::Size(0, 16 << 20),
        default: "64KiB",
        example: "1MiB",
        meaning: "How much of a request body is kept for sending it again; one that is longer is \
                  sent once.",
    },
    Key {
        path: "pool.N.try_timeout",
        kind: Kind::Duration(Duration::ZERO, HOUR),
        default: "that of timeouts.first_byte",
        example: "2s",
        meaning: "How long one try may wait for its backend, from the request's last sent byte to the \
                  response's header section; then it has failed, and is sent again where that is \
                  allowed.",
    },
    Key {
        path: "pool.N.total",
        kind: Kind::Duration(Duration::ZERO, Duration::from_hours(24)),
        default: "that of timeouts.total",
        example: "10s",
        meaning: "From a request's complete header section to the last byte of its response, with \
                  everything that is sent again; 0 is any time.",
    },
    Key {
        path: "pool.N.queue_burst",
        kind: Kind::Duration(Duration::ZERO, Duration::from_mins(1)),
        default: "100ms",
        example: "1s",
        meaning: "How long a request waits for a place at a backend in a burst; also how long a queue \
                  may stand before `queue_standing` bounds it.",
    },
    Key {
        path: "pool.N.queue_standing",
        kind: Kind::Duration(Duration::ZERO, Duration::from_mins(1)),
        default: "10ms",
        example: "50ms",
        meaning: "How long one waits while the queue has not been empty for `queue_burst`; what waits \
                  longer is answered with 503 and Retry-After.",
    },
];

const HOUR: Duration = Duration::from_hours(1);
const SPAN: Kind = Kind::Duration(Duration::from_millis(10), HOUR);

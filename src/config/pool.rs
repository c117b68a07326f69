//! Pools of backends: which there are, how one is chosen, and what they are held to.

use std::path::PathBuf;
use std::time::Duration;

use super::{Upstream, UpstreamProtocol};
use crate::balance::{Choice, HealthTerms, OutlierTerms, PatienceTerms, PoolTerms, RetryTerms};

/// Backends any of which can serve any request of the routes that name the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pool {
    /// What routes, logs and metrics call it; unique.
    pub name: String,
    /// The backends, at least one.
    pub backend: Vec<Backend>,
    /// How one is chosen. Default [`Choice::Latency`].
    pub choice: Choice,
    /// What a request is sent by under [`Choice::Hash`]. Default the client's address.
    pub hash_by: HashBy,
    /// The cookie that leads a client back to the backend that served it first, if there is to be one.
    pub sticky_cookie: Option<String>,
    /// When one gets no requests, and when it does again.
    pub health: HealthTerms,
    /// How many of a hundred requests may fail more than at the median backend; 0 is any number.
    /// Default 30.
    pub failure_gap: u8,
    /// How many times longer answers may take than at the median backend; 0 is any time. Default 0.
    pub latency_factor: u16,
    /// With less than this of a hundred parts of all weight fit, health counts for nothing. Default 25.
    pub panic_percent: u8,
    /// Requests under way to one backend at most. Default `limits.upstream_requests`.
    pub requests: Option<u32>,
    /// Connections in use or idle to one backend at most. Default no bound of its own: each is of a
    /// request that is under way, or idle within `limits.upstream_idle`.
    pub connections: Option<u32>,
    /// What TLS to backends with `https` goes by.
    pub tls: UpstreamTls,
    /// Whether backends are told who a client is by the PROXY protocol. Default not.
    pub proxy_protocol: ProxyProtocol,
    /// Whether and how backends are asked how they are. Default not at all.
    pub probe: Probe,
    /// Between two probes of a backend, give or take a tenth. Default 2 s.
    pub probe_interval: Duration,
    /// In which a probe has to succeed. Default 1 s.
    pub probe_timeout: Duration,
    /// Which requests are sent again, and how often.
    pub retry: Retry,
    /// How long one try may wait for its backend, from a connection or the request's last sent byte to
    /// the response's header section; 0 is `timeouts.first_byte`. Default 0.
    pub try_timeout: Duration,
    /// From a request's complete header section to the last byte of its response; 0 is any time.
    /// Default `timeouts.total`.
    pub total: Option<Duration>,
    /// How long requests wait for a place at a backend when all are taken.
    pub queue: PatienceTerms,
}

/// One backend of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backend {
    /// Where and how it is reached.
    pub upstream: Upstream,
    /// Its share beside others: 0 to 1000; 0 is none. Default 1.
    pub weight: u16,
    /// Where it is. One without a zone, and every one where `node.zone` is not set, is in the node's own.
    pub zone: Option<String>,
}

/// What a request is sent by, so that the same goes to the same backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HashBy {
    /// `client`: the client's address.
    #[default]
    Client,
    /// `path`: the path, without the query.
    Path,
    /// `header:NAME`: the value of a field.
    Header(String),
    /// `cookie:NAME`: the value of a cookie.
    Cookie(String),
}

/// What TLS to the backends of a pool goes by. Their certificates are always verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamTls {
    /// Certificates in PEM one of which must have signed a backend's. Default those that the system
    /// trusts.
    pub ca: Option<PathBuf>,
    /// The name that is asked for and verified. Default the host of the backend's URL.
    pub server_name: Option<String>,
    /// The certificate chain in PEM that the gateway shows to backends that ask for one.
    pub client_cert: Option<PathBuf>,
    /// Its key in PEM.
    pub client_key: Option<PathBuf>,
    /// Which protocols backends are offered.
    pub alpn: Alpn,
}

/// Which protocols are offered to a backend over TLS (RFC 7301).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Alpn {
    /// `any`: HTTP/2 and HTTP/1.1; for tunnels HTTP/1.1.
    #[default]
    Any,
    /// `http/1.1`: HTTP/1.1 alone.
    Http1,
    /// `h2`: HTTP/2 alone.
    Http2,
}

/// Whether backends are told who a client is ahead of everything else on a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// `off`: they are not.
    #[default]
    Off,
    /// `v2`: in the binary form.
    V2,
}

/// How a backend is asked how it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Probe {
    /// `off`: it is not.
    #[default]
    Off,
    /// `tcp`: it takes a connection.
    Tcp,
    /// A path: it answers `GET` for it with a status from 200 to 399.
    Path(String),
    /// `grpc`, or `grpc:` and a name: gRPC's health protocol says that the service of this name, or where it
    /// is empty the whole server, is serving.
    Grpc(String),
}

/// Which requests are sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How often one request is, at most: 0 to 10. Default 2.
    pub attempts: u8,
    /// For how many of all, in any ten seconds.
    pub budget: RetryTerms,
    /// Bytes of a request body that are kept for sending it again. Default 64 KiB.
    pub body_bytes: u32,
    /// How long is waited before the second time that a request is sent again, and twice as long each
    /// further time, less a random part. Default 25 ms.
    pub backoff: Duration,
}

impl Pool {
    /// A pool of these, each of the same weight, with every other field at its default.
    pub fn new(name: impl Into<String>, to: impl IntoIterator<Item = Upstream>) -> Self {
        Self {
            name: name.into(),
            backend: to.into_iter().map(Backend::new).collect(),
            choice: Choice::default(),
            hash_by: HashBy::default(),
            sticky_cookie: None,
            health: HealthTerms::default(),
            failure_gap: 30,
            latency_factor: 0,
            panic_percent: 25,
            requests: None,
            connections: None,
            tls: UpstreamTls::default(),
            proxy_protocol: ProxyProtocol::default(),
            probe: Probe::default(),
            probe_interval: Duration::from_secs(2),
            probe_timeout: Duration::from_secs(1),
            retry: Retry::default(),
            try_timeout: Duration::ZERO,
            total: None,
            queue: PatienceTerms::default(),
        }
    }

    /// Whether it names files, which may change without the configuration.
    pub(crate) fn has_files(&self) -> bool {
        self.tls.ca.is_some() || self.tls.client_cert.is_some()
    }

    /// What [`balance`](crate::balance) is told of it.
    pub fn terms(&self, requests: u32) -> PoolTerms {
        let limit = |value: u32| (value > 0).then_some(value);
        PoolTerms {
            choice: self.choice,
            health: self.health,
            outlier: OutlierTerms {
                failure_gap: limit(self.failure_gap.into()),
                latency_factor: limit(self.latency_factor.into()),
                ..OutlierTerms::default()
            },
            panic_percent: self.panic_percent,
            requests: self.requests.unwrap_or(requests),
        }
    }
}

impl UpstreamTls {
    /// The files that it names.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let files = [&self.ca, &self.client_cert, &self.client_key];
        files.into_iter().flatten()
    }
}

impl Backend {
    /// A backend of weight 1, which is where the node is.
    pub fn new(upstream: Upstream) -> Self {
        Self {
            upstream,
            weight: 1,
            zone: None,
        }
    }

    /// A place for what the keys give.
    pub(super) fn empty() -> Self {
        Self::new(Upstream {
            protocol: UpstreamProtocol::Http1,
            authority: String::new(),
        })
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 2,
            budget: RetryTerms::default(),
            body_bytes: 64 << 10,
            backoff: Duration::from_millis(25),
        }
    }
}

//! Where requests go.

use std::str::FromStr;

use super::{Answer, FieldEdits, Gate, UpstreamError, names};
use crate::connect_udp::AllowList;

/// Sends requests that match to a set of backends, any of which can serve any request, or takes tunnels
/// of UDP.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Route {
    /// The host, without port, case-insensitive; `*.example.org` matches one or more labels.
    /// Absent: every host.
    pub host: Option<String>,
    /// The path prefix, matched at a segment boundary. Default `/`, and of a route with `connect_udp`
    /// [`ConnectUdp::PATH`](super::ConnectUdp::PATH).
    pub path: String,
    /// The backends, at least one unless there is a pool or `connect_udp`.
    pub to: Vec<Upstream>,
    /// The name of the pool, if there is no `to`.
    pub pool: Option<String>,
    /// Takes tunnels of UDP to these targets in place of requests to backends (RFC 9298); the template is
    /// `path` with `/{target_host}/{target_port}/` behind it.
    pub connect_udp: Option<AllowList>,
    /// What its requests are held to before that.
    pub gate: Gate,
    /// What the gateway answers itself, in place of backends.
    pub answer: Option<Answer>,
    /// What is done to the fields of requests, after everything else that the gateway does to them.
    pub request: FieldEdits,
    /// What is done to the fields of responses of backends, and of [`Route::answer`].
    pub response: FieldEdits,
    /// What backends are asked for instead.
    pub rewrite: Rewrite,
    /// Whether responses say in `Server-Timing` how the client is connected. Default false.
    pub server_timing: bool,
}

/// What backends are asked for in place of what the client asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rewrite {
    /// The host, with or without a port. Absent: the client's.
    pub host: Option<String>,
    /// What takes the place of [`Route::path`] in the path; `/` takes it away. Absent: nothing does.
    pub prefix: Option<String>,
}

/// One backend.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Upstream {
    /// How it is spoken to.
    pub protocol: UpstreamProtocol,
    /// `host:port`, where host is an address or a name; of a service its name alone.
    pub authority: String,
}

/// The protocol of a backend, named by its URL's scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamProtocol {
    /// `http://`: HTTP/1.1.
    Http1,
    /// `https://`: TLS, and over it what the backend chooses of HTTP/2 and HTTP/1.1.
    Https,
    /// `h2://`: HTTP/2 with prior knowledge (RFC 9113, section 3.3).
    Http2,
}

impl Route {
    /// Sends every request to these backends; [`Route::host`] and [`Route::path`] narrow it.
    pub fn new(to: Vec<Upstream>) -> Self {
        Self {
            host: None,
            path: "/".into(),
            to,
            pool: None,
            connect_udp: None,
            gate: Gate::default(),
            answer: None,
            request: FieldEdits::default(),
            response: FieldEdits::default(),
            rewrite: Rewrite::default(),
            server_timing: false,
        }
    }
}

impl Upstream {
    /// Whether it is a service, whose hosts and ports are in SRV records (RFC 2782).
    pub fn is_service(&self) -> bool {
        self.authority.starts_with('_') && !self.authority.contains(':')
    }
}

impl FromStr for Upstream {
    type Err = UpstreamError;

    /// Reads `http://HOST:PORT`, `https://HOST:PORT` or `h2://HOST:PORT`; the port may be left out and is
    /// 80 then, and 443 with `https`. With `+srv` behind the scheme, HOST is the name of a service and has
    /// no port.
    fn from_str(url: &str) -> Result<Self, UpstreamError> {
        names::upstream(url).map_err(UpstreamError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_is_read_from_its_url() {
        let upstream = "h2://App:8080".parse::<Upstream>().unwrap();
        assert_eq!(upstream.protocol, UpstreamProtocol::Http2);
        assert_eq!(upstream.authority, "app:8080");
        assert!(!upstream.is_service());
        let service = "http+srv://_http._tcp.App.example"
            .parse::<Upstream>()
            .unwrap();
        assert_eq!(service.authority, "_http._tcp.app.example");
        assert!(service.is_service());
        for wrong in [
            "http+srv://app.example",
            "http+srv://_http._tcp",
            "http+srv://_http._tcp.app.example:80",
            "h3+srv://_http._tcp.app.example",
        ] {
            assert!(wrong.parse::<Upstream>().is_err(), "{wrong}");
        }
        let error = "ftp://app".parse::<Upstream>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "not a backend's URL: the scheme must be http, https or h2"
        );
    }
}

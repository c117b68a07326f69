use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};

use crate::connect_udp::Refusal;
use crate::request::Body;

/// Why a tunnel was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The path names no target.
    Malformed(&'static str),
    /// No rule allows the target.
    NotAllowed,
    /// The target's address is for nobody's packets.
    Prohibited,
    /// There are as many tunnels as there may be.
    Tunnels,
    /// The client has as many as it may have.
    TunnelsOfClient,
    /// As many names are being resolved as may be.
    Lookups,
    /// The name has no address.
    Unresolved,
    /// No answer came in time.
    ResolveTimeout,
    /// There is no way to the address.
    Unroutable,
    /// The system gave no socket.
    Socket,
}

impl Refused {
    /// The word in metrics.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::NotAllowed => "not_allowed",
            Self::Prohibited => "prohibited",
            Self::Tunnels => "tunnels",
            Self::TunnelsOfClient => "tunnels_per_client",
            Self::Lookups => "lookups",
            Self::Unresolved => "dns_error",
            Self::ResolveTimeout => "dns_timeout",
            Self::Unroutable => "unroutable",
            Self::Socket => "socket",
        }
    }

    /// The status that RFC 9209, section 2.3 recommends, and the error type.
    fn status(self) -> (StatusCode, &'static str) {
        match self {
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, "http_request_error"),
            Self::NotAllowed => (StatusCode::FORBIDDEN, "http_request_denied"),
            Self::Prohibited => (StatusCode::BAD_GATEWAY, "destination_ip_prohibited"),
            Self::Tunnels | Self::TunnelsOfClient | Self::Lookups => {
                (StatusCode::SERVICE_UNAVAILABLE, "connection_limit_reached")
            }
            Self::Unresolved => (StatusCode::BAD_GATEWAY, "dns_error"),
            Self::ResolveTimeout => (StatusCode::GATEWAY_TIMEOUT, "dns_timeout"),
            Self::Unroutable => (StatusCode::BAD_GATEWAY, "destination_ip_unroutable"),
            Self::Socket => (StatusCode::INTERNAL_SERVER_ERROR, "proxy_internal_error"),
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Malformed(text) => text,
            Self::NotAllowed => "the target is not allowed",
            Self::Prohibited => "the target's address is prohibited",
            Self::Tunnels => "there are too many tunnels",
            Self::TunnelsOfClient => "the client has too many tunnels",
            Self::Lookups => "too many names are being resolved",
            Self::Unresolved => "the target's name has no address",
            Self::ResolveTimeout => "the target's name was not resolved in time",
            Self::Unroutable => "there is no way to the target",
            Self::Socket => "there is no socket for the tunnel",
        }
    }

    pub(super) fn response(self) -> Response<Body> {
        let (status, error) = self.status();
        let mut response = Response::new(Body::full(format!("{status}\n{}\n", self.text())));
        *response.status_mut() = status;
        let fields = response.headers_mut();
        if let Ok(value) = HeaderValue::try_from(format!("wayhold; error={error}")) {
            fields.insert(PROXY_STATUS, value);
        }
        fields.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        response
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotAllowed => Self::NotAllowed,
            Refusal::Prohibited => Self::Prohibited,
        }
    }
}

/// RFC 9209.
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

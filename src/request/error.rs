use std::time::Duration;

use http::StatusCode;

use super::BodyError;

/// Why a request was not answered by its handler, with everything the client may learn.
///
/// The one mapping from failure to status or reset code is here ([`RequestError::status`],
/// [`RequestError::reset`]); transports only apply it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The request breaks a rule of RFC 9110 or RFC 9114; the text names the rule.
    #[error("malformed request: {0}")]
    Malformed(&'static str),
    /// The header section passed the limit in bytes or fields.
    #[error("the header section is larger than the limit")]
    HeadersTooLarge,
    /// The request did not arrive in time.
    #[error("the request did not arrive in time")]
    RequestTimeout,
    /// The body failed before a response had begun.
    #[error("{0}")]
    Body(#[from] BodyError),
    /// No route matches the request's host and path.
    #[error("no route matches")]
    NoRoute,
    /// The request is for a host that the listener's certificates do not name (RFC 9110, section 15.5.20).
    #[error("the host is not one of this listener's")]
    Misdirected,
    /// The method, or the protocol of a tunnel, is one that nobody here serves.
    #[error("the method is not implemented")]
    NotImplemented,
    /// `Expect` names something other than `100-continue` (RFC 9110, section 10.1.1).
    #[error("the expectation cannot be met")]
    ExpectationFailed,
    /// The gateway is at a limit or draining.
    #[error("the gateway is at a limit")]
    Overloaded,
    /// The backend has as many connections as it may have; nothing was sent.
    #[error("the upstream has as many connections as it may have")]
    UpstreamConnections,
    /// The client, or all clients of the route together, sent more requests than they may.
    #[error("too many requests")]
    RateLimited {
        /// After this time one more may be sent.
        after: Duration,
    },
    /// The request needs a token and has none (RFC 6750, section 3.1).
    #[error("a token is needed")]
    TokenMissing,
    /// The request's token is not valid. Clients are not told why.
    #[error("the token is not valid")]
    TokenRefused,
    /// There are no keys by which a token could be verified.
    #[error("tokens cannot be verified for now")]
    TokenUnverifiable,
    /// No backend is fit to get requests.
    #[error("no backend is fit")]
    NoBackend,
    /// The names of the backends have no addresses.
    #[error("no backend has an address")]
    DnsError,
    /// Nobody has answered in time where the backends are.
    #[error("nobody said in time where backends are")]
    DnsTimeout,
    /// No upstream could be reached.
    #[error("no upstream could be reached")]
    UpstreamConnect,
    /// The upstream did not accept a connection in time.
    #[error("the upstream could not be reached in time")]
    UpstreamConnectTimeout,
    /// The upstream is not who it has to be, by its certificate; nothing was sent.
    #[error("the upstream's certificate is not good")]
    UpstreamCertificate,
    /// The upstream refused the TLS handshake by an alert; nothing was sent.
    #[error("the upstream refused the TLS handshake")]
    UpstreamAlert,
    /// There is no TLS with the upstream, or no protocol that both speak; nothing was sent.
    #[error("the TLS handshake with the upstream failed")]
    UpstreamTls,
    /// The upstream said that it has not begun with the request (RFC 9113, section 8.7).
    #[error("the upstream refused the request")]
    UpstreamRefused,
    /// The upstream broke the connection or the protocol before its response began.
    #[error("the upstream broke off before its response")]
    UpstreamBroken,
    /// The upstream's response has fields or framing that must not be passed on.
    #[error("the upstream's response is malformed")]
    UpstreamMalformed,
    /// The upstream's response has a larger header section than is taken.
    #[error("the header section of the upstream's response is larger than the limit")]
    UpstreamHeaders,
    /// The upstream's response is larger than the limit.
    #[error("the upstream's response is larger than the limit")]
    ResponseTooLarge,
    /// The upstream offers no tunnels, or answered a request for one as if it were an ordinary request.
    #[error("the upstream opens no tunnel")]
    NoTunnel,
    /// The upstream did not answer in time.
    #[error("the upstream did not answer in time")]
    UpstreamTimeout,
    /// The request took longer than it may, with everything that was tried.
    #[error("the request took longer than it may")]
    DeadlinePassed,
    /// A handler failed; the request may have had effects.
    #[error("the handler failed")]
    Internal,
}

impl RequestError {
    /// Who caused the failure.
    pub fn origin(self) -> Origin {
        match self {
            Self::Malformed(_)
            | Self::HeadersTooLarge
            | Self::RequestTimeout
            | Self::ExpectationFailed
            | Self::RateLimited { .. }
            | Self::TokenMissing
            | Self::TokenRefused
            | Self::Body(
                BodyError::ClientGone
                | BodyError::LengthMismatch
                | BodyError::TooLarge
                | BodyError::TimedOut
                | BodyError::TooSlow
                | BodyError::Malformed,
            ) => Origin::Client,
            Self::NoRoute
            | Self::Misdirected
            | Self::NotImplemented
            | Self::Overloaded
            | Self::UpstreamConnections
            | Self::TokenUnverifiable
            | Self::Internal
            | Self::Body(BodyError::Shutdown | BodyError::Internal) => Origin::Gateway,
            Self::NoBackend
            | Self::DnsError
            | Self::DnsTimeout
            | Self::UpstreamConnect
            | Self::UpstreamConnectTimeout
            | Self::UpstreamCertificate
            | Self::UpstreamAlert
            | Self::UpstreamTls
            | Self::UpstreamRefused
            | Self::UpstreamBroken
            | Self::UpstreamMalformed
            | Self::UpstreamHeaders
            | Self::NoTunnel
            | Self::UpstreamTimeout
            | Self::ResponseTooLarge
            | Self::DeadlinePassed
            | Self::Body(
                BodyError::UpstreamGone | BodyError::ResponseTooLarge | BodyError::DeadlinePassed,
            ) => Origin::Upstream,
        }
    }

    /// How far the request had got.
    pub fn stage(self) -> Stage {
        match self {
            Self::Malformed(_)
            | Self::HeadersTooLarge
            | Self::RequestTimeout
            | Self::NoRoute
            | Self::Misdirected
            | Self::NotImplemented
            | Self::ExpectationFailed
            | Self::RateLimited { .. }
            | Self::TokenMissing
            | Self::TokenRefused
            | Self::TokenUnverifiable
            | Self::Overloaded => Stage::BeforeUpstream,
            Self::NoBackend
            | Self::UpstreamConnections
            | Self::DnsError
            | Self::DnsTimeout
            | Self::UpstreamConnect
            | Self::UpstreamConnectTimeout
            | Self::UpstreamCertificate
            | Self::UpstreamAlert
            | Self::UpstreamTls
            | Self::UpstreamRefused => Stage::Connect,
            Self::Body(_)
            | Self::UpstreamBroken
            | Self::UpstreamMalformed
            | Self::UpstreamHeaders
            | Self::NoTunnel
            | Self::UpstreamTimeout
            | Self::ResponseTooLarge
            | Self::DeadlinePassed
            | Self::Internal => Stage::Sent,
        }
    }

    /// Whether sending the request again cannot run it twice, whatever its method.
    pub fn retryable(self) -> bool {
        self.stage() == Stage::Connect
    }

    /// The status that the client gets when no response has begun.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Malformed(_)
            | Self::Body(
                BodyError::LengthMismatch | BodyError::Malformed | BodyError::ClientGone,
            ) => StatusCode::BAD_REQUEST,
            Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::RequestTimeout | Self::Body(BodyError::TimedOut | BodyError::TooSlow) => {
                StatusCode::REQUEST_TIMEOUT
            }
            Self::Body(BodyError::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::NotImplemented => StatusCode::NOT_IMPLEMENTED,
            Self::ExpectationFailed => StatusCode::EXPECTATION_FAILED,
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::TokenMissing | Self::TokenRefused => StatusCode::UNAUTHORIZED,
            Self::Overloaded
            | Self::UpstreamConnections
            | Self::NoBackend
            | Self::TokenUnverifiable
            | Self::DnsError
            | Self::DnsTimeout
            | Self::Body(BodyError::Shutdown) => StatusCode::SERVICE_UNAVAILABLE,
            Self::UpstreamConnect
            | Self::UpstreamCertificate
            | Self::UpstreamAlert
            | Self::UpstreamTls
            | Self::UpstreamRefused
            | Self::UpstreamBroken
            | Self::UpstreamMalformed
            | Self::UpstreamHeaders
            | Self::NoTunnel
            | Self::ResponseTooLarge
            | Self::Body(BodyError::UpstreamGone | BodyError::ResponseTooLarge) => {
                StatusCode::BAD_GATEWAY
            }
            Self::UpstreamConnectTimeout
            | Self::UpstreamTimeout
            | Self::DeadlinePassed
            | Self::Body(BodyError::DeadlinePassed) => StatusCode::GATEWAY_TIMEOUT,
            Self::Internal | Self::Body(BodyError::Internal) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// After how many seconds the client may try again, if that is known.
    pub fn retry_after(self) -> Option<u64> {
        match self {
            Self::RateLimited { after } => {
                let begun = u64::from(after.subsec_nanos() > 0);
                Some((after.as_secs() + begun).max(1))
            }
            error if error.status() == StatusCode::SERVICE_UNAVAILABLE => Some(1),
            _ => None,
        }
    }
}

/// Who caused a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// What the client sent.
    Client,
    /// The gateway's own rules or limits.
    Gateway,
    /// A backend.
    Upstream,
}

/// How far a request had got when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing was sent upstream.
    BeforeUpstream,
    /// A connection to an upstream could not be made; nothing was sent.
    Connect,
    /// The request, or part of it, was sent.
    Sent,
}

//! What a failed request is called: in `Proxy-Status` and `WWW-Authenticate`, in resets, in logs and metrics.

use super::{BodyError, RequestError, ResetCode};

impl RequestError {
    /// What the error is called in a `Proxy-Status` field (RFC 9209, section 2.3), if it is about a
    /// backend or the gateway itself.
    pub fn proxy_error(self) -> Option<&'static str> {
        match self {
            Self::NoRoute => Some("destination_not_found"),
            Self::NoBackend => Some("destination_unavailable"),
            Self::DnsError => Some("dns_error"),
            Self::DnsTimeout => Some("dns_timeout"),
            Self::Overloaded | Self::UpstreamConnections => Some("connection_limit_reached"),
            Self::UpstreamConnect => Some("connection_refused"),
            Self::UpstreamConnectTimeout => Some("connection_timeout"),
            Self::UpstreamCertificate => Some("tls_certificate_error"),
            Self::UpstreamAlert => Some("tls_alert_received"),
            Self::UpstreamTls => Some("tls_protocol_error"),
            Self::UpstreamRefused | Self::UpstreamBroken => Some("connection_terminated"),
            Self::UpstreamMalformed => Some("http_protocol_error"),
            Self::UpstreamHeaders => Some("http_response_header_section_size"),
            Self::NoTunnel => Some("http_upgrade_failed"),
            Self::UpstreamTimeout
            | Self::DeadlinePassed
            | Self::Body(BodyError::DeadlinePassed) => Some("http_response_timeout"),
            Self::Body(BodyError::UpstreamGone) => Some("http_response_incomplete"),
            Self::ResponseTooLarge | Self::Body(BodyError::ResponseTooLarge) => {
                Some("http_response_body_size")
            }
            Self::RateLimited { .. } | Self::TokenMissing | Self::TokenRefused => {
                Some("http_request_denied")
            }
            Self::TokenUnverifiable
            | Self::Internal
            | Self::Body(BodyError::Internal | BodyError::Shutdown) => Some("proxy_internal_error"),
            Self::Malformed(_)
            | Self::HeadersTooLarge
            | Self::RequestTimeout
            | Self::Misdirected
            | Self::NotImplemented
            | Self::ExpectationFailed
            | Self::Body(_) => None,
        }
    }

    /// What a client is asked for, as `WWW-Authenticate` says it (RFC 6750, section 3).
    pub fn challenge(self) -> Option<&'static str> {
        match self {
            Self::TokenMissing => Some("Bearer realm=\"wayhold\""),
            Self::TokenRefused => Some("Bearer realm=\"wayhold\", error=\"invalid_token\""),
            _ => None,
        }
    }

    /// The code that resets the stream when a response has begun or none can be sent.
    pub fn reset(self) -> ResetCode {
        match self {
            Self::Malformed(_) | Self::Body(BodyError::LengthMismatch | BodyError::Malformed) => {
                ResetCode::Message
            }
            Self::HeadersTooLarge
            | Self::Overloaded
            | Self::UpstreamConnections
            | Self::RateLimited { .. } => ResetCode::ExcessiveLoad,
            Self::Body(BodyError::ClientGone) => ResetCode::Cancelled,
            Self::RequestTimeout
            | Self::Body(
                BodyError::TooLarge
                | BodyError::TimedOut
                | BodyError::TooSlow
                | BodyError::UpstreamGone
                | BodyError::ResponseTooLarge
                | BodyError::DeadlinePassed
                | BodyError::Shutdown
                | BodyError::Internal,
            )
            | Self::ExpectationFailed
            | Self::TokenMissing
            | Self::TokenRefused
            | Self::TokenUnverifiable
            | Self::ResponseTooLarge
            | Self::NoRoute
            | Self::Misdirected
            | Self::NotImplemented
            | Self::NoBackend
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
            | Self::DeadlinePassed
            | Self::Internal => ResetCode::Internal,
        }
    }

    /// The reason in logs and metrics: a fixed set of short words.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::HeadersTooLarge => "headers_too_large",
            Self::RequestTimeout => "request_timeout",
            Self::Body(BodyError::ClientGone) => "client_gone",
            Self::Body(BodyError::UpstreamGone) => "upstream_gone",
            Self::Body(BodyError::LengthMismatch) => "length_mismatch",
            Self::Body(BodyError::TooLarge) => "body_too_large",
            Self::Body(BodyError::TimedOut) => "body_timeout",
            Self::Body(BodyError::TooSlow) => "body_too_slow",
            Self::Body(BodyError::Malformed) => "body_malformed",
            Self::Body(BodyError::Shutdown) => "shutdown",
            Self::Internal | Self::Body(BodyError::Internal) => "internal",
            Self::NoRoute => "no_route",
            Self::Misdirected => "misdirected",
            Self::NotImplemented => "not_implemented",
            Self::ExpectationFailed => "expectation_failed",
            Self::Overloaded => "overloaded",
            Self::UpstreamConnections => "upstream_connections",
            Self::RateLimited { .. } => "rate_limited",
            Self::TokenMissing => "token_missing",
            Self::TokenRefused => "token_refused",
            Self::TokenUnverifiable => "token_unverifiable",
            Self::ResponseTooLarge | Self::Body(BodyError::ResponseTooLarge) => {
                "response_too_large"
            }
            Self::NoBackend => "no_backend",
            Self::DnsError => "dns_error",
            Self::DnsTimeout => "dns_timeout",
            Self::UpstreamConnect => "upstream_connect",
            Self::UpstreamConnectTimeout => "upstream_connect_timeout",
            Self::UpstreamCertificate => "upstream_certificate",
            Self::UpstreamAlert => "upstream_alert",
            Self::UpstreamTls => "upstream_tls",
            Self::UpstreamRefused => "upstream_refused",
            Self::UpstreamBroken => "upstream_broken",
            Self::UpstreamMalformed => "upstream_malformed",
            Self::UpstreamHeaders => "upstream_headers",
            Self::NoTunnel => "no_tunnel",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::DeadlinePassed | Self::Body(BodyError::DeadlinePassed) => "deadline",
        }
    }
}

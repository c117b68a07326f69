use std::io;
use std::time::Duration;

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The system gave no socket.
    #[error("no socket")]
    Socket(#[source] io::Error),
    /// TCP could not connect, or was cut off.
    #[error("TCP: {0}")]
    Tcp(#[source] io::Error),
    /// The TLS handshake over TCP failed.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// QUIC could not begin.
    #[error("QUIC: {0}")]
    Begin(#[from] quinn::ConnectError),
    /// The QUIC connection failed.
    #[error("QUIC: {0}")]
    Quic(#[from] quinn::ConnectionError),
    /// The client did not accept the node's certificate.
    #[error("{0}")]
    Certificate(#[source] quinn::ConnectionError),
    /// A stream of the QUIC connection failed.
    #[error("QUIC: {0}")]
    Stream(#[source] BoxedError),
    /// The name is neither a DNS name nor an address.
    #[error("{0} is not a name that a certificate can have")]
    Name(String),
    /// The response does not begin as one of success does.
    #[error("the response is not of success")]
    Response,
    /// The other side ended the connection before its response.
    #[error("the connection ended before the response")]
    Ended,
    /// A step took longer than it may.
    #[error("{step} took longer than {limit:?}")]
    TimedOut {
        /// The step.
        step: &'static str,
        /// Its limit.
        limit: Duration,
    },
    /// A session was to be resumed and was not.
    #[error("the node resumed no session")]
    NotResumed,
    /// A full handshake was wanted, and a session was resumed.
    #[error("the node resumed a session")]
    Resumed,
    /// Early data was sent, and the node did not take it.
    #[error("the node refused early data")]
    EarlyDataRefused,
    /// The node gave no session for early data, or none at all.
    #[error("the node gave no session to come back with")]
    NoSession,
    /// The node gave no address token (RFC 9000, section 8.1.3).
    #[error("the node gave no address token")]
    NoToken,
    /// A Retry was expected and none came.
    #[error("the node sent no Retry")]
    NoRetry,
    /// A Retry came where none was expected.
    #[error("the node sent a Retry")]
    Retry,
    /// The group that the node does not have was not refused by a `HelloRetryRequest`.
    #[error("the node sent no HelloRetryRequest")]
    NoHelloRetryRequest,
    /// The mode has no client that dials.
    #[error("{0} is nothing that a client does")]
    NoClient(super::Mode),
    /// The mode needs what only a test bed has.
    #[error("{0} needs a route that this network cannot flip")]
    NoRoute(super::Mode),
}

impl DialError {
    /// What a stream of quinn's failed with, of which there are many kinds.
    pub(super) fn stream(error: impl Into<BoxedError>) -> Self {
        Self::Stream(error.into())
    }

    /// The name under which failures of this kind are counted.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Socket(_) => "socket",
            Self::Tcp(_) => "tcp",
            Self::Tls(error) => tls_name(error),
            Self::Begin(_) => "quic-begin",
            Self::Quic(error) => quic_name(error),
            Self::Certificate(_) => "certificate",
            Self::Stream(_) => "stream",
            Self::Name(_) => "name",
            Self::Response => "response",
            Self::Ended => "ended-early",
            Self::TimedOut { .. } => "timed-out",
            Self::NotResumed => "not-resumed",
            Self::Resumed => "resumed",
            Self::EarlyDataRefused => "early-data-refused",
            Self::NoSession => "no-session",
            Self::NoToken => "no-token",
            Self::NoRetry => "no-retry",
            Self::Retry => "retry",
            Self::NoHelloRetryRequest => "no-hello-retry-request",
            Self::NoClient(_) => "no-client",
            Self::NoRoute(_) => "no-route",
        }
    }
}

type BoxedError = Box<dyn std::error::Error + Send + Sync>;

fn tls_name(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(_) => "certificate",
        rustls::Error::NoApplicationProtocol => "protocol",
        _ => "tls",
    }
}

fn quic_name(error: &quinn::ConnectionError) -> &'static str {
    use quinn::ConnectionError as Quic;
    match error {
        Quic::VersionMismatch => "quic-version",
        Quic::TransportError(_) => "quic-transport",
        Quic::ConnectionClosed(_) | Quic::ApplicationClosed(_) => "closed-by-node",
        Quic::Reset => "reset",
        Quic::TimedOut => "timed-out",
        Quic::LocallyClosed | Quic::CidsExhausted => "quic",
    }
}

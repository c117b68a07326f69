use std::io;

use tokio::net::TcpStream;

use super::closing::say_goodbye;
use crate::edge::tls::{self, Opened, ServerTls};

/// Why a connection did not come to a complete handshake.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// It closed without a byte, as load balancers do to see whether the port is open.
    #[error("closed without a byte")]
    Silent,
    /// It speaks HTTP without TLS.
    #[error("HTTP without TLS")]
    Plaintext,
    /// Its first bytes are neither TLS nor HTTP.
    #[error("neither TLS nor HTTP")]
    Noise,
    /// It broke off or the two sides could not agree.
    #[error("the TLS handshake failed: {0}")]
    Handshake(#[from] io::Error),
    /// It took longer than `timeouts.handshake`.
    #[error("the TLS handshake took too long")]
    Timeout,
}

impl Refusal {
    /// The reason in metrics.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Silent => "closed_early",
            Self::Plaintext => "plaintext_http",
            Self::Noise => "not_tls",
            Self::Handshake(error) => tls::reason(error),
            Self::Timeout => "handshake_timeout",
        }
    }
}

/// Does the TLS handshake, without a deadline; a client that speaks plaintext HTTP is told so.
pub(super) async fn open(stream: TcpStream, tls: &ServerTls) -> Result<Opened, Refusal> {
    let mut first = [0; 8];
    let length = stream.peek(&mut first).await?;
    match &first[..length] {
        [] => Err(Refusal::Silent),
        [TLS_HANDSHAKE, ..] => Ok(tls.accept(stream).await?),
        first if is_http(first) => {
            say_goodbye(stream, PLAINTEXT_REPLY).await;
            Err(Refusal::Plaintext)
        }
        _ => Err(Refusal::Noise),
    }
}

fn is_http(first: &[u8]) -> bool {
    METHODS
        .iter()
        .any(|method| first.starts_with(method) || method.starts_with(first))
}

/// The content type of a TLS record that carries a handshake message (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 22;
/// `PRI` begins the preface of HTTP/2 (RFC 9113, section 3.4).
const METHODS: [&[u8]; 10] = [
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"PUT ",
    b"DELETE ",
    b"CONNECT ",
    b"OPTIONS ",
    b"TRACE ",
    b"PATCH ",
    b"PRI ",
];
const PLAINTEXT_REPLY: &str = "HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain\r\n\
    Content-Length: 36\r\n\
    Connection: close\r\n\
    \r\n\
    This port speaks TLS: use https://.\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_is_known_by_as_little_as_its_first_byte() {
        for first in [&b"G"[..], b"GET", b"GET / HT", b"OPTIONS ", b"PRI * HT"] {
            assert!(is_http(first), "{first:?}");
        }
        for first in [&b"X"[..], b"GETX", b"\x00\x01", b"get / ht", b"SSH-2.0-"] {
            assert!(!is_http(first), "{first:?}");
        }
    }

    #[test]
    fn the_plaintext_reply_states_its_length() {
        let (head, body) = PLAINTEXT_REPLY.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
    }
}

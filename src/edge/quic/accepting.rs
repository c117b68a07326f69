//! What connections are accepted with, and how their handshakes come out.

use std::sync::Arc;
use std::time::Duration;

use quinn::{ConnectionError, VarInt};

use super::{Served, Servers};
use crate::config::EarlyData;
use crate::edge::tls;
use crate::request::ClientCertificate;

/// What a connection gets when it is accepted, and keeps.
#[derive(Clone, Debug)]
pub(crate) struct QuicTerms {
    /// What is spoken on it.
    pub(crate) served: Served,
    /// From its first packet to a complete handshake.
    pub(crate) handshake: Duration,
    /// Whether every address is to be proven first.
    pub(crate) retry: bool,
    /// Whether requests are answered before its handshake is complete.
    pub(crate) early_data: EarlyData,
}

/// What a connection is accepted with. Both change in one step: who is asked for a certificate must not be
/// served as if nobody were.
#[derive(Debug)]
pub(super) struct Accepting {
    pub(super) terms: QuicTerms,
    pub(super) servers: Servers,
}

/// What a client whose handshake is complete proved of itself, or why it may not go on.
pub(super) fn proven(
    connection: &quinn::Connection,
) -> Result<Option<Arc<ClientCertificate>>, &'static str> {
    tls::proven_over_quic(connection.peer_identity(), tls::now()).map_err(|_ended| {
        connection.close(ACCESS_DENIED, b"certificate expired");
        "client_certificate_expired"
    })
}

/// What a handshake that failed is counted as.
pub(super) fn failure(error: &ConnectionError) -> &'static str {
    let ConnectionError::TransportError(error) = error else {
        return tls::reason_of_alert(0);
    };
    let alert = u64::from(error.code).checked_sub(FIRST_ALERT);
    let alert = alert.and_then(|alert| u8::try_from(alert).ok());
    tls::reason_of_alert(alert.unwrap_or_default())
}

/// `CRYPTO_ERROR` with the alert 0 (RFC 9001, section 4.8).
const FIRST_ALERT: u64 = 0x100;
/// `H3_REQUEST_REJECTED`: nothing of the client was looked at (RFC 9114, section 8.1).
const ACCESS_DENIED: VarInt = VarInt::from_u32(0x010b);

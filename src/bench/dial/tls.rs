use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
    WebPkiServerVerifier,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, DigitallySignedStruct, KeyLog, NamedGroup, RootCertStore, SignatureScheme,
};

use super::{DialError, KeyLogFile, key_exchange};
use crate::bench::KeyExchange;

/// TLS as one client does it, with the sessions that nodes gave it.
#[derive(Clone, Debug)]
pub(in crate::bench) struct ClientTls {
    pub(in crate::bench) config: ClientConfig,
    pub(in crate::bench) sessions: Arc<Sessions>,
    checked: Arc<Checked>,
}

/// What a client accepts and whom it tells its secrets.
#[derive(Clone, Debug)]
pub struct Trust {
    /// The certificates that a node's must lead to.
    pub roots: Vec<CertificateDer<'static>>,
    /// Where the secrets of connections are written for those who read the packets, if anywhere.
    pub key_log: Option<Arc<KeyLogFile>>,
}

impl ClientTls {
    /// Keeps sessions for `resumption`; otherwise every handshake is a full one, also of clients that dial
    /// at the same time.
    pub(in crate::bench) fn new(
        trust: &Trust,
        key_exchange: KeyExchange,
        resumption: Resuming,
    ) -> Result<Self, DialError> {
        let provider = Arc::new(key_exchange::provider(key_exchange));
        let mut roots = RootCertStore::empty();
        for root in &trust.roots {
            roots.add(root.clone())?;
        }
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .map_err(|error| rustls::Error::General(error.to_string()))?;
        let checked = Arc::new(Checked {
            verifier,
            certificates: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        });
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&checked) as Arc<dyn ServerCertVerifier>)
            .with_no_client_auth();
        let sessions = Arc::new(Sessions {
            resumption,
            kept: Mutex::default(),
        });
        config.resumption = Resumption::store(Arc::clone(&sessions) as Arc<dyn ClientSessionStore>);
        if let Some(log) = &trust.key_log {
            config.key_log = Arc::clone(log) as Arc<dyn KeyLog>;
        }
        Ok(Self {
            config,
            sessions,
            checked,
        })
    }

    /// How many certificates were checked, which a handshake that resumes a session does not do.
    pub(in crate::bench) fn certificates_checked(&self) -> u64 {
        self.checked.certificates.load(Ordering::Relaxed)
    }

    /// How many of them were refused.
    pub(super) fn certificates_refused(&self) -> u64 {
        self.checked.refused.load(Ordering::Relaxed)
    }
}

/// Checks certificates as every client does, and counts how often.
#[derive(Debug)]
struct Checked {
    verifier: Arc<WebPkiServerVerifier>,
    certificates: AtomicU64,
    refused: AtomicU64,
}

impl ServerCertVerifier for Checked {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.certificates.fetch_add(1, Ordering::Relaxed);
        let verified =
            self.verifier
                .verify_server_cert(end_entity, intermediates, name, ocsp_response, now);
        verified.inspect_err(|_refusal| {
            self.refused.fetch_add(1, Ordering::Relaxed);
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// Whether a client comes back with the sessions that it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bench) enum Resuming {
    Yes,
    No,
}

/// Sessions of one node, the newest [`SESSIONS`]. Each is used once, as RFC 8446, appendix C.4, asks.
///
/// It remembers no group that a node took, so that a client that guesses wrong does so each time.
pub(in crate::bench) struct Sessions {
    resumption: Resuming,
    kept: Mutex<VecDeque<Tls13ClientSessionValue>>,
}

impl Sessions {
    pub(super) fn len(&self) -> usize {
        self.kept().len()
    }

    pub(in crate::bench) fn clear(&self) {
        self.kept().clear();
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Tls13ClientSessionValue>> {
        self.kept.lock().expect("no holder panics")
    }
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, session: Tls13ClientSessionValue) {
        if self.resumption == Resuming::No {
            return;
        }
        let mut kept = self.kept();
        if kept.len() == SESSIONS {
            kept.pop_front();
        }
        kept.push_back(session);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.kept().pop_back()
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sessions").field(&self.len()).finish()
    }
}

const SESSIONS: usize = 8;

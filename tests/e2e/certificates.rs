//! TLS for clients that tell whether they resumed a session.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use wayhold::client::{Trust, tls_config};

/// Accepts every certificate, and counts them: a session that resumes shows none.
#[derive(Debug, Default)]
pub(crate) struct Counting(AtomicUsize);

impl ServerCertVerifier for Counting {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

impl Counting {
    /// How many there were.
    pub(crate) fn seen(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A configuration that keeps its tickets, and what counts the certificates that it sees.
pub(crate) fn counting_tls() -> (ClientConfig, Arc<Counting>) {
    let certificates = Arc::new(Counting::default());
    let mut tls = Arc::unwrap_or_clone(tls_config(&Trust::DangerousAnything).unwrap());
    tls.dangerous()
        .set_certificate_verifier(Arc::clone(&certificates) as Arc<dyn ServerCertVerifier>);
    (tls, certificates)
}

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::ClientError;

/// Which certificates a client accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Those that lead to a certificate of the system.
    System,
    /// Those that lead to a certificate in this PEM file.
    File(PathBuf),
    /// Those that lead to one of these certificates.
    Certificates(Vec<CertificateDer<'static>>),
    /// Any, which lets anyone on the way read and change everything.
    DangerousAnything,
}

/// Makes a TLS 1.3 configuration without ALPN, which each client sets for itself.
///
/// Clients made from the same configuration resume each other's sessions.
///
/// # Errors
/// [`ClientError::Certificates`] or [`ClientError::NoSystemCertificates`] when there is nothing to
/// trust.
pub fn tls_config(trust: &Trust) -> Result<Arc<ClientConfig>, ClientError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        Trust::System => by_roots(system_roots()?, &provider)?,
        Trust::File(path) => by_roots(read_roots(path)?, &provider)?,
        Trust::Certificates(certificates) => by_roots(certificates.clone(), &provider)?,
        Trust::DangerousAnything => Arc::new(AcceptAnything(Arc::clone(&provider))),
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The configuration with one protocol to agree on; it shares the session store.
pub(super) fn with_alpn(config: &ClientConfig, protocol: &'static str) -> ClientConfig {
    let mut config = config.clone();
    config.alpn_protocols = vec![protocol.into()];
    config
}

/// The certificates that lead to whom a client accepts.
///
/// # Errors
/// As for [`tls_config`]; there are none for [`Trust::DangerousAnything`].
pub fn certificates(trust: &Trust) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    match trust {
        Trust::System => system_roots(),
        Trust::File(path) => read_roots(path),
        Trust::Certificates(certificates) => Ok(certificates.clone()),
        Trust::DangerousAnything => Ok(Vec::new()),
    }
}

fn by_roots(
    certificates: Vec<CertificateDer<'static>>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, ClientError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate)?;
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| ClientError::Tls(rustls::Error::General(error.to_string())))
}

fn system_roots() -> Result<Vec<CertificateDer<'static>>, ClientError> {
    // A system store often holds a few files that do not parse; the rest of it is good.
    let certificates = rustls_native_certs::load_native_certs().certs;
    if certificates.is_empty() {
        return Err(ClientError::NoSystemCertificates);
    }
    Ok(certificates)
}

fn read_roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let refuse = |reason: String| ClientError::Certificates {
        path: path.to_owned(),
        reason,
    };
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| refuse(error.to_string()))?;
    if certificates.is_empty() {
        return Err(refuse("no PEM certificate in it".into()));
    }
    Ok(certificates)
}

/// Accepts any certificate, but still only from a peer that holds its key.
#[derive(Debug)]
struct AcceptAnything(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAnything {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

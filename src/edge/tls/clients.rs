//! Who clients are: whose certificates are taken, and what is told of them.

use std::any::Any;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest::{self, SHA256};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    AlertDescription, CertificateError, DigitallySignedStruct, DistinguishedName, Error,
    OtherError, RootCertStore, SignatureScheme,
};

use super::config::provider;
use super::identity::{malformed, parse_chain, read_error};
use super::x509::Fields;
use super::{IdentityWarning, TlsError};
use crate::config::ClientAuth;
use crate::pem::{self, PemError};
use crate::request::ClientCertificate;

/// Whose certificates a listener takes from clients.
#[derive(Clone, Debug)]
pub(crate) struct ClientPolicy {
    verifier: Arc<dyn ClientCertVerifier>,
    digest: [u8; 32],
    path: PathBuf,
    expired: Option<SystemTime>,
}

impl ClientPolicy {
    /// Reads the authorities, and what they have revoked, from files in PEM; gives nothing where clients are
    /// not asked.
    ///
    /// # Errors
    /// Names the file and the reason.
    pub(crate) fn load(
        mode: ClientAuth,
        authorities: Option<&Path>,
        revoked: Option<&Path>,
    ) -> Result<Option<Self>, TlsError> {
        let (ClientAuth::Optional | ClientAuth::Required, Some(path)) = (mode, authorities) else {
            return Ok(None);
        };
        let authorities = read(path)?;
        let lists = revoked.map(read_lists).transpose()?.unwrap_or_default();
        let mut roots = RootCertStore::empty();
        for authority in &authorities {
            let unusable = |_error| malformed(path, "a certificate in it is no authority's");
            roots.add(authority.clone()).map_err(unusable)?;
        }
        let verifier =
            verifier(mode, roots, lists.clone()).map_err(|reason| TlsError::Clients {
                path: revoked.unwrap_or(path).to_owned(),
                reason,
            })?;
        let ends = authorities.iter().filter_map(|der| Fields::of(der));
        Ok(Some(Self {
            verifier: Arc::new(Bounded(verifier)),
            digest: digest_of(mode, &authorities, &lists),
            path: path.to_owned(),
            expired: ends.map(|fields| fields.validity.not_after).min(),
        }))
    }

    /// What an operator should mend: webpki takes an authority for as long as it is in the file.
    pub(crate) fn warnings(&self, now: SystemTime) -> Option<IdentityWarning> {
        let since = self.expired.filter(|end| now > *end)?;
        Some(IdentityWarning::Expired {
            path: self.path.clone(),
            since,
        })
    }

    /// Differs wherever whom to take differs. Sessions are bound to it.
    pub(crate) fn digest(&self) -> [u8; 32] {
        self.digest
    }

    pub(super) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.verifier)
    }
}

/// What a client proved of itself, from what the TLS library has; nothing if it showed no certificate.
///
/// # Errors
/// The certificate has ended since the session began that was resumed.
pub(crate) fn proven(
    chain: Option<&[CertificateDer<'static>]>,
    now: SystemTime,
) -> Result<Option<Arc<ClientCertificate>>, Error> {
    let Some((leaf, rest)) = chain.and_then(<[_]>::split_first) else {
        return Ok(None);
    };
    let fields = Fields::of(leaf).ok_or(CertificateError::BadEncoding)?;
    if now > fields.validity.not_after {
        return Err(CertificateError::Expired.into());
    }
    let rest = rest
        .iter()
        .map(|certificate| certificate.to_vec())
        .collect();
    let certificate = ClientCertificate::new(leaf.to_vec(), rest, fields.subject);
    Ok(Some(Arc::new(certificate)))
}

/// The same, from what a QUIC connection has.
///
/// # Errors
/// As for [`proven`].
pub(crate) fn proven_over_quic(
    identity: Option<Box<dyn Any>>,
    now: SystemTime,
) -> Result<Option<Arc<ClientCertificate>>, Error> {
    let chain =
        identity.and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok());
    proven(chain.as_deref().map(Vec::as_slice), now)
}

/// What a handshake that failed is counted as.
pub(crate) fn reason(error: &io::Error) -> &'static str {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>());
    let alert = match inner {
        Some(Error::NoCertificatesPresented) => AlertDescription::CertificateRequired,
        Some(Error::InvalidCertificate(error)) => {
            let alert = AlertDescription::from(error.clone());
            return match reason_of_alert(alert.into()) {
                FAILED => INVALID,
                reason => reason,
            };
        }
        // The one thing of this kind: no certificate for the name that the client asks for.
        Some(Error::General(_)) => AlertDescription::AccessDenied,
        _ => return FAILED,
    };
    reason_of_alert(alert.into())
}

/// What a handshake that was ended here with this alert is counted as (RFC 8446, section 6.2).
pub(crate) fn reason_of_alert(alert: u8) -> &'static str {
    match AlertDescription::from(alert) {
        AlertDescription::CertificateRequired => "client_certificate_missing",
        AlertDescription::CertificateExpired => "client_certificate_expired",
        AlertDescription::CertificateRevoked => "client_certificate_revoked",
        AlertDescription::UnknownCA => "client_certificate_unknown_ca",
        AlertDescription::UnsupportedCertificate => "client_certificate_purpose",
        AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => INVALID,
        AlertDescription::AccessDenied => "unknown_name",
        _ => FAILED,
    }
}

fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = std::fs::read(path).map_err(|source| read_error(path, source))?;
    parse_chain(path, &text)
}

fn read_lists(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let text = std::fs::read(path).map_err(|source| read_error(path, source))?;
    pem::all(&text).map_err(|error| match error {
        PemError::Nothing => malformed(path, "no list of what is revoked is in it"),
        PemError::Malformed(reason) => malformed(path, reason),
    })
}

fn verifier(
    mode: ClientAuth,
    roots: RootCertStore,
    lists: Vec<CertificateRevocationListDer<'static>>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let hints: usize = roots
        .subjects()
        .iter()
        .map(|name| name.as_ref().len())
        .sum();
    let mut builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).with_crls(lists);
    // A list that has run out says nothing about today.
    builder = builder.enforce_revocation_expiration();
    if hints > MOST_HINTS {
        builder = builder.clear_root_hint_subjects();
    }
    if mode == ClientAuth::Optional {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(|error| error.to_string())
}

fn digest_of(
    mode: ClientAuth,
    authorities: &[CertificateDer<'_>],
    lists: &[CertificateRevocationListDer<'_>],
) -> [u8; 32] {
    let mut sum = digest::Context::new(&SHA256);
    sum.update(match mode {
        ClientAuth::Required => b"required",
        ClientAuth::Optional | ClientAuth::Off => b"optional",
    });
    let mut parts: Vec<_> = authorities.iter().map(|der| (b'a', &der[..])).collect();
    parts.extend(lists.iter().map(|der| (b'r', der.as_ref())));
    for (kind, part) in parts {
        sum.update(&[kind]);
        sum.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        sum.update(part);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(sum.finish().as_ref());
    digest
}

/// Refuses what would make a client costly, before anything of it is verified.
#[derive(Debug)]
struct Bounded(Arc<dyn ClientCertVerifier>);

/// The client's chain is longer than a connection may hold for it.
#[derive(Debug, thiserror::Error)]
#[error("the chain has more than {MOST_CERTIFICATES} certificates or {MOST_BYTES} bytes")]
struct TooLong;

impl ClientCertVerifier for Bounded {
    fn offer_client_auth(&self) -> bool {
        self.0.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let bytes = rest.iter().map(|der| der.len()).sum::<usize>() + leaf.len();
        if rest.len() >= MOST_CERTIFICATES || bytes > MOST_BYTES {
            return Err(CertificateError::Other(OtherError(Arc::new(TooLong))).into());
        }
        self.0.verify_client_cert(leaf, rest, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

const FAILED: &str = "handshake_failed";
const INVALID: &str = "client_certificate_invalid";
/// Certificates of a client, its own among them.
const MOST_CERTIFICATES: usize = 8;
/// Bytes of a client's chain, which the gateway holds for the connection and sends with each request.
const MOST_BYTES: usize = 12 << 10;
/// Bytes of the authorities' names that clients are told, to choose a certificate by. More would not fit
/// into a first flight over QUIC.
const MOST_HINTS: usize = 1 << 10;

//! TLS to backends: whom they have to be, who the gateway is to them, and which protocol is spoken. The
//! only module of the bridge that names rustls.
//!
//! The provider is passed explicitly and `SSLKEYLOGFILE` is not honoured, as at the edge. Nothing turns
//! the verification of a backend off.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, Error, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use crate::config::{Alpn, UpstreamTls};
use crate::pem::{self, PemError};
use crate::request::{Protocol, RequestError};

/// What a backend and the gateway say to each other.
pub(super) type TlsStream = tokio_rustls::client::TlsStream<TcpStream>;

/// TLS to the backends of one pool.
#[derive(Clone, Debug)]
pub(super) struct PoolTls {
    requests: Arc<ClientConfig>,
    tunnels: Arc<ClientConfig>,
    name: Option<ServerName<'static>>,
    /// A hash of the files that it was made from.
    files: Vec<u8>,
}

/// Whether both were made from the same files; what else the configuration says is not looked at.
impl PartialEq for PoolTls {
    fn eq(&self, other: &Self) -> bool {
        self.files == other.files
    }
}

/// TLS to one backend.
#[derive(Clone, Debug)]
pub(super) struct BackendTls {
    requests: Arc<ClientConfig>,
    tunnels: Arc<ClientConfig>,
    name: ServerName<'static>,
}

/// What a connection is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Requests one after the other or beside each other, and probes.
    Requests,
    /// One tunnel.
    Tunnel,
}

/// Why there can be no TLS to the backends of a pool.
#[derive(Debug, thiserror::Error)]
pub(super) enum PoolTlsError {
    /// A file cannot be read: check the path and the permissions.
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// The PEM form or its content is broken, or what the key is for is missing.
    #[error("{}: {reason}", path.display())]
    Malformed { path: PathBuf, reason: String },
    /// The system has no certificates to trust; name some in `ca`.
    #[error("this system has no root certificates, and there is no \"ca\"")]
    NoRoots,
    /// The name cannot be that of a certificate.
    #[error("{0:?} is no name that a certificate can have")]
    Name(String),
    /// `client_cert` and `client_key` are not those of one another.
    #[error("the key in {} does not match the certificate in {}", key.display(), cert.display())]
    Mismatch { cert: PathBuf, key: PathBuf },
    /// The TLS library refused the certificate and key, or to start.
    #[error("{0}")]
    Library(#[from] Error),
}

impl PoolTls {
    /// Reads the files that a pool names.
    pub(super) fn load(tls: &UpstreamTls) -> Result<Self, PoolTlsError> {
        let roots = authorities(tls.ca.as_deref())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_root_certificates(roots);
        let config = match (&tls.client_cert, &tls.client_key) {
            (Some(cert), Some(key)) => {
                let made = builder.with_client_auth_cert(chain(cert)?, private(key)?);
                made.map_err(|error| no_pair(error, cert, key))?
            }
            _ => builder.with_no_client_auth(),
        };
        let name = tls.server_name.as_deref().map(server_name).transpose()?;
        let offering = |protocols: &[Protocol]| {
            let names = protocols.iter().map(|protocol| protocol.name().into());
            let mut config = config.clone();
            config.alpn_protocols = names.collect();
            Arc::new(config)
        };
        let (http1, http2) = (Protocol::Http1, Protocol::Http2);
        Ok(match tls.alpn {
            // Most backends that speak HTTP/2 open tunnels over HTTP/1.1 only.
            Alpn::Any => Self {
                requests: offering(&[http2, http1]),
                tunnels: offering(&[http1]),
                name,
                files: files(tls)?,
            },
            Alpn::Http1 => Self::same(offering(&[http1]), name, files(tls)?),
            Alpn::Http2 => Self::same(offering(&[http2]), name, files(tls)?),
        })
    }

    /// The TLS to a backend, whose host is its name unless the pool has another for all.
    pub(super) fn to(&self, host: &str) -> Result<BackendTls, PoolTlsError> {
        Ok(BackendTls {
            requests: Arc::clone(&self.requests),
            tunnels: Arc::clone(&self.tunnels),
            name: match &self.name {
                Some(name) => name.clone(),
                None => server_name(host)?,
            },
        })
    }

    fn same(config: Arc<ClientConfig>, name: Option<ServerName<'static>>, files: Vec<u8>) -> Self {
        Self {
            tunnels: Arc::clone(&config),
            requests: config,
            name,
            files,
        }
    }
}

/// A hash of all files that a pool names.
fn files(tls: &UpstreamTls) -> Result<Vec<u8>, PoolTlsError> {
    let mut hash = digest::Context::new(&digest::SHA256);
    for path in [&tls.ca, &tls.client_cert, &tls.client_key] {
        let Some(path) = path else { continue };
        let read = std::fs::read(path).map_err(|source| PoolTlsError::Read {
            path: path.clone(),
            source,
        })?;
        let content = Zeroizing::new(read);
        hash.update(&content.len().to_be_bytes());
        hash.update(&content);
    }
    Ok(hash.finish().as_ref().to_vec())
}

impl BackendTls {
    /// Does the handshake, without a deadline of its own, and says which protocol the backend chose; one
    /// that chose none speaks HTTP/1.1.
    ///
    /// # Errors
    /// Nothing of a request was sent: [`RequestError::UpstreamCertificate`] if the backend is not who it
    /// has to be, [`RequestError::UpstreamAlert`] if it refuses, and [`RequestError::UpstreamTls`].
    pub(super) async fn handshake(
        &self,
        tcp: TcpStream,
        purpose: Purpose,
    ) -> Result<(TlsStream, Protocol), RequestError> {
        let config = match purpose {
            Purpose::Requests => &self.requests,
            Purpose::Tunnel => &self.tunnels,
        };
        let stream = TlsConnector::from(Arc::clone(config))
            .connect(self.name.clone(), tcp)
            .await
            .map_err(|error| {
                tracing::debug!(name = ?self.name, %error, "no TLS with the upstream");
                classify(&error)
            })?;
        let http1 = Protocol::Http1.name().as_bytes();
        let offered = &config.alpn_protocols;
        let protocol = match stream.get_ref().1.alpn_protocol() {
            Some(name) if name == Protocol::Http2.name().as_bytes() => Protocol::Http2,
            Some(_) => Protocol::Http1,
            None if offered.iter().any(|name| name == http1) => Protocol::Http1,
            None => return Err(RequestError::UpstreamTls),
        };
        Ok((stream, protocol))
    }
}

/// Says what became of a handshake in the words of RFC 9209, section 2.3.
fn classify(error: &io::Error) -> RequestError {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::InvalidCertificate(_) | Error::NoCertificatesPresented) => {
            RequestError::UpstreamCertificate
        }
        Some(Error::AlertReceived(_)) => RequestError::UpstreamAlert,
        _ => RequestError::UpstreamTls,
    }
}

fn server_name(host: &str) -> Result<ServerName<'static>, PoolTlsError> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(bare.to_owned()).map_err(|_invalid| PoolTlsError::Name(host.to_owned()))
}

fn roots(path: &Path) -> Result<RootCertStore, PoolTlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(path)? {
        roots
            .add(certificate)
            .map_err(|error| malformed(path, &error.to_string()))?;
    }
    Ok(roots)
}

/// The authorities that certificates must lead to: those of a file in PEM, or else of the system.
pub(super) fn authorities(ca: Option<&Path>) -> Result<RootCertStore, PoolTlsError> {
    ca.map_or_else(system_roots, roots)
}

/// What the system trusts. What of it is malformed is left out, as other programs do.
fn system_roots() -> Result<RootCertStore, PoolTlsError> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!(%error, "cannot read a root certificate");
    }
    let mut roots = RootCertStore::empty();
    let (added, left_out) = roots.add_parsable_certificates(found.certs);
    tracing::debug!(added, left_out, "root certificates of the system");
    if roots.is_empty() {
        return Err(PoolTlsError::NoRoots);
    }
    Ok(roots)
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, PoolTlsError> {
    pem::all(&read(path)?).map_err(|error| unusable(path, error, "no certificate found"))
}

fn private(path: &Path) -> Result<PrivateKeyDer<'static>, PoolTlsError> {
    let metadata = std::fs::metadata(path).map_err(|source| PoolTlsError::Read {
        path: path.to_owned(),
        source,
    })?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let path = path.display();
        tracing::warn!(%path, mode = format!("{mode:04o}"), "others than its owner can read the key");
    }
    let text = Zeroizing::new(read(path)?);
    pem::key(&text).map_err(|error| unusable(path, error, "no private key found"))
}

fn read(path: &Path) -> Result<Vec<u8>, PoolTlsError> {
    std::fs::read(path).map_err(|source| PoolTlsError::Read {
        path: path.to_owned(),
        source,
    })
}

fn no_pair(error: Error, cert: &Path, key: &Path) -> PoolTlsError {
    match error {
        Error::InconsistentKeys(_) => PoolTlsError::Mismatch {
            cert: cert.to_owned(),
            key: key.to_owned(),
        },
        other => other.into(),
    }
}

fn unusable(path: &Path, error: PemError, nothing: &str) -> PoolTlsError {
    match error {
        PemError::Nothing => malformed(path, nothing),
        PemError::Malformed(reason) => malformed(path, reason),
    }
}

fn malformed(path: &Path, reason: &str) -> PoolTlsError {
    PoolTlsError::Malformed {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}

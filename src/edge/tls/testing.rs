//! Certificates, clients and directories for tests.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::config::provider;
use super::{Certificates, FleetTicketer, Identity, ServerTls};
use crate::config::UnknownName;
use crate::request::Protocol;

/// A directory of its own, removed with its content.
pub(crate) struct Directory(TempDir);

impl Directory {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file of mode 0600.
    pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.path().join(name);
        let mut file = std::fs::File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .unwrap();
        file.write_all(content.as_bytes()).unwrap();
        path
    }
}

/// A self-signed certificate for `localhost` and its key, in PEM, valid from 2020 to 2100.
pub(crate) fn mint() -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2100, 1, 1);
    let certificate = params.self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// Waits until there is something, for ten seconds at most.
pub(crate) fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..10_000 {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    panic!("it did not come");
}

/// ECDSA on P-256.
pub(crate) const EC: &rcgen::SignatureAlgorithm = &rcgen::PKCS_ECDSA_P256_SHA256;

/// A self-signed identity for these names, with a key of this kind.
pub(crate) fn identity_for(names: &[&str], kind: &'static rcgen::SignatureAlgorithm) -> Identity {
    let key = rcgen::KeyPair::generate_for(kind).unwrap();
    let names = names.iter().map(|&name| name.to_owned());
    let mut params = rcgen::CertificateParams::new(names.collect::<Vec<_>>()).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2100, 1, 1);
    let certificate = params.self_signed(&key).unwrap();
    Identity::from_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap()
}

/// What a listener speaks that has this identity alone and asks clients for none.
pub(crate) fn server(identity: &Identity, ticketer: &FleetTicketer) -> ServerTls {
    let shown = Certificates::new(identity.clone(), Vec::new(), UnknownName::Default);
    ServerTls::new(&Arc::new(shown), None, ticketer).unwrap()
}

/// Loads a minted identity and makes a client that trusts nothing else.
pub(crate) fn identity_and_client(protocols: &[Protocol]) -> (Identity, Client) {
    let directory = Directory::new();
    let (cert, key) = mint();
    let cert = directory.write("tls.pem", &cert);
    let key = directory.write("tls.key", &key);
    let identity = Identity::load(&cert, &key).unwrap();
    let client = Client::new(&identity, protocols);
    (identity, client)
}

/// A TLS client that keeps the tickets it gets.
#[derive(Clone)]
pub(crate) struct Client(TlsConnector);

impl Client {
    pub(crate) fn new(identity: &Identity, protocols: &[Protocol]) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(identity.certified().cert[0].clone()).unwrap();
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols
            .iter()
            .map(|protocol| protocol.name().into())
            .collect();
        Self(TlsConnector::from(Arc::new(config)))
    }

    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(self.0.config())
    }

    pub(crate) async fn connect(&self, address: SocketAddr) -> io::Result<ClientStream> {
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        self.0.connect(name, stream).await
    }
}

pub(crate) type ClientStream = tokio_rustls::client::TlsStream<TcpStream>;

pub(crate) fn is_resumed(stream: &ClientStream) -> bool {
    stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
}

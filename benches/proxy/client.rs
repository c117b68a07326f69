//! The clients, which are the same for all gateways.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use wayhold::client::{Http3Client, Patience, ResponseBody, Target, TcpClient};
use wayhold::request::Body;

use super::Result;

/// The version of HTTP between client and gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Http2,
    Http3,
}

/// How clients connect: only with TLS 1.3, X25519 and AES-128-GCM, so that every gateway computes
/// the same, and without resumption.
pub(crate) fn tls(certificate: CertificateDer<'static>) -> Result<Arc<ClientConfig>> {
    let suite = aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let provider = CryptoProvider {
        cipher_suites: vec![suite],
        kx_groups: vec![aws_lc_rs::kx_group::X25519],
        ..aws_lc_rs::default_provider()
    };
    let mut roots = RootCertStore::empty();
    roots.add(certificate)?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// A connection, as a client of either version has it.
pub(crate) enum Connection {
    Http2(TcpClient),
    Http3(Box<Http3Client>),
}

impl Connection {
    pub(crate) async fn open(
        version: Version,
        target: &Target,
        tls: &ClientConfig,
    ) -> Result<Self> {
        Ok(match version {
            Version::Http2 => Self::Http2(TcpClient::connect(target, tls, PATIENCE).await?),
            Version::Http3 => {
                Self::Http3(Box::new(Http3Client::connect(target, tls, PATIENCE).await?))
            }
        })
    }

    /// One request up to the last byte of its response: the status, and the length of the content.
    pub(crate) async fn get(&self, target: &Target, path: &str) -> Result<(StatusCode, usize)> {
        let uri = format!("https://{}:{}{path}", target.name, target.address.port());
        let request = Request::get(uri)
            .header("user-agent", "wayhold-bench")
            .header("accept", "*/*")
            .body(Body::empty())?;
        let response = match self {
            Self::Http2(client) => client.send(request).await?,
            Self::Http3(client) => client.send(request).await?,
        };
        let status = response.status();
        Ok((status, drain(response.into_body()).await?))
    }
}

async fn drain(mut body: ResponseBody) -> Result<usize> {
    let mut received = 0;
    while let Some(chunk) = body.chunk().await? {
        received += chunk.len();
    }
    Ok(received)
}

const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(5),
    response: Duration::from_secs(5),
    idle: Duration::from_secs(5),
    keep_alive: Duration::from_secs(5),
};

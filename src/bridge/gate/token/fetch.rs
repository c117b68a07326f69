use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio_rustls::TlsConnector;

use crate::bridge::driven::driven;
use crate::bridge::tls::{self, PoolTlsError};

/// What was fetched, and for how long it is good by what the response says.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) body: Bytes,
    pub(super) max_age: Option<Duration>,
}

/// Why nothing was fetched.
#[derive(Debug, thiserror::Error)]
pub(in crate::bridge) enum FetchError {
    #[error("no answer in time")]
    Late,
    #[error("not a URL")]
    Url,
    #[error("no connection: {0}")]
    Connect(#[from] io::Error),
    #[error("no TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error("{0}")]
    Authorities(#[from] PoolTlsError),
    #[error("no answer: {0}")]
    Http(#[from] hyper::Error),
    #[error("answered with {0}")]
    Status(StatusCode),
    #[error("the answer broke off, or has more than {MAX_BYTES} bytes")]
    Body,
    #[error("the reader of authorities panicked")]
    Panicked,
}

/// Fetches what is at a URL of HTTPS, by one GET on a connection of its own. Redirects are not followed:
/// the issuer's keys come from where the operator says. Dropping the future ends the connection.
pub(super) async fn fetch(url: &str, ca: Option<&Path>) -> Result<Fetched, FetchError> {
    let uri: Uri = url.parse().map_err(|_error| FetchError::Url)?;
    let (Some(host), Some(authority)) = (uri.host(), uri.authority()) else {
        return Err(FetchError::Url);
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned()).map_err(|_error| FetchError::Url)?;
    let ca = ca.map(Path::to_owned);
    let config = spawn_blocking(move || config(ca.as_deref())).await;
    let config = config.map_err(|_panicked| FetchError::Panicked)??;
    let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(443))).await?;
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .handshake(TokioIo::new(stream))
        .await?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(header::HOST, authority.as_str())
        .header(header::ACCEPT, "application/jwk-set+json, application/json")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|_error| FetchError::Url)?;
    let answer = async {
        let response = sender.send_request(request).await?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let max_age = max_age(response.headers());
        let limit = usize::try_from(MAX_BYTES).unwrap_or(usize::MAX);
        let body = Limited::new(response.into_body(), limit).collect().await;
        Ok(Fetched {
            body: body.map_err(|_error| FetchError::Body)?.to_bytes(),
            max_age,
        })
    };
    driven(answer, connection).await
}

fn config(ca: Option<&Path>) -> Result<ClientConfig, FetchError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(tls::authorities(ca)?)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// For how long a response is fresh (RFC 9111, section 5.2.2); not at all where it must not be kept or used
/// without asking.
fn max_age(fields: &HeaderMap) -> Option<Duration> {
    let directives = fields.get_all(header::CACHE_CONTROL).iter();
    let directives = directives
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim);
    let mut fresh = None;
    for directive in directives {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "no-store" | "no-cache" => return Some(Duration::ZERO),
            "max-age" => {
                let seconds = value.trim().trim_matches('"').parse().unwrap_or(0);
                fresh = Some(Duration::from_secs(seconds));
            }
            _ => {}
        }
    }
    let age = fields.get(header::AGE).and_then(|age| age.to_str().ok());
    let age = age.and_then(|age| age.trim().parse().ok()).unwrap_or(0);
    fresh.map(|fresh| fresh.saturating_sub(Duration::from_secs(age)))
}

/// Of a JWK Set, fetched or in a file.
pub(super) const MAX_BYTES: u64 = 1 << 20;
/// Of a response's header section; hyper takes no less than 8 KiB.
const MAX_HEAD: usize = 64 << 10;

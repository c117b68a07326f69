//! TLS to backends: who they have to be, what is spoken, and what failures come to.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

use super::pools::pooled;
use super::*;
use crate::config::{Alpn, Pool, Probe};
use crate::request::ConnectProtocol;

/// An authority that signs certificates for one test.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: Certificate,
    directory: TempDir,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self {
            certificate: params.self_signed(&key).unwrap(),
            issuer: Issuer::new(params, key),
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn sign(&self, name: &str, until: i32) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Lets a pool trust it, and it alone.
    fn trusted(&self, pool: &mut Pool) {
        pool.tls.ca = Some(self.write("ca.pem", &self.certificate.pem()));
        pool.health.failures = 0;
    }

    /// What a backend of this name is configured by.
    fn server(&self, name: &str, versions: &[&'static SupportedProtocolVersion]) -> ServerConfig {
        identified(self.sign(name, 2100), versions)
    }
}

fn identified(
    (certificate, key): (Certificate, KeyPair),
    versions: &[&'static SupportedProtocolVersion],
) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            key.serialize_der().try_into().unwrap(),
        )
        .unwrap()
}

const BOTH: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

fn speaking(mut config: ServerConfig, protocols: &[&str]) -> Arc<ServerConfig> {
    config.alpn_protocols = protocols.iter().map(|name| (*name).into()).collect();
    Arc::new(config)
}

/// A backend that says what was spoken with it, and who asked.
struct Server {
    upstream: config::Upstream,
    connections: Arc<AtomicU64>,
    config: Arc<Mutex<Arc<ServerConfig>>>,
    tasks: JoinSet<()>,
}

impl Server {
    async fn start(config: Arc<ServerConfig>) -> Self {
        let backend = Backend::bind().await;
        let connections = Arc::new(AtomicU64::new(0));
        let upstream = backend.upstream(UpstreamProtocol::Https);
        let mut server = Self {
            upstream,
            connections: Arc::clone(&connections),
            config: Arc::new(Mutex::new(config)),
            tasks: JoinSet::new(),
        };
        let config = Arc::clone(&server.config);
        server.tasks.spawn(async move {
            let mut connected = JoinSet::new();
            loop {
                let (stream, _) = backend.0.accept().await.unwrap();
                let config = Arc::clone(&config.lock().unwrap());
                let connections = Arc::clone(&connections);
                connected.spawn(async move {
                    if let Ok(stream) = TlsAcceptor::from(config).accept(stream).await {
                        connections.fetch_add(1, Ordering::Relaxed);
                        answer(stream).await;
                    }
                });
            }
        });
        server
    }

    fn count(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}

/// Serves requests with what was spoken, and closes the connection after one to `/close`.
async fn answer(stream: tokio_rustls::server::TlsStream<TcpStream>) {
    let (_, tls) = stream.get_ref();
    let protocol = tls.alpn_protocol().map(<[u8]>::to_vec);
    let said = format!(
        "{} {} {}",
        String::from_utf8(protocol.clone().unwrap_or_default()).unwrap(),
        tls.server_name().unwrap_or("-"),
        if tls.peer_certificates().is_some() {
            "known"
        } else {
            "unknown"
        },
    );
    let service = service_fn(move |request: Request<Incoming>| {
        let said = format!("{said} {}", request.uri().scheme_str().unwrap_or("-"));
        async { Ok::<_, BodyError>(Response::new(Body::full(said))) }
    });
    let io = TokioIo::new(stream);
    // Some tests break the connection.
    if protocol.as_deref() == Some(b"h2") {
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _broken = builder.serve_connection(io, service).await;
    } else {
        let builder = hyper::server::conn::http1::Builder::new();
        let _broken = builder.serve_connection(io, service).await;
    }
}

async fn said(bridge: &Bridge) -> String {
    let response = ask(bridge, request("POST", Body::empty())).await.unwrap();
    text(response).await
}

#[tokio::test]
async fn the_backend_chooses_the_protocol_unless_one_is_pinned() {
    let authority = Authority::new();
    let both = &["h2", "http/1.1"][..];
    for (alpn, offers, expected) in [
        (Alpn::Any, both, "h2 app.test unknown https"),
        (Alpn::Any, &["http/1.1", "h2"], "h2 app.test unknown https"),
        (Alpn::Any, &["http/1.1"], "http/1.1 app.test unknown -"),
        (Alpn::Any, &[], " app.test unknown -"),
        (Alpn::Http1, both, "http/1.1 app.test unknown -"),
        (Alpn::Http1, &[], " app.test unknown -"),
        (Alpn::Http2, both, "h2 app.test unknown https"),
    ] {
        let offers: Vec<_> = match (alpn, offers) {
            // The backend's preference decides.
            (Alpn::Any, ["http/1.1", "h2"]) => both.to_vec(),
            _ => offers.to_vec(),
        };
        let server = Server::start(speaking(authority.server("app.test", BOTH), &offers)).await;
        let (bridge, _) = pooled(vec![server.upstream.clone()], |pool| {
            authority.trusted(pool);
            pool.tls.alpn = alpn;
            pool.tls.server_name = Some("app.test".to_owned());
        });
        for _ in 0..3 {
            assert_eq!(said(&bridge).await, expected, "{alpn:?} {offers:?}");
        }
        assert_eq!(server.count(), 1, "{alpn:?} {offers:?}");
    }
}

#[tokio::test]
async fn a_backend_of_tls_1_2_is_spoken_to_and_an_address_is_a_name() {
    let authority = Authority::new();
    let old = authority.server("127.0.0.1", &[&rustls::version::TLS12]);
    let server = Server::start(speaking(old, &["h2"])).await;
    let (bridge, _) = pooled(vec![server.upstream.clone()], |pool| {
        authority.trusted(pool);
    });
    assert_eq!(said(&bridge).await, "h2 - unknown https");
}

#[tokio::test]
async fn a_backend_may_choose_otherwise_with_its_next_connection() {
    let authority = Authority::new();
    let config = authority.server("127.0.0.1", BOTH);
    let (http1, http2) = (
        speaking(config.clone(), &["http/1.1"]),
        speaking(config, &["h2"]),
    );
    let mut server = Server::start(Arc::clone(&http2)).await;
    let (bridge, _) = pooled(vec![server.upstream.clone()], |pool| {
        authority.trusted(pool);
    });
    assert!(said(&bridge).await.starts_with("h2"));
    for (config, expected) in [(&http1, "http/1.1"), (&http2, "h2"), (&http1, "http/1.1")] {
        *server.config.lock().unwrap() = Arc::clone(config);
        let address = server.upstream.authority.clone();
        server.tasks.shutdown().await;
        let backend = Backend(TcpListener::bind(address).await.unwrap());
        let config = Arc::clone(&server.config);
        server.tasks.spawn(async move {
            loop {
                let (stream, _) = backend.0.accept().await.unwrap();
                let config = Arc::clone(&config.lock().unwrap());
                answer(TlsAcceptor::from(config).accept(stream).await.unwrap()).await;
            }
        });
        // The bridge may learn of the end of the old connection only by a request.
        let spoken = loop {
            match ask(&bridge, request("GET", Body::empty())).await {
                Ok(response) => break text(response).await,
                Err(error) => assert_eq!(error.origin(), crate::request::Origin::Upstream),
            }
        };
        assert!(spoken.starts_with(expected), "{spoken}");
    }
}

#[tokio::test]
async fn many_requests_at_once_share_the_connection_that_the_first_makes() {
    let authority = Authority::new();
    for (offer, most) in [("h2", 1), ("http/1.1", 10)] {
        let server = authority.server("127.0.0.1", BOTH);
        let server = Server::start(speaking(server, &[offer])).await;
        let (bridge, _) = pooled(vec![server.upstream.clone()], |pool| {
            authority.trusted(pool);
        });
        let calls: Vec<_> = (0..10)
            .map(|_| Call::start(&bridge, request("POST", Body::empty())))
            .collect();
        for call in calls {
            assert!(text(call.answer().await.unwrap()).await.starts_with(offer));
        }
        assert!(server.count() <= most, "{offer}");
    }
}

#[tokio::test]
async fn a_backend_that_is_not_who_it_has_to_be_gets_no_request() {
    let authority = Authority::new();
    let other = Authority::new();
    let expired = identified(authority.sign("127.0.0.1", 2021), BOTH);
    let certificate = (RequestError::UpstreamCertificate, "tls_certificate_error");
    for (what, server, expected) in [
        (
            "another name",
            authority.server("other.test", BOTH),
            certificate,
        ),
        (
            "another authority",
            other.server("127.0.0.1", BOTH),
            certificate,
        ),
        ("expired", expired, certificate),
    ] {
        let server = Server::start(speaking(server, &[])).await;
        let (bridge, _) = pooled(vec![server.upstream.clone()], |pool| {
            authority.trusted(pool);
        });
        let error = ask(&bridge, request("POST", Body::empty()))
            .await
            .unwrap_err();
        assert_eq!((error, error.proxy_error().unwrap()), expected, "{what}");
        assert_eq!(error.status(), StatusCode::BAD_GATEWAY, "{what}");
        assert!(error.retryable(), "{what}");
        assert_eq!(server.count(), 0, "{what}");
    }
}

#[tokio::test]
async fn without_a_protocol_in_common_there_is_no_connection() {
    let authority = Authority::new();
    for (offers, expected) in [
        (&["http/1.1"][..], RequestError::UpstreamAlert),
        (&[], RequestError::UpstreamTls),
    ] {
        let server = Server::start(speaking(authority.server("127.0.0.1", BOTH), offers)).await;
        let (bridge, _) = pooled(vec![server.upstream.clone()], |pool| {
            authority.trusted(pool);
            pool.tls.alpn = Alpn::Http2;
        });
        let error = ask(&bridge, request("POST", Body::empty()))
            .await
            .unwrap_err();
        assert_eq!(error, expected, "{offers:?}");
    }
}

#[tokio::test]
async fn a_backend_without_tls_is_a_bad_gateway_and_one_that_is_silent_is_late() {
    let authority = Authority::new();
    for (answer, expected) in [
        (
            Some("HTTP/1.1 400 Bad Request\r\n\r\n"),
            RequestError::UpstreamTls,
        ),
        (None, RequestError::UpstreamConnectTimeout),
    ] {
        let backend = Backend::bind().await;
        let mut pool = Pool::new("app", [backend.upstream(UpstreamProtocol::Https)]);
        authority.trusted(&mut pool);
        pool.retry.attempts = 0;
        let mut route = config::Route::new(Vec::new());
        route.pool = Some("app".to_owned());
        let config = Config {
            route: vec![route],
            pool: vec![pool],
            timeouts: Timeouts {
                connect: Duration::from_millis(100),
                ..Timeouts::default()
            },
            ..Config::default()
        };
        let bridge = Arc::new(Bridge::new(&config, &Metrics::default()).unwrap());
        let call = Call::start(&bridge, request("POST", Body::empty()));
        let mut peer = backend.accept().await;
        if let Some(answer) = answer {
            peer.say(answer).await;
        }
        assert_eq!(call.answer().await.map(drop), Err(expected));
    }
}

#[tokio::test]
async fn a_request_whose_handshake_failed_goes_to_another_backend_whatever_its_method() {
    let (authority, other) = (Authority::new(), Authority::new());
    let bad = Server::start(speaking(other.server("127.0.0.1", BOTH), &[])).await;
    let good = Server::start(speaking(authority.server("127.0.0.1", BOTH), &[])).await;
    let to = vec![bad.upstream.clone(), good.upstream.clone()];
    let (bridge, metrics) = pooled(to, |pool| {
        authority.trusted(pool);
        pool.choice = crate::balance::Choice::RoundRobin;
        pool.health.failures = 2;
    });
    for _ in 0..6 {
        said(&bridge).await;
    }
    let label = PoolReason {
        pool: "app".to_owned(),
        reason: "failures",
    };
    assert_eq!(metrics.pools.ejections.get_or_create(&label).get(), 1);
}

#[tokio::test]
async fn a_backend_that_asks_for_a_certificate_gets_the_pools() {
    let authority = Authority::new();
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let (certificate, key) = authority.sign("127.0.0.1", 2100);
    let asking = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(BOTH)
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            vec![certificate.der().clone()],
            key.serialize_der().try_into().unwrap(),
        )
        .unwrap();
    let server = Server::start(speaking(asking, &["h2"])).await;
    let (certificate, key) = authority.sign("gateway.test", 2100);
    let cert = authority.write("client.pem", &certificate.pem());
    let private = authority.write("client.key", &key.serialize_pem());
    let (bridge, _) = pooled(vec![server.upstream.clone()], |pool| {
        authority.trusted(pool);
        pool.tls.client_cert = Some(cert.clone());
        pool.tls.client_key = Some(private.clone());
    });
    assert_eq!(said(&bridge).await, "h2 - known https");
    let (without, _) = pooled(vec![server.upstream.clone()], |pool| {
        authority.trusted(pool);
    });
    let error = ask(&without, request("POST", Body::empty()))
        .await
        .unwrap_err();
    assert_eq!(error.origin(), crate::request::Origin::Upstream);
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let authority = Authority::new();
    let upstream = || Backend::bind();
    let backend = upstream().await;
    let (cert, key) = authority.sign("a.test", 2100);
    let (_, other) = authority.sign("a.test", 2100);
    let refused = |change: &dyn Fn(&mut Pool)| {
        let mut pool = Pool::new("app", [backend.upstream(UpstreamProtocol::Https)]);
        authority.trusted(&mut pool);
        change(&mut pool);
        let config = Config {
            pool: vec![pool],
            ..Config::default()
        };
        let made = Bridge::new(&config, &Metrics::default()).map(drop);
        made.unwrap_err().to_string()
    };
    let missing = authority.directory.path().join("missing.pem");
    let error = refused(&|pool| pool.tls.ca = Some(missing.clone()));
    assert!(error.starts_with("pool app: cannot read "), "{error}");
    assert!(error.contains("missing.pem: No such file"), "{error}");
    let empty = authority.write("empty.pem", "");
    let error = refused(&|pool| pool.tls.ca = Some(empty.clone()));
    assert!(
        error.ends_with("empty.pem: no certificate found"),
        "{error}"
    );
    let certs = authority.write("cert.pem", &cert.pem());
    let error = refused(&|pool| {
        pool.tls.client_cert = Some(certs.clone());
        pool.tls.client_key = Some(certs.clone());
    });
    assert!(error.ends_with("cert.pem: no private key found"), "{error}");
    let keys = authority.write("other.key", &other.serialize_pem());
    let error = refused(&|pool| {
        pool.tls.client_cert = Some(certs.clone());
        pool.tls.client_key = Some(keys.clone());
    });
    assert!(
        error.contains("other.key does not match the certificate in"),
        "{error}"
    );
    let short = key.serialize_pem();
    let (short, _) = short.split_at(short.len() / 2);
    let short = authority.write("short.key", short);
    let error = refused(&|pool| {
        pool.tls.client_cert = Some(certs.clone());
        pool.tls.client_key = Some(short.clone());
    });
    assert!(
        error.ends_with("short.key: a section has no END line"),
        "{error}"
    );
    let error = refused(&|pool| pool.tls.server_name = Some("-.-".to_owned()));
    assert!(
        error.contains("no name that a certificate can have"),
        "{error}"
    );
}

#[tokio::test]
async fn a_response_that_ends_with_its_connection_alone_was_cut() {
    let authority = Authority::new();
    let backend = Backend::bind().await;
    let (bridge, _) = pooled(vec![backend.upstream(UpstreamProtocol::Https)], |pool| {
        authority.trusted(pool);
    });
    let config = speaking(authority.server("127.0.0.1", BOTH), &["http/1.1"]);
    for clean in [true, false] {
        let call = Call::start(&bridge, request("GET", Body::empty()));
        let (stream, _) = backend.0.accept().await.unwrap();
        let acceptor = TlsAcceptor::from(Arc::clone(&config));
        let mut stream = acceptor.accept(stream).await.unwrap();
        let mut heard = Vec::new();
        while !heard.ends_with(b"\r\n\r\n") {
            within(stream.read_buf(&mut heard)).await.unwrap();
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\n\r\nhi")
            .await
            .unwrap();
        stream.flush().await.unwrap();
        let response = call.answer().await.unwrap();
        if clean {
            stream.shutdown().await.unwrap();
            assert_eq!(text(response).await, "hi");
        } else {
            // Without the closing alert, anybody could have cut it.
            drop(stream.into_inner());
            assert!(within(response.into_body().collect()).await.is_err());
        }
    }
}

#[tokio::test]
async fn a_websocket_goes_over_tls_by_http1_whatever_requests_go_by() {
    let authority = Authority::new();
    let backend = Backend::bind().await;
    let (bridge, _) = pooled(vec![backend.upstream(UpstreamProtocol::Https)], |pool| {
        authority.trusted(pool);
    });
    let config = speaking(authority.server("127.0.0.1", BOTH), &["h2", "http/1.1"]);
    let (client, body) = pieces();
    let mut asking = request("CONNECT", body);
    let protocol = ConnectProtocol::new(b"websocket").unwrap();
    asking.extensions_mut().insert(protocol);
    let call = Call::start(&bridge, asking);
    let (stream, _) = backend.0.accept().await.unwrap();
    let acceptor = TlsAcceptor::from(Arc::clone(&config));
    let mut stream = acceptor.accept(stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let mut heard = Vec::new();
    while !heard.ends_with(b"\r\n\r\n") {
        within(stream.read_buf(&mut heard)).await.unwrap();
    }
    let head = String::from_utf8(std::mem::take(&mut heard)).unwrap();
    stream
        .write_all(tunnel::switch(&head).as_bytes())
        .await
        .unwrap();
    stream.flush().await.unwrap();
    let mut response = call.answer().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let said = next(response.body_mut()).await.unwrap().unwrap();
    assert_eq!(&said.into_data().unwrap()[..], b"hello");
    client.send(data("answer")).await.unwrap();
    while heard != b"answer" {
        within(stream.read_buf(&mut heard)).await.unwrap();
    }
    drop(client);
    assert_eq!(
        within(stream.read_buf(&mut heard)).await.unwrap(),
        0,
        "ended cleanly"
    );
    stream.write_all(b"last").await.unwrap();
    stream.shutdown().await.unwrap();
    let last = next(response.body_mut()).await.unwrap().unwrap();
    assert_eq!(&last.into_data().unwrap()[..], b"last");
    assert!(next(response.body_mut()).await.is_none());
}

#[tokio::test]
async fn probes_go_over_tls_and_fail_where_requests_would() {
    let (authority, other) = (Authority::new(), Authority::new());
    for offer in ["h2", "http/1.1"] {
        let good = Server::start(speaking(authority.server("127.0.0.1", BOTH), &[offer])).await;
        let bad = Server::start(speaking(other.server("127.0.0.1", BOTH), &[offer])).await;
        let to = vec![good.upstream.clone(), bad.upstream.clone()];
        let (bridge, _) = pooled(to, |pool| {
            authority.trusted(pool);
            pool.probe = Probe::Path("/health".to_owned());
            pool.probe_interval = Duration::from_millis(10);
            pool.health.fall = 1;
        });
        let probed = async {
            while good.count() < 3 || bridge.backends()[1].unfit != Some("probe") {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        within(probed).await;
        assert_eq!(bridge.backends()[0].unfit, None, "{offer}");
        assert_eq!(bad.count(), 0, "{offer}");
    }
}

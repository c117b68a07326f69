//! What the library leaves alone in a program that embeds it. A test program of its own, because
//! the claim is about the whole process.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::version::TLS13;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tracing::subscriber::NoSubscriber;
use wayhold::client::{Client, Patience, Target, Trust, tls_config};
use wayhold::config::{AdminAddress, Config, Listen};
use wayhold::request::{Body, ClientFacts, Handler, Protocol, RequestError};
use wayhold::{Accepted, Application, Gateway, Sockets};

#[test]
fn a_gateway_uses_what_it_is_given_and_leaves_the_process_as_it_was() {
    let directory = Directory::new();
    let before = Process::now();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let during = runtime.block_on(async {
        let served = tokio::time::timeout(PATIENCE, Box::pin(serve(&directory))).await;
        served.unwrap()
    });
    assert_eq!(during, before);
    let during = runtime.block_on(async {
        let served = tokio::time::timeout(PATIENCE, Box::pin(serve_application(&directory))).await;
        served.unwrap()
    });
    assert_eq!(during, before);
    assert_eq!(Process::now(), before);
    assert!(
        CryptoProvider::get_default().is_none(),
        "a rustls provider was installed for the process"
    );
    // It can be set only once, so nobody has done it yet.
    tracing::subscriber::set_global_default(NoSubscriber::new()).unwrap();
    let written = fs::read_dir(directory.0.path()).unwrap();
    let written: Vec<_> = written.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(
        written,
        [RUNTIME_DIR],
        "nothing is written but who lives, where a certificate and no admin socket are given"
    );
}

/// Serves one request over each transport; gives what the process was like then.
async fn serve(directory: &Directory) -> Process {
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let [quic_address, tcp_address] = [udp.local_addr().unwrap(), tcp.local_addr().unwrap()];
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let mut registry = Registry::default();
    registry.register(
        "embedder_things",
        "Counted elsewhere",
        Counter::<u64>::default(),
    );

    let gateway = Gateway::builder()
        .config(directory.config())
        .handler(Teapot)
        .registry(registry)
        .sockets(Sockets {
            udp: vec![udp],
            tcp: Some(tcp),
        })
        .identity(
            made.cert.pem().as_bytes(),
            made.signing_key.serialize_pem().as_bytes(),
        )
        .bind()
        .unwrap();
    assert_eq!(gateway.local_addresses(), [quic_address]);
    let admin = gateway.admin_address().unwrap();

    let (stop, stopped) = oneshot::channel::<()>();
    let serving = gateway.serve(async move { drop(stopped.await) });
    let using = async {
        let certificate = made.cert.der();
        fetch(Protocol::Http3, quic_address, certificate).await;
        fetch(Protocol::Http2, tcp_address, certificate).await;
        let metrics = scrape(&admin).await;
        for name in ["embedder_things_total 0", "wayhold_requests"] {
            assert!(metrics.contains(name), "{name} is not in {metrics}");
        }
        let process = Process::now();
        drop(stop);
        process
    };
    let (served, process) = tokio::join!(serving, using);
    served.unwrap();
    process
}

/// Serves one connection of a protocol that is not HTTP; gives what the process was like then.
async fn serve_application(directory: &Directory) -> Process {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let mut tls = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.into())
        .unwrap();
    tls.alpn_protocols = vec![b"greeting".to_vec()];
    let mut config = directory.config();
    config.listen[0].tcp = false;
    let gateway = Gateway::builder().config(config).application(tls, Greeter);
    let gateway = gateway.bind().unwrap();
    let port = gateway.local_addresses()[0].port();

    let (stop, stopped) = oneshot::channel::<()>();
    let serving = gateway.serve(async move { drop(stopped.await) });
    let using = async {
        let tls = tls_config(&Trust::Certificates(vec![certificate])).unwrap();
        let mut tls = Arc::unwrap_or_clone(tls);
        tls.alpn_protocols = vec![b"greeting".to_vec()];
        let crypto = Arc::new(QuicClientConfig::try_from(tls).unwrap());
        let client = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = (Ipv4Addr::LOCALHOST, port).into();
        let connecting = client.connect_with(ClientConfig::new(crypto), address, "localhost");
        let connection = connecting.unwrap().await.unwrap();
        let mut greeting = connection.accept_uni().await.unwrap();
        assert_eq!(greeting.read_to_end(100).await.unwrap(), b"welcome");
        connection.close(0_u32.into(), b"");
        client.wait_idle().await;
        drop(stop);
        Process::now()
    };
    let (served, process) = tokio::join!(serving, using);
    served.unwrap();
    process
}

struct Greeter;

impl Application for Greeter {
    async fn serve(&self, accepted: Accepted) {
        let mut greeting = accepted.connection().open_uni().await.unwrap();
        greeting.write_all(b"welcome").await.unwrap();
        greeting.finish().unwrap();
        accepted.connection().closed().await;
    }
}

struct Teapot;

impl Handler for Teapot {
    async fn handle(
        &self,
        _request: Request<Body>,
        client: ClientFacts,
    ) -> Result<Response<Body>, RequestError> {
        let mut response = Response::new(Body::full(client.protocol.name()));
        *response.status_mut() = http::StatusCode::IM_A_TEAPOT;
        Ok(response)
    }
}

async fn fetch(protocol: Protocol, address: SocketAddr, certificate: &CertificateDer<'static>) {
    let target = Target {
        address,
        name: "localhost".into(),
    };
    let tls = tls_config(&Trust::Certificates(vec![certificate.clone()])).unwrap();
    let client = Client::connect(protocol, &target, &tls, Patience::default());
    let client = client.await.unwrap();
    let request = Request::get("https://localhost/").body(Body::empty());
    let mut response = client.send(request.unwrap()).await.unwrap();
    assert_eq!(response.status(), http::StatusCode::IM_A_TEAPOT);
    let body = response.body_mut().collect(100).await.unwrap();
    assert_eq!(body, protocol.name().as_bytes());
    client.close().await;
}

async fn scrape(admin: &str) -> String {
    let mut stream = TcpStream::connect(admin).await.unwrap();
    let request = "GET /metrics HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response
}

/// What a library could change for the whole process, as the kernel sees it.
#[derive(Debug, PartialEq, Eq)]
struct Process {
    /// Threads, of which a runtime would start some.
    threads: usize,
    /// The masks of signals that are ignored and of those that are caught.
    signals: Vec<String>,
}

impl Process {
    fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let is_mask = |line: &&str| line.starts_with("SigIgn") || line.starts_with("SigCgt");
        Self {
            threads: fs::read_dir("/proc/self/task").unwrap().count(),
            signals: status.lines().filter(is_mask).map(str::to_owned).collect(),
        }
    }
}

/// A directory that is removed with this.
struct Directory(tempfile::TempDir);

impl Directory {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn config(&self) -> Config {
        let mut config = Config::default();
        config.listen = vec![Listen::new((Ipv4Addr::UNSPECIFIED, 0).into())];
        config.admin.listen = AdminAddress::Tcp((Ipv4Addr::LOCALHOST, 0).into());
        self.0.path().clone_into(&mut config.state_dir);
        config.runtime_dir = self.0.path().join(RUNTIME_DIR);
        config
    }
}

const RUNTIME_DIR: &str = "run";
const PATIENCE: Duration = Duration::from_secs(60);

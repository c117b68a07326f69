//! Claims about reload: a new configuration and new certificates without losing a request.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use wayhold::client::{Http3Client, Patience, TcpClient, Trust, tls_config};
use wayhold::config::Config;
use wayhold::request::{Body, ClientFacts, Handler, RequestError};
use wayhold::testbed::Backend;
use wayhold::{Gateway, ReloadError};

use crate::process::{Process, outcome};
use crate::stage::{Directory, Node, PATIENCE, target, turn, until};
use crate::transfer::{connect, get, text, try_connect};

/// Answers with its name.
#[derive(Clone, Debug)]
struct Named(&'static str);

impl Handler for Named {
    async fn handle(
        &self,
        _request: Request<Body>,
        _client: ClientFacts,
    ) -> Result<Response<Body>, RequestError> {
        Ok(Response::new(Body::full(self.0)))
    }
}

async fn backends() -> [Backend; 2] {
    [
        Backend::start(Named("one")).await.unwrap(),
        Backend::start(Named("two")).await.unwrap(),
    ]
}

fn route_to(backend: &Backend) -> String {
    format!("[[route]]\nto = [\"http://{}\"]\n", backend.address())
}

/// Waits until a metric of a process has this value.
async fn until_metric(process: &Process, name: &str, value: u64) {
    let waiting = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        while process.metric(name).await != value {
            ticks.tick().await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(waited.is_ok(), "{name} never was {value}");
}

fn write_config(directory: &Directory, more: &str) {
    let text = format!(
        "listen = [{{ addr = \"127.0.0.1:0\", cert = \"tls.pem\", key = \"tls.key\" }}]\n{more}"
    );
    fs::write(directory.file("wayhold.toml"), text).unwrap();
}

const APPLIED: &str = "wayhold_reloads_total{outcome=\"applied\"}";
const REFUSED: &str = "wayhold_reloads_total{outcome=\"refused\"}";
const RELOAD: [&str; 3] = ["reload", "-c", "wayhold.toml"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_changes_routes_for_open_connections_and_a_bad_one_changes_nothing() {
    let (_turn, directory) = (turn().await, Directory::new());
    directory.certify();
    let [one, two] = backends().await;
    write_config(&directory, &route_to(&one));
    let process = Process::start(&directory, &["-c", "wayhold.toml"]).await;
    let client = connect(&directory, &process.target()).await;
    assert_eq!(text(&client, "/").await, "one");

    write_config(&directory, &route_to(&two));
    process.signal("-HUP").await;
    until_metric(&process, APPLIED, 1).await;
    assert_eq!(text(&client, "/").await, "two");

    write_config(
        &directory,
        &format!("{}[limits]\nstreems = 1\n", route_to(&one)),
    );
    process.signal("-HUP").await;
    until_metric(&process, REFUSED, 1).await;
    assert_eq!(text(&client, "/").await, "two");
    let (code, _, why) = outcome(&directory, &RELOAD).await;
    assert_eq!(code, Some(1));
    assert!(why.contains("did you mean \"streams\"?"), "{why}");

    write_config(
        &directory,
        &format!("{}[limits]\nstreams = 1\n", route_to(&one)),
    );
    let reloaded = outcome(&directory, &RELOAD).await;
    let done = "reloaded: route, limits\n".to_owned();
    assert_eq!(reloaded, (Some(0), done, String::new()));
    assert_eq!(text(&client, "/").await, "one");
    client.close().await;
    process.terminate().await;
    let ended = process.end().await;
    assert_eq!(ended.code, Some(0));
    let told = |words: &str| ended.errors.iter().any(|line| line.contains(words));
    assert!(
        told("streems") && told("nothing has changed"),
        "{:?}",
        ended.errors
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_process_cannot_change_is_refused_by_name() {
    let (_turn, directory) = (turn().await, Directory::new());
    directory.certify();
    let [one, two] = backends().await;
    write_config(&directory, &route_to(&one));
    let process = Process::start(&directory, &["-c", "wayhold.toml"]).await;
    let client = connect(&directory, &process.target()).await;
    let fixed = format!(
        "workers = 7\nnode.id = 9\nquic.cid_lifetime = \"1s\"\n{}",
        route_to(&two)
    );
    write_config(&directory, &fixed);
    let (code, _, why) = outcome(&directory, &RELOAD).await;
    assert_eq!(code, Some(1));
    let named = "only a restart can change workers, node.id; \
        only a restart or an upgrade can change quic.cid_lifetime";
    assert!(why.contains(named), "{why}");
    assert_eq!(text(&client, "/").await, "one");
    assert_eq!(process.metric(REFUSED).await, 1);

    fs::write(directory.file("tls.key"), "no key").unwrap();
    write_config(&directory, &route_to(&two));
    let (code, _, why) = outcome(&directory, &RELOAD).await;
    assert_eq!(code, Some(1));
    assert!(why.contains("tls.key"), "{why}");
    assert_eq!(text(&client, "/").await, "one");
    client.close().await;
    process.terminate().await;
    assert_eq!(process.end().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_changes_on_disk_is_shown_to_new_connections_only() {
    let (_turn, directory) = (turn().await, Directory::new());
    directory.certify();
    write_config(&directory, "");
    let process = Process::start(&directory, &["-c", "wayhold.toml"]).await;
    fs::copy(directory.file("tls.pem"), directory.file("old.pem")).unwrap();
    // Made anew each time, because a client that resumes its session looks at no certificate.
    let old_trust = || tls_config(&Trust::File(directory.file("old.pem"))).unwrap();
    let here = process.target();
    let old = connect(&directory, &here).await;
    let over_tcp = TcpClient::connect(&here, &old_trust(), Patience::default())
        .await
        .unwrap();
    directory.certify();
    until_metric(&process, APPLIED, 1).await;
    let new = connect(&directory, &process.target()).await;
    text(&new, "/").await;
    text(&old, "/").await;
    assert_eq!(over_tcp.send(get("/")).await.unwrap().status(), 200);
    let distrusted = Http3Client::connect(&here, &old_trust(), Patience::default()).await;
    assert!(distrusted.is_err());
    let distrusted = TcpClient::connect(&here, &old_trust(), Patience::default()).await;
    assert!(distrusted.is_err());

    fs::write(directory.file("tls.pem"), "half a certificate").unwrap();
    until_metric(&process, REFUSED, 1).await;
    text(&new, "/").await;
    for client in [old, new] {
        client.close().await;
    }
    over_tcp.close().await;
    process.terminate().await;
    assert_eq!(process.end().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_that_are_reloaded_hold_for_new_connections() {
    let (_turn, directory) = (turn().await, Directory::new());
    directory.certify();
    let gateway = Gateway::builder()
        .config(directory.config(""))
        .handler(Named("one"));
    let node = Node::start(gateway.bind().unwrap());
    let reload = |more: &str| {
        let config = directory.config_on("127.0.0.1:0", more);
        node.handle.reload(config)
    };
    let first = connect(&directory, &target(node.address)).await;
    reload("limits.connections = 1").await.unwrap();
    assert!(
        try_connect(&directory, &target(node.address))
            .await
            .is_err()
    );
    assert_eq!(text(&first, "/").await, "one");
    assert_eq!(node.refused("connection_limit"), 1);
    let applied = reload("limits.connections = 2").await.unwrap();
    assert_eq!(applied.sections, ["limits"]);
    let second = connect(&directory, &target(node.address)).await;
    assert_eq!(text(&second, "/").await, "one");
    let refused = reload("limits.tunnel_queue = 64").await.unwrap_err();
    assert!(matches!(refused, ReloadError::Fixed(keys) if keys == ["limits.tunnel_queue"]));
    for client in [first, second] {
        client.close().await;
    }
    node.end().await.unwrap();
}

/// Connections that ask one thing after the other until they are told to stop.
#[derive(Default)]
struct Load {
    stop: Arc<AtomicBool>,
    answered: Vec<Arc<AtomicU64>>,
    tasks: JoinSet<()>,
}

impl Load {
    fn add<F, R>(&mut self, mut ask: F)
    where
        F: FnMut() -> R + Send + 'static,
        R: Future<Output = Bytes> + Send,
    {
        let (stop, answered) = (Arc::clone(&self.stop), Arc::<AtomicU64>::default());
        self.answered.push(Arc::clone(&answered));
        self.tasks.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let answer = ask().await;
                assert!(answer == "one" || answer == "two", "{answer:?}");
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    async fn http3(&mut self, directory: &Directory, node: &Node) {
        let client = Arc::new(connect(directory, &target(node.address)).await);
        self.add(move || {
            let client = Arc::clone(&client);
            async move {
                let mut response = client.send(get("/")).await.unwrap();
                response.body_mut().collect(100).await.unwrap().into()
            }
        });
    }

    async fn http2(&mut self, directory: &Directory, node: &Node) {
        let tls = tls_config(&Trust::File(directory.file("tls.pem"))).unwrap();
        let client = TcpClient::connect(&target(node.address), &tls, Patience::default()).await;
        let client = Arc::new(client.unwrap());
        self.add(move || {
            let client = Arc::clone(&client);
            async move {
                let mut response = client.send(get("/")).await.unwrap();
                response.body_mut().collect(100).await.unwrap().into()
            }
        });
    }

    async fn http1(&mut self, directory: &Directory, node: &Node) {
        let trust = Trust::File(directory.file("tls.pem"));
        let mut tls = Arc::unwrap_or_clone(tls_config(&trust).unwrap());
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let stream = TcpStream::connect(node.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(tls));
        let stream = connector.connect(name, stream).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        self.tasks.spawn(async move { connection.await.unwrap() });
        let sender = Arc::new(Mutex::new(sender));
        self.add(move || {
            let sender = Arc::clone(&sender);
            async move {
                let mut sender = sender.lock().await;
                sender.ready().await.unwrap();
                let request = Request::builder().uri("/").header("host", "localhost");
                let request = request.body(Empty::<Bytes>::new()).unwrap();
                let response = sender.send_request(request).await.unwrap();
                response.into_body().collect().await.unwrap().to_bytes()
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_under_load_lose_no_request_of_any_protocol() {
    let (_turn, directory) = (turn().await, Directory::new());
    directory.certify();
    let [one, two] = backends().await;
    let configs: [Config; 2] = [&one, &two].map(|backend| directory.config(&route_to(backend)));
    let gateway = Gateway::builder().config(configs[0].clone()).bind();
    let node = Node::start(gateway.unwrap());
    let mut load = Load::default();
    load.http3(&directory, &node).await;
    load.http2(&directory, &node).await;
    load.http1(&directory, &node).await;

    for round in 0..20_u64 {
        for config in configs.iter().rev() {
            let sections = node.handle.reload(config.clone()).await.unwrap().sections;
            assert_eq!(sections, ["route"]);
        }
        let passed = |count: &Arc<AtomicU64>| count.load(Ordering::Relaxed) > round;
        until(|| load.answered.iter().all(passed)).await;
    }
    load.stop.store(true, Ordering::Relaxed);
    load.tasks.join_all().await;
    for reason in [
        "client_gone",
        "upstream_broken",
        "upstream_gone",
        "internal",
    ] {
        assert_eq!(node.failed(reason), 0, "{reason}");
    }
    node.end().await.unwrap();
}

//! Claims about which backends there are: by DNS, and through reloads.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::Value;
use tokio::task::JoinSet;
use wayhold::client::Http3Client;
use wayhold::telemetry::{PoolLabel, PoolReason};

use crate::name_server::{Answer, NameServer};
use crate::scripted_backend::{Manner, ScriptedBackend};
use crate::stage::{Node, Solo, target, until};
use crate::transfer::{connect, get};

/// Backends on one port of several addresses, as a name stands for them.
async fn on_one_port<const N: usize>(addresses: [Ipv4Addr; N]) -> [ScriptedBackend; N] {
    'ports: loop {
        let probe = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = probe.local_addr().unwrap().port();
        drop(probe);
        let mut backends = Vec::new();
        for address in addresses {
            // Somebody else may have the port of another address.
            if tokio::net::TcpListener::bind((address, port))
                .await
                .is_err()
            {
                continue 'ports;
            }
            let at = format!("{address}:{port}");
            backends.push(ScriptedBackend::start(&at, Manner::Answers).await);
        }
        return backends.try_into().ok().unwrap();
    }
}

fn pool(more: &str, to: &[String]) -> String {
    let to: Vec<_> = to.iter().map(|url| format!("\"{url}\"")).collect();
    format!(
        "[[pool]]\nname = \"app\"\nslow_start = \"0s\"\n{more}\nto = [{}]\n\
         [[route]]\npool = \"app\"\n",
        to.join(", ")
    )
}

fn url(backend: &ScriptedBackend) -> String {
    format!("http://{}", backend.address)
}

fn looked_up(node: &Node, reason: &'static str) -> u64 {
    let label = PoolReason {
        pool: "app".into(),
        reason,
    };
    node.metrics.pools.lookups.get_or_create(&label).get()
}

fn fit(node: &Node) -> i64 {
    let pool = PoolLabel { pool: "app".into() };
    node.metrics.pools.fit.get_or_create(&pool).get()
}

/// What the status shows of the backends.
fn shown(node: &Node) -> Vec<Value> {
    let status = node.handle.status().unwrap();
    status["backends"].as_array().unwrap().clone()
}

/// Clients that ask again and again.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    tasks: JoinSet<()>,
}

impl Load {
    async fn start(solo: &Solo, clients: usize) -> Self {
        let mut load = Self {
            stop: Arc::default(),
            answered: Arc::default(),
            tasks: JoinSet::new(),
        };
        for _ in 0..clients {
            let client = connect(&solo.directory, &target(solo.node.address)).await;
            let (stop, answered) = (Arc::clone(&load.stop), Arc::clone(&load.answered));
            load.tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(status(&client).await, 200);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                client.close().await;
            });
        }
        load
    }

    /// Waits for so many more answers.
    async fn more(&self, count: u64) {
        let before = self.answered.load(Ordering::Relaxed);
        until(|| self.answered.load(Ordering::Relaxed) >= before + count).await;
    }

    /// Ends it; each request had its answer, or this fails.
    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.tasks.join_all().await;
    }
}

async fn status(client: &Http3Client) -> u16 {
    let mut response = client.send(get("/")).await.unwrap();
    let status = response.status().as_u16();
    response.body_mut().collect(1 << 16).await.unwrap();
    status
}

const ONE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const TWO: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const THREE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backends_follow_their_name_and_no_request_is_lost_by_that() {
    let names = NameServer::start().await;
    let [one, two, three] = on_one_port([ONE, TWO, THREE]).await;
    names.set("app.test", Answer::Hosts(vec![ONE, TWO]));
    let to = format!("http://app.test:{}", one.address.port());
    let solo = Solo::routing(&format!("{}{}", names.config(), pool("", &[to]))).await;
    let load = Load::start(&solo, 4).await;
    until(|| one.count() > 10 && two.count() > 10).await;
    assert_eq!(fit(&solo.node), 2);

    let kept = two.connections();
    names.set("app.test", Answer::Hosts(vec![TWO, THREE]));
    until(|| three.count() > 10).await;
    let gone = one.count();
    load.more(50).await;
    assert_eq!(one.count(), gone, "who is gone gets nothing more");
    assert!(
        two.connections() <= kept + 4,
        "who stays keeps its connections"
    );
    let of_two = |backend: &Value| backend["backend"] == two.address.to_string().as_str();
    let backends = shown(&solo.node);
    let backend = backends.iter().find(|backend| of_two(backend)).unwrap();
    assert_eq!(backend["dns"], "found");
    let name = format!("app.test:{}", two.address.port());
    assert_eq!(backend["name"], name.as_str());
    load.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_name_server_does_the_last_good_addresses_stay() {
    let names = NameServer::start().await;
    let [one] = on_one_port([ONE]).await;
    names.set("app.test", Answer::OverTcp(vec![ONE]));
    let to = format!("http://app.test:{}", one.address.port());
    let solo = Solo::routing(&format!("{}{}", names.config(), pool("", &[to]))).await;
    let client = connect(&solo.directory, &target(solo.node.address)).await;
    assert_eq!(
        status(&client).await,
        200,
        "what is too long comes over TCP"
    );
    for (answer, reasons) in [
        (Answer::NoSuchName, ["empty", "empty"]),
        (Answer::NoData, ["empty", "empty"]),
        (Answer::ServerFailure, ["failed", "failed"]),
        (Answer::Silence, ["timeout", "failed"]),
        (Answer::Garbage, ["timeout", "failed"]),
    ] {
        let row = format!("{answer:?}");
        let failures = || {
            reasons
                .map(|reason| looked_up(&solo.node, reason))
                .iter()
                .sum::<u64>()
        };
        let before = failures();
        names.set("app.test", answer);
        until(|| failures() >= before + 2).await;
        assert_eq!(status(&client).await, 200, "{row}");
        let dns = shown(&solo.node)[0]["dns"].clone();
        assert!(reasons.iter().any(|reason| dns == *reason), "{row}: {dns}");
        let found = looked_up(&solo.node, "found");
        names.set("app.test", Answer::Hosts(vec![ONE]));
        until(|| looked_up(&solo.node, "found") > found).await;
    }
    assert_eq!(fit(&solo.node), 1);
    client.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_answer_there_is_no_backend_and_clients_hear_why() {
    let names = NameServer::start().await;
    let [one] = on_one_port([ONE]).await;
    let to = format!("http://app.test:{}", one.address.port());
    for (answer, error) in [
        (Answer::NoSuchName, "dns_error"),
        (Answer::Silence, "dns_timeout"),
    ] {
        names.set("app.test", answer);
        let to = std::slice::from_ref(&to);
        let solo = Solo::routing(&format!("{}{}", names.config(), pool("", to))).await;
        let client = connect(&solo.directory, &target(solo.node.address)).await;
        let mut response = client.send(get("/")).await.unwrap();
        assert_eq!(response.status(), 503, "{error}");
        let fields = response.headers();
        assert_eq!(fields["proxy-status"], format!("wayhold; error={error}"));
        assert!(fields.contains_key("retry-after"));
        response.body_mut().collect(1 << 16).await.unwrap();
        assert_eq!(solo.node.failed(error), 1);
        let backends = shown(&solo.node);
        assert_eq!(backends.len(), 1);
        assert_eq!(backends[0]["state"], "unresolved");

        names.set("app.test", Answer::Hosts(vec![ONE]));
        until(|| fit(&solo.node) == 1).await;
        assert_eq!(status(&client).await, 200);
        client.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_leads_to_its_hosts_and_ports_by_priority_and_weight() {
    let names = NameServer::start().await;
    let mut backends = Vec::new();
    for _ in 0..3 {
        backends.push(ScriptedBackend::start("127.0.0.1:0", Manner::Answers).await);
    }
    let ports: Vec<_> = backends.iter().map(|it| it.address.port()).collect();
    names.set("a.test", Answer::Hosts(vec![ONE]));
    let records = vec![
        (10, 30, ports[0], "a.test"),
        (10, 10, ports[1], "a.test"),
        (20, 10, ports[2], "a.test"),
    ];
    names.set("_http._tcp.app.test", Answer::Services(records));
    let to = "http+srv://_http._tcp.app.test".to_owned();
    let more = "choice = \"round_robin\"\nfailures = 1\nejection = \"1h\"\nejection_max = \"1h\"";
    let solo = Solo::routing(&format!("{}{}", names.config(), pool(more, &[to]))).await;
    let client = connect(&solo.directory, &target(solo.node.address)).await;
    for _ in 0..40 {
        assert_eq!(status(&client).await, 200);
    }
    let counts: Vec<_> = backends.iter().map(ScriptedBackend::count).collect();
    assert_eq!(counts, [30, 10, 0]);
    let shown = shown(&solo.node);
    let first = shown
        .iter()
        .find(|it| it["backend"] == backends[0].address.to_string().as_str());
    assert_eq!(
        first.unwrap()["name"],
        format!("a.test:{}", ports[0]).as_str()
    );
    for gone in &mut backends[..2] {
        gone.kill().await;
    }
    for _ in 0..10 {
        assert_eq!(status(&client).await, 200);
    }
    assert_eq!(backends[2].count(), 10);
    client.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_has_no_more_than_64_backends() {
    let names = NameServer::start().await;
    let hosts = (1..=100).map(|last| Ipv4Addr::new(127, 0, 9, last));
    names.set("app.test", Answer::OverTcp(hosts.collect()));
    let to = "http://app.test:9".to_owned();
    let solo = Solo::routing(&format!("{}{}", names.config(), pool("", &[to]))).await;
    until(|| fit(&solo.node) == 64).await;
    assert!(looked_up(&solo.node, "too_many") > 0);
    assert_eq!(shown(&solo.node).len(), 64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_of_this_machine_needs_no_name_server() {
    let names = NameServer::start().await;
    names.set("localhost", Answer::Silence);
    let backend = ScriptedBackend::start("127.0.0.1:0", Manner::Answers).await;
    let to = format!("http://localhost:{}", backend.address.port());
    let solo = Solo::routing(&format!("{}{}", names.config(), pool("", &[to]))).await;
    let client = connect(&solo.directory, &target(solo.node.address)).await;
    assert_eq!(status(&client).await, 200);
    client.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_adds_and_removes_backends_under_load_and_an_ejected_one_stays_ejected() {
    let mut backends = Vec::new();
    for _ in 0..3 {
        backends.push(ScriptedBackend::start("127.0.0.1:0", Manner::Answers).await);
    }
    let urls: Vec<_> = backends.iter().map(url).collect();
    let more = "ejection = \"1h\"\nejection_max = \"1h\"";
    let solo = Solo::routing(&pool(more, &urls[..2])).await;
    let load = Load::start(&solo, 4).await;
    until(|| backends[..2].iter().all(|backend| backend.count() > 10)).await;
    backends[1].kill().await;
    until(|| fit(&solo.node) == 1).await;
    let ejected = PoolReason {
        pool: "app".into(),
        reason: "failures",
    };
    let ejections = &solo.node.metrics.pools.ejections;
    let connections = backends[0].connections();

    for round in 0..5 {
        let more = format!("{more}\nretries = {}", 2 + round % 2);
        let config = solo.directory.config(&pool(&more, &urls));
        solo.node.handle.reload(config).await.unwrap();
        load.more(20).await;
        let config = solo.directory.config(&pool(&more, &urls[..2]));
        solo.node.handle.reload(config).await.unwrap();
        load.more(20).await;
    }
    let config = solo.directory.config(&pool(more, &urls));
    solo.node.handle.reload(config).await.unwrap();
    let before = backends[2].count();
    until(|| backends[2].count() > before + 10).await;
    assert_eq!(ejections.get_or_create(&ejected).get(), 1, "ejected once");
    let states: Vec<_> = shown(&solo.node)
        .iter()
        .map(|it| it["state"].clone())
        .collect();
    assert_eq!(states, ["fit", "failures", "fit"]);
    assert!(
        backends[0].connections() <= connections + 4,
        "it keeps its connections"
    );

    let config = solo.directory.config(&pool(more, &urls[2..]));
    solo.node.handle.reload(config).await.unwrap();
    load.more(20).await;
    let gone = backends[0].count();
    load.more(50).await;
    assert_eq!(backends[0].count(), gone, "who is gone gets nothing more");
    load.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_under_way_to_a_backend_that_a_reload_removes_has_its_answer() {
    let [old, new] = [
        ScriptedBackend::start("127.0.0.1:0", Manner::Hangs).await,
        ScriptedBackend::start("127.0.0.1:0", Manner::Answers).await,
    ];
    let solo = Solo::routing(&pool("", &[url(&old)])).await;
    let client = Arc::new(connect(&solo.directory, &target(solo.node.address)).await);
    let mut asked = JoinSet::new();
    let asking = Arc::clone(&client);
    asked.spawn(async move { status(&asking).await });
    until(|| old.count() == 1).await;
    let config = solo.directory.config(&pool("", &[url(&new)]));
    solo.node.handle.reload(config).await.unwrap();
    assert_eq!(status(&client).await, 200);
    assert_eq!([old.count(), new.count()], [1, 1]);
    old.behave(Manner::Answers);
    old.resume();
    assert_eq!(asked.join_next().await.unwrap().unwrap(), 200);
    until(|| old.open() == 0).await;
    assert_eq!([old.count(), new.count()], [1, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_shows_the_last_probe_of_each_backend() {
    let [well, ill] = [
        ScriptedBackend::start("127.0.0.1:0", Manner::Answers).await,
        ScriptedBackend::start("127.0.0.1:0", Manner::Unavailable).await,
    ];
    let more = "probe = \"/healthz\"\nprobe_interval = \"20ms\"\nfall = 1";
    let solo = Solo::routing(&pool(more, &[url(&well), url(&ill)])).await;
    until(|| {
        let backends = shown(&solo.node);
        backends[0]["probe"] == "ok" && backends[1]["probe"] == "status"
    })
    .await;
    until(|| fit(&solo.node) == 1).await;
    let backends = shown(&solo.node);
    assert_eq!(backends[1]["state"], "probe");
    assert!(backends[1]["probed_ms_ago"].is_u64(), "{backends:?}");
    // With probes turned off, nobody would ever say that it is up again.
    let config = solo.directory.config(&pool("", &[url(&well), url(&ill)]));
    solo.node.handle.reload(config).await.unwrap();
    assert_eq!(fit(&solo.node), 2);
}

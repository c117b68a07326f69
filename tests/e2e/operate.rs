//! Claims about `wayhold run`, from its start to its end by a signal.

use std::fs;
use std::net::UdpSocket;
use std::sync::Arc;

use http::{Response, StatusCode};
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wayhold::bridge::Origin;
use wayhold::client::{Http3Client, Patience, ResponseBody, TcpClient, tls_config};
use wayhold::testbed::Backend;

use crate::process::{Process, fails};
use crate::stage::{Directory, turn, until_told_to_go};
use crate::transfer::{Download, get, text};

const LOCAL: [&str; 2] = ["--listen", "127.0.0.1:0"];

async fn http3(process: &Process, directory: &Directory) -> Http3Client {
    let tls = tls_config(&process.trust(directory)).unwrap();
    Http3Client::connect(&process.target(), &tls, Patience::default())
        .await
        .unwrap()
}

async fn http2(process: &Process, directory: &Directory) -> TcpClient {
    let tls = tls_config(&process.trust(directory)).unwrap();
    TcpClient::connect(&process.target(), &tls, Patience::default())
        .await
        .unwrap()
}

/// A whole response over HTTP/1.1.
async fn http1(process: &Process, directory: &Directory) -> String {
    let mut tls = Arc::unwrap_or_clone(tls_config(&process.trust(directory)).unwrap());
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = TcpStream::connect(process.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(tls));
    let mut stream = connector.connect(name, stream).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response
}

async fn body(mut response: Response<ResponseBody>) -> String {
    assert_eq!(response.status(), StatusCode::OK);
    let body = response.body_mut().collect(1 << 20).await.unwrap();
    String::from_utf8(body).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_configuration_three_protocols_are_served_on_one_port() {
    let (_turn, directory) = (turn().await, Directory::new());
    let process = Process::start(&directory, &["--listen", "[::1]:0"]).await;
    let over_udp = http3(&process, &directory).await;
    let greeting = text(&over_udp, "/").await;
    assert!(greeting.contains("h3"), "{greeting}");
    let over_tcp = http2(&process, &directory).await;
    let greeting = body(over_tcp.send(get("/")).await.unwrap()).await;
    assert!(greeting.contains("h2"), "{greeting}");
    let answer = http1(&process, &directory).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let alternative = format!("alt-svc: h3=\":{}\"", process.address.port());
    assert!(answer.contains(&alternative), "{answer}");
    over_udp.close().await;
    over_tcp.close().await;
    process.terminate().await;
    assert_eq!(process.end().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_development_certificate_is_made_once_and_named_with_its_end() {
    let (_turn, directory) = (turn().await, Directory::new());
    let mut seen = Vec::new();
    for _ in 0..2 {
        let process = Process::start(&directory, &LOCAL).await;
        let (path, expires) = process.certificate.clone().unwrap();
        assert!(path.starts_with(directory.file("state")), "{path:?}");
        assert!(expires.ends_with(" GMT"), "{expires}");
        seen.push((fs::read(&path).unwrap(), path, expires));
        let client = http3(&process, &directory).await;
        text(&client, "/").await;
        client.close().await;
        process.terminate().await;
        assert_eq!(process.end().await.code, Some(0));
    }
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_socket_tells_health_metrics_and_status() {
    let (_turn, directory) = (turn().await, Directory::new());
    let process = Process::start(&directory, &LOCAL).await;
    assert_eq!(process.ask("/livez").await.unwrap(), (200, "live\n".into()));
    process.until("/readyz", 200).await;
    let client = http3(&process, &directory).await;
    text(&client, "/").await;
    assert!(process.metric("wayhold_datagrams_received_total").await > 0);
    assert_eq!(process.metric("wayhold_requests_total").await, 1);
    let (_, status) = process.ask("/status").await.unwrap();
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["phase"], "ready");
    assert_eq!(status["listen"][0], process.address.to_string());
    assert_eq!(status["connections"]["quic"], 1);
    client.close().await;
    process.terminate().await;
    assert_eq!(process.end().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_lets_requests_finish_and_begins_no_more() {
    let (_turn, directory) = (turn().await, Directory::new());
    let process = Process::start(&directory, &LOCAL).await;
    let (over_udp, over_tcp) = (
        http3(&process, &directory).await,
        http2(&process, &directory).await,
    );
    let download = Download::begin(&over_udp, 51, 8_000_000).await;
    let slow = get("/bytes/8000000?seed=52");
    let mut other = over_tcp.send(slow).await.unwrap();
    process.terminate().await;
    process.until("/readyz", 503).await;
    assert_eq!(process.ask("/livez").await.unwrap().0, 200);
    let tls = tls_config(&process.trust(&directory)).unwrap();
    let late = Http3Client::connect(&process.target(), &tls, Patience::default()).await;
    assert!(late.is_err(), "a draining gateway takes no connection");
    until_told_to_go(&over_udp).await;
    download.finish().await;
    assert_eq!(
        other.body_mut().collect(8 << 20).await.unwrap().len(),
        8_000_000
    );
    assert_eq!(process.end().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_outlasts_the_grace_is_cut_and_told_by_the_exit_code() {
    let (_turn, directory) = (turn().await, Directory::new());
    for over_tcp in [false, true] {
        let grace = ["--set", "shutdown.grace=100ms"];
        let process = Process::start(&directory, &[LOCAL, grace].concat()).await;
        let slow = get("/bytes/50000000");
        let (udp, tcp);
        let _unread = if over_tcp {
            tcp = http2(&process, &directory).await;
            tcp.send(slow).await
        } else {
            udp = http3(&process, &directory).await;
            udp.send(slow).await
        };
        process.terminate().await;
        let ended = process.end().await;
        assert_eq!(ended.code, Some(5));
        let told = ended.errors.iter().any(|line| line.contains("grace"));
        assert!(told, "{:?}", ended.errors);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_sigterm_ends_at_once() {
    let (_turn, directory) = (turn().await, Directory::new());
    let grace = ["--set", "shutdown.grace=1h"];
    let process = Process::start(&directory, &[LOCAL, grace].concat()).await;
    let client = http3(&process, &directory).await;
    let _unread = client.send(get("/bytes/50000000")).await.unwrap();
    process.terminate().await;
    process.until("/readyz", 503).await;
    process.terminate().await;
    assert_eq!(process.end().await.code, Some(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_fails_has_its_own_exit_code() {
    let directory = Directory::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let in_use = fails(&directory, &["run", "--listen", &address]).await;
    assert_eq!(in_use.code, Some(4), "{:?}", in_use.errors);
    assert!(in_use.errors.iter().any(|line| line.contains(&address)));

    let misspelt = fails(&directory, &["run", "--set", "limits.streems=1"]).await;
    assert_eq!(misspelt.code, Some(3));
    let near = misspelt.errors.iter().any(|line| line.contains("streams"));
    assert!(near, "{:?}", misspelt.errors);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_six_lines_of_the_readme_reach_a_backend() {
    let (_turn, directory) = (turn().await, Directory::new());
    directory.certify();
    let backends = [
        Backend::start(Origin::new()).await.unwrap(),
        Backend::start(Origin::new()).await.unwrap(),
    ];
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let (_, rest) = readme.split_once("```toml\n").unwrap();
    let (six, _) = rest.split_once("```").unwrap();
    assert_eq!(six.lines().count(), 6);
    let mut config = six.replace("[::]:443", "127.0.0.1:0");
    for (index, backend) in backends.iter().enumerate() {
        let printed = format!("10.0.0.{}:8080", index + 1);
        assert!(config.contains(&printed));
        config = config.replace(&printed, &backend.address().to_string());
    }
    fs::write(directory.file("wayhold.toml"), config).unwrap();

    let arguments = ["-c", "wayhold.toml", "--log-format", "json"];
    let process = Process::start(&directory, &arguments).await;
    let client = http3(&process, &directory).await;
    Download::begin(&client, 61, 1_000_000).await.finish().await;
    client
        .rebind(UdpSocket::bind("127.0.0.1:0").unwrap())
        .unwrap();
    text(&client, "/").await;
    while process.metric("wayhold_path_changes_total").await == 0 {
        tokio::task::yield_now().await;
    }
    text(&client, "/").await;
    client.close().await;
    process.terminate().await;
    let ended = process.end().await;
    assert_eq!(ended.code, Some(0));

    let lines: Vec<Value> = ended
        .errors
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let requests: Vec<_> = lines
        .iter()
        .filter(|line| line["target"] == "access")
        .collect();
    assert_eq!(requests.len(), 3, "{lines:?}");
    let fields = |index: usize| &requests[index]["fields"];
    assert_eq!(fields(0)["path"], "/bytes/1000000");
    assert_eq!(fields(0)["protocol"], "h3");
    assert_eq!(fields(0)["status"], 200);
    assert_eq!(fields(0)["response_bytes"], 1_000_000);
    assert_eq!(fields(0)["path_changes"], 0);
    assert_eq!(fields(2)["path_changes"], 1);
    let names: Vec<_> = backends
        .iter()
        .map(|backend| backend.address().to_string())
        .collect();
    for index in 0..3 {
        let upstream = fields(index)["upstream"].as_str().unwrap();
        assert!(names.iter().any(|name| name == upstream), "{upstream}");
        let (first, total) = (&fields(index)["first_byte_us"], &fields(index)["total_us"]);
        assert!(first.as_u64().unwrap() <= total.as_u64().unwrap());
    }
}

//! Claims about what routes do to requests and responses, with clients that share no code with the gateway.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;

use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::timeout;
use wayhold::client::{Http3Client, Patience, TcpClient, tls_config};
use wayhold::request::Body;

use crate::process::{Ended, Process};
use crate::python::{Python, skip};
use crate::stage::{Directory, PATIENCE, turn};
use crate::transfer::request;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const SORRY: &str = "<h1>Back soon</h1>";

/// A backend that answers with the head of each request.
struct Mirror {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Mirror {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(reflect(stream));
            }
        });
        Self {
            address,
            _tasks: tasks,
        }
    }
}

async fn reflect(mut stream: TcpStream) {
    let mut heard = Vec::new();
    while stream.read_buf(&mut heard).await.is_ok_and(|read| read > 0) {
        if heard.ends_with(b"\r\n\r\n") {
            let head = format!(
                "HTTP/1.1 200 OK\r\nserver: mirror\r\nx-request-id: backend\r\ncontent-length: {}\r\n\r\n",
                heard.len()
            );
            drop(stream.write_all(&[head.as_bytes(), &heard].concat()).await);
            heard.clear();
        }
    }
}

/// What came back.
#[derive(Debug)]
struct Came {
    status: u64,
    fields: Vec<(String, String)>,
    body: String,
}

impl Came {
    fn field(&self, name: &str) -> Vec<&str> {
        let named = self.fields.iter().filter(|(known, _)| known == name);
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// The fields of the request as the backend saw it.
    fn seen(&self) -> HashMap<&str, &str> {
        let lines = self.body.lines().skip(1);
        lines.filter_map(|line| line.split_once(": ")).collect()
    }
}

/// A client of each protocol; aioquic or curl.
enum Client {
    Http3(Box<Python>),
    Curl(&'static str, SocketAddr),
}

impl Client {
    async fn all(process: &Process, directory: &Directory) -> Vec<(&'static str, Self)> {
        let mut clients = Vec::new();
        let trusted = directory.file("tls.pem");
        if let Some(client) = Python::aioquic(process.address, &trusted).await {
            clients.push(("h3", Self::Http3(Box::new(client))));
        }
        let curl = Command::new("curl").arg("--version").output().await;
        if curl.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("HTTP2")) {
            clients.push(("h2", Self::Curl("--http2", process.address)));
            clients.push(("http/1.1", Self::Curl("--http1.1", process.address)));
        } else {
            skip("there is no curl with HTTP/2");
        }
        clients
    }

    async fn send(
        &mut self,
        directory: &Directory,
        (method, path, bytes): (&str, &str, usize),
        fields: &[(&str, &str)],
    ) -> Came {
        match self {
            Self::Http3(client) => {
                let command = format!("send {method} {path} {bytes} {}", json!(fields));
                let answer = client.ask(&command).await;
                let pairs: Vec<(String, String)> =
                    serde_json::from_value(answer["fields"].clone()).unwrap();
                Came {
                    status: answer["status"].as_u64().unwrap(),
                    fields: pairs,
                    body: answer["body"].as_str().unwrap().to_owned(),
                }
            }
            Self::Curl(version, address) => {
                let mut curl = Command::new("curl");
                curl.args([
                    "--silent",
                    "--show-error",
                    "--include",
                    "--path-as-is",
                    "--max-time",
                    "15",
                ])
                .arg(&**version)
                .arg("--cacert")
                .arg(directory.file("tls.pem"))
                .args([
                    "--resolve",
                    &format!("localhost:{}:{}", address.port(), address.ip()),
                ])
                .args(if method == "HEAD" {
                    vec!["--head"]
                } else {
                    vec!["--request", method]
                })
                .args(["--header", "expect:"]);
                if bytes > 0 {
                    let body = directory.file("body");
                    fs::write(&body, vec![0; bytes]).unwrap();
                    curl.arg("--data-binary")
                        .arg(format!("@{}", body.display()));
                }
                for (name, value) in fields {
                    curl.args(["--header", &format!("{name}: {value}")]);
                }
                curl.arg(format!("https://localhost:{}{path}", address.port()));
                let output = timeout(PATIENCE, curl.kill_on_drop(true).output()).await;
                let output = output.unwrap().unwrap();
                assert!(
                    output.status.success(),
                    "{method} {path} {version}: {output:?}"
                );
                read(std::str::from_utf8(&output.stdout).unwrap())
            }
        }
    }
}

fn read(text: &str) -> Came {
    let (head, body) = text
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("{text:?}"));
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    let fields = lines.filter_map(|line| line.split_once(": "));
    Came {
        status: status.parse().unwrap(),
        fields: fields
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect(),
        body: body.to_owned(),
    }
}

/// Runs the command by a file with a certificate and `more`.
async fn started(directory: &Directory, more: &str) -> Process {
    directory.certify();
    let config = format!(
        "workers = 1\nlisten = [{{ addr = \"127.0.0.1:0\", cert = \"tls.pem\", key = \"tls.key\" }}]\n{more}"
    );
    fs::write(directory.file("wayhold.toml"), config).unwrap();
    Process::start(directory, &["-c", "wayhold.toml", "--log-format", "json"]).await
}

/// The lines of the access log of a process that is told to end.
async fn records(process: Process) -> Vec<Value> {
    process.terminate().await;
    let Ended { code, errors } = process.end().await;
    assert_eq!(code, Some(0), "{errors:?}");
    let lines = errors
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let access = lines.filter(|line| line["target"] == "access");
    access.map(|line| line["fields"].clone()).collect()
}

/// Whether a request was sent on and answered as the route of the next test says.
fn is_dressed(came: &Came, protocol: &str) {
    assert_eq!(came.status, 200, "{came:?}");
    assert!(
        came.body.starts_with("GET /x?q=1 HTTP/1.1\r\n"),
        "{}",
        came.body
    );
    let seen = came.seen();
    assert_eq!(seen["host"], "app.internal");
    assert_eq!(seen["x-forwarded-for"], "192.0.2.9");
    assert!(
        seen["forwarded"].starts_with("for=192.0.2.9;host=\"localhost:"),
        "{seen:?}"
    );
    assert_eq!((seen["x-real-ip"], seen["x-env"]), ("192.0.2.9", "prod"));
    assert_eq!(
        (seen["x-request-id"], seen["traceparent"]),
        ("named-by-proxy", PARENT)
    );
    assert!(!seen.contains_key("x-debug") && !seen.contains_key("tracestate"));
    assert_eq!(came.field("x-request-id"), ["named-by-proxy"]);
    assert_eq!(came.field("x-seen"), [format!("{protocol} named-by-proxy")]);
    assert_eq!(came.field("server"), [""; 0]);
    let timing = came.field("server-timing").concat();
    assert!(
        timing.ends_with("path-changes;desc=\"0\", node;desc=\"0\""),
        "{timing}"
    );
    assert_eq!(
        timing.contains("handshake;desc=full"),
        protocol != "h3",
        "{timing}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_every_protocol_the_word_of_a_trusted_proxy_reaches_backend_client_and_log() {
    let (_turn, directory, mirror) = (turn().await, Directory::new(), Mirror::start().await);
    let more = format!(
        "forwarded.trusted = [\"127.0.0.0/8\"]\n[[route]]\npath = \"/api\"\nto = [\"http://{}\"]\n\
         rewrite_prefix = \"/\"\nrewrite_host = \"app.internal\"\nserver_timing = true\n\
         request_set = [\"x-real-ip: {{client}}\", \"x-env: prod\"]\nrequest_remove = [\"x-debug\"]\n\
         response_remove = [\"server\"]\nresponse_set = [\"x-seen: {{protocol}} {{request_id}}\"]\n",
        mirror.address
    );
    let process = started(&directory, &more).await;
    let said = [
        ("x-forwarded-for", "6.6.6.6, 192.0.2.9, 127.1.1.1"),
        ("forwarded", "for=6.6.6.6"),
        ("x-request-id", "named-by-proxy"),
        ("x-debug", "1"),
        ("x-env", "forged"),
        ("x-real-ip", "6.6.6.6"),
        ("traceparent", PARENT),
        ("tracestate", "not a state"),
    ];
    let mut clients = Client::all(&process, &directory).await;
    for (protocol, client) in &mut clients {
        let came = client
            .send(&directory, ("GET", "/api//x?q=1", 0), &said)
            .await;
        is_dressed(&came, protocol);
        let missing = client.send(&directory, ("GET", "/other", 0), &[]).await;
        assert_eq!(missing.status, 404);
        let id = missing.field("x-request-id").concat();
        assert!(
            id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{id}"
        );
    }
    let taken = "wayhold_forwarded_claims_total{reason=\"taken\"}";
    assert_eq!(
        process.metric(taken).await,
        u64::try_from(clients.len()).unwrap()
    );
    let protocols: Vec<_> = clients.iter().map(|(protocol, _)| *protocol).collect();
    drop(clients);
    let records = records(process).await;
    for protocol in protocols {
        let of = |record: &&Value| record["protocol"] == protocol && record["status"] == 200;
        let record = records.iter().find(of).unwrap();
        assert_eq!(record["origin"], "192.0.2.9");
        assert_eq!(record["request_id"], "named-by-proxy");
        assert_eq!(record["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(
            (&record["route"], &record["pool"]),
            (&json!("route.0"), &json!("route.0"))
        );
        assert_eq!(record["tries"], 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirects_and_fixed_responses_need_no_backend_and_read_no_body() {
    let (_turn, directory) = (turn().await, Directory::new());
    fs::write(directory.file("sorry.html"), SORRY).unwrap();
    let more = "[[route]]\nrespond = 503\nrespond_file = \"sorry.html\"\n\
                respond_type = \"text/html; charset=utf-8\"\nresponse_set = [\"retry-after: 600\"]\n\
                [[route]]\npath = \"/old\"\nredirect = \"https://www.example.org{path}{query}\"\n\
                [[route]]\npath = \"/moved\"\nredirect = \"/new{rest}{query}\"\nredirect_status = 302\n";
    let process = started(&directory, more).await;
    for (protocol, client) in &mut Client::all(&process, &directory).await {
        for _ in 0..2 {
            for (method, bytes, sent) in
                [("GET", 0, SORRY), ("HEAD", 0, ""), ("POST", 500_000, SORRY)]
            {
                // aioquic 1.7 takes the length that HEAD would have for that of a body, and curl 7.88 a
                // reset with NO_ERROR behind a response (RFC 9113, section 8.1) for a broken one.
                if [("HEAD", "h3"), ("POST", "h2")].contains(&(method, *protocol)) {
                    continue;
                }
                let came = client.send(&directory, (method, "/", bytes), &[]).await;
                assert_eq!(
                    (came.status, came.body.as_str()),
                    (503, sent),
                    "{method} {protocol}"
                );
                assert_eq!(came.field("content-length"), ["18"], "{method} {protocol}");
                assert_eq!(came.field("content-type"), ["text/html; charset=utf-8"]);
                assert_eq!(came.field("retry-after"), ["600"]);
            }
        }
        let far = client
            .send(
                &directory,
                ("GET", "/old//evil.example/%0d%0ax?q=//y", 0),
                &[],
            )
            .await;
        assert_eq!(far.status, 308);
        let location = "https://www.example.org/old//evil.example/%0d%0ax?q=//y";
        assert_eq!(far.field("location"), [location]);
        let near = ("GET", "/moved//evil.example", 0);
        let near = client.send(&directory, near, &[]).await;
        assert_eq!((near.status, near.body.as_str()), (302, ""));
        assert_eq!(near.field("location"), ["/new//evil.example"]);
    }
    let tls = tls_config(&process.trust(&directory)).unwrap();
    let target = process.target();
    let client = Http3Client::connect(&target, &tls, Patience::default());
    let head = request(Method::HEAD, "/", Body::empty());
    let client = client.await.unwrap();
    let head = client.send(head).await.unwrap();
    assert_eq!(head.status(), 503);
    assert_eq!(head.headers()["content-length"], "18");
    client.close().await;
    let client = TcpClient::connect(&target, &tls, Patience::default());
    let client = client.await.unwrap();
    for _ in 0..2 {
        let upload = request(Method::POST, "/", Body::full(vec![0; 3_000_000]));
        let mut answer = client.send(upload).await.unwrap();
        assert_eq!(answer.status(), 503);
        let body = answer.body_mut().collect(1 << 10).await.unwrap();
        assert_eq!(body, SORRY.as_bytes());
    }
    drop(client);
    let records = records(process).await;
    assert!(
        records
            .iter()
            .all(|record| record.get("upstream").is_none())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_believed_nothing() {
    let (_turn, directory, mirror) = (turn().await, Directory::new(), Mirror::start().await);
    let more = format!(
        "forwarded.trusted = [\"10.0.0.0/8\"]\ntrace.context = \"start\"\ntrace.sampled_percent = 0\n\
         [[route]]\nto = [\"http://{}\"]\n",
        mirror.address
    );
    let process = started(&directory, &more).await;
    let said = [
        ("x-forwarded-for", "10.0.0.1"),
        ("x-request-id", "forged"),
        (
            "traceparent",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        ),
        ("tracestate", "a=1"),
    ];
    let mut clients = Client::all(&process, &directory).await;
    for (_, client) in &mut clients {
        let came = client.send(&directory, ("GET", "/", 0), &said).await;
        let seen = came.seen();
        assert_eq!(seen["x-forwarded-for"], "127.0.0.1");
        assert_eq!(came.field("x-request-id"), [seen["x-request-id"]]);
        assert_eq!(seen["x-request-id"].len(), 32);
        assert!(seen["traceparent"].ends_with("-02"), "{seen:?}");
        assert!(!seen.contains_key("tracestate"));
    }
    let untrusted = "wayhold_forwarded_claims_total{reason=\"untrusted\"}";
    assert_eq!(
        process.metric(untrusted).await,
        u64::try_from(clients.len()).unwrap()
    );
}

//! Claims about several certificates of one listener.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use wayhold::Gateway;
use wayhold::bridge::Origin;
use wayhold::client::{Http3Client, Patience, Target, TcpClient, Trust, tls_config};
use wayhold::telemetry::CertificateLabel;

use super::{Authority, load, openssl};
use crate::stage::{Directory, Node, turn, until};
use crate::transfer::get;

const LISTEN: &str = r#"
[[listen]]
addr = "127.0.0.1:0"
cert = "default.pem"
key = "default.key"
certificate = [
  { cert = "a.pem", key = "a.key" },
  { cert = "a-rsa.pem", key = "a-rsa.key" },
  { cert = "b.pem", key = "b.key" },
]
"#;

fn certify(directory: &Directory) {
    let authority = Authority::new(directory, "ca.pem");
    authority.serve(directory, "default", &["localhost"]);
    authority.serve(directory, "a", &["a.example"]);
    authority.serve_rsa(directory, "a-rsa", &["a.example"]);
    authority.serve(directory, "b", &["*.b.example"]);
}

fn start(directory: &Directory, text: &str) -> Node {
    let gateway = Gateway::builder().config(load(directory, text));
    Node::start(gateway.handler(Origin::new()).bind().unwrap())
}

async fn over_quic(directory: &Directory, node: &Node, name: &str) -> Result<(), String> {
    let target = Target {
        address: node.address,
        name: name.into(),
    };
    let tls = tls_config(&Trust::File(directory.file("ca.pem"))).unwrap();
    let client = Http3Client::connect(&target, &tls, Patience::default()).await;
    client.map(|_client| ()).map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_name_has_its_certificate_over_quic_and_tcp() {
    let (_turn, directory) = (turn().await, Directory::new());
    certify(&directory);
    let node = start(&directory, LISTEN);
    for name in ["localhost", "a.example", "x.b.example"] {
        over_quic(&directory, &node, name).await.unwrap();
    }
    over_quic(&directory, &node, "b.example").await.unwrap_err();
    for (asked, subject) in [
        ("a.example", "CN = a.example"),
        ("A.Example", "CN = a.example"),
        ("x.b.example", "CN = *.b.example"),
        ("unknown.example", "CN = localhost"),
    ] {
        let more = ["-servername", asked];
        let Some(said) = openssl(&directory, node.address, asked, &more).await else {
            return;
        };
        assert!(
            said.contains(&format!("subject={subject}")),
            "{asked}: {said}"
        );
        assert!(said.contains("200 OK"), "{said}");
    }
    let more = ["-noservername"];
    let said = openssl(&directory, node.address, "localhost", &more)
        .await
        .unwrap();
    assert!(said.contains("subject=CN = localhost"), "{said}");
    for (schemes, kind) in [
        ("RSA-PSS+SHA256", "RSA-PSS"),
        ("ECDSA+SHA256", "ECDSA"),
        ("RSA-PSS+SHA256:ECDSA+SHA256", "ECDSA"),
    ] {
        let more = ["-servername", "a.example", "-sigalgs", schemes];
        let said = openssl(&directory, node.address, "a.example", &more)
            .await
            .unwrap();
        assert!(
            said.contains(&format!("Peer signature type: {kind}")),
            "{said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_asks_for_an_unknown_name_can_be_refused() {
    let (_turn, directory) = (turn().await, Directory::new());
    certify(&directory);
    let node = start(&directory, &format!("{LISTEN}unknown_name = \"refuse\"\n"));
    over_quic(&directory, &node, "unknown.example")
        .await
        .unwrap_err();
    over_quic(&directory, &node, "a.example").await.unwrap();
    let more = ["-servername", "unknown.example"];
    if let Some(said) = openssl(&directory, node.address, "unknown.example", &more).await {
        assert!(said.contains("alert number 49"), "{said}");
        until(|| node.refused("unknown_name") >= 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_replaced_under_load_without_a_failure_and_all_or_none() {
    let (_turn, directory) = (turn().await, Directory::new());
    certify(&directory);
    let node = start(&directory, LISTEN);
    let label = CertificateLabel {
        listen: 0,
        certificate: 1,
    };
    let ends = || node.metrics.certificate_expiry.get_or_create(&label).get();
    let before = ends();
    assert!(before > 1_700_000_000);
    let (stop, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let mut clients = tokio::task::JoinSet::new();
    for quic in [true, false] {
        let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
        let address = node.address;
        let trust = Trust::File(directory.file("ca.pem"));
        clients.spawn(async move {
            let tls = tls_config(&trust).unwrap();
            while !stop.load(Ordering::Relaxed) {
                let target = Target {
                    address,
                    name: "localhost".into(),
                };
                let status = if quic {
                    let client = Http3Client::connect(&target, &tls, Patience::default()).await;
                    client.unwrap().send(get("/")).await.unwrap().status()
                } else {
                    let client = TcpClient::connect(&target, &tls, Patience::default()).await;
                    client.unwrap().send(get("/")).await.unwrap().status()
                };
                assert_eq!(status, 200);
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    until(|| done.load(Ordering::Relaxed) > 4).await;
    // An earlier end, to be seen in the metric, by the same authority.
    let authority = Authority::new(&directory, "other.pem");
    let usage = rcgen::ExtendedKeyUsagePurpose::ServerAuth;
    let mut params = super::authority::params(&["a.example"], usage);
    params.not_after = rcgen::date_time_ymd(2090, 1, 1);
    authority.issue(&directory, "a", params);
    node.handle.reload(load(&directory, LISTEN)).await.unwrap();
    assert!(ends() != before);
    over_quic(&directory, &node, "a.example").await.unwrap_err();
    // One bad key among four certificates.
    std::fs::copy(directory.file("a.key"), directory.file("b.key")).unwrap();
    certify_default(&directory);
    let error = node
        .handle
        .reload(load(&directory, LISTEN))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("does not match"), "{error}");
    over_quic(&directory, &node, "x.b.example").await.unwrap();
    let so_far = done.load(Ordering::Relaxed);
    until(|| done.load(Ordering::Relaxed) > so_far + 4).await;
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
}

/// A default that nobody trusts: had it been taken, the clients under way would notice.
fn certify_default(directory: &Directory) {
    Authority::new(directory, "third.pem").serve(directory, "default", &["localhost"]);
}

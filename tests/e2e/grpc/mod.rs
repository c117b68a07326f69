//! Claims about gRPC, with both ends on an implementation of their own: grpcio, in Python.

use serde_json::json;
use wayhold::telemetry::PoolLabel;

use crate::python::Python;
use crate::raw::{CONTROL, Raw, head};
use crate::reading::{Reading, Rest};
use crate::scripted::Scripted;
use crate::stage::{Solo, until};

/// Both ends, and a gateway between them; `None` on a machine without grpcio.
async fn parties() -> Option<(Python, Solo)> {
    parties_with("").await
}

/// The same, with more said of the pool.
async fn parties_with(pool: &str) -> Option<(Python, Solo)> {
    let mut party = Python::start("grpc", "grpc/party.py", &[]).await?;
    let port = party.answer().await["port"].as_u64().unwrap();
    let pool = format!("[[pool]]\nname = \"app\"\nto = [\"h2://127.0.0.1:{port}\"]\n{pool}");
    let solo = Solo::routing(&format!("{pool}\n[[route]]\npool = \"app\"\n")).await;
    let trusted = solo.directory.file("tls.pem");
    let connect = format!("connect {} {}", solo.node.address, trusted.display());
    party.ask(&connect).await;
    Some((party, solo))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_every_kind_reach_a_backend_with_their_trailers() {
    let Some((mut party, _solo)) = parties().await else {
        return;
    };
    let unary = party.ask("unary 1000000").await;
    assert_eq!(unary, json!({"bytes": 1_000_000, "last": "yes"}));
    assert_eq!(party.ask("stream 500").await, json!({"messages": 500}));
    assert_eq!(party.ask("chat 50").await, json!({"messages": 50}));
    let fail = party.ask("fail").await;
    let details = "not 100 % ready";
    let expected = json!({"code": "FAILED_PRECONDITION", "details": details, "last": "yes"});
    assert_eq!(fail, expected);
    party.quit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_learns_the_deadline_of_a_call_and_its_end() {
    let Some((mut party, _solo)) = parties().await else {
        return;
    };
    let waited = party.ask("wait 1").await;
    assert_eq!(waited["code"], "DEADLINE_EXCEEDED");
    let given = waited["given"].as_f64().unwrap();
    assert!(given > 0.0 && given <= 1.0, "{given}");
    assert_eq!(waited["ended"], true);
    assert_eq!(party.ask("cancel").await, json!({"ended": true}));
    party.quit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_to_a_backend_that_is_gone_gets_a_status_of_grpc() {
    let Some((mut party, solo)) = parties().await else {
        return;
    };
    party.ask("unary 10").await;
    party.ask("stop").await;
    let tried = party.ask("try").await;
    assert_eq!(tried["code"], "UNAVAILABLE");
    assert_eq!(tried["details"], "no upstream could be reached");
    assert!(solo.node.failed("upstream_connect") > 0);
    party.quit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_gets_calls_while_its_service_says_that_it_is_serving() {
    let pool = "probe = \"grpc:test.Echo\"\nprobe_interval = \"20ms\"\nrise = 1\nfall = 1\n\
                panic_percent = 0\nretries = 0\n";
    let Some((mut party, solo)) = parties_with(pool).await else {
        return;
    };
    let fit = || {
        let label = PoolLabel { pool: "app".into() };
        solo.node.metrics.pools.fit.get_or_create(&label).get()
    };
    assert_eq!(party.ask("unary 10").await["bytes"], 10);
    party.ask("health no").await;
    until(|| fit() == 0).await;
    assert_eq!(party.ask("try").await["code"], "UNAVAILABLE");
    let asked = party.ask("health yes").await;
    assert_eq!(asked, json!({"asked": "test.Echo"}));
    until(|| fit() == 1).await;
    assert_eq!(party.ask("unary 10").await["bytes"], 10);
    party.quit().await;
}

#[tokio::test]
async fn the_deadline_of_a_call_is_kept_where_neither_end_keeps_it() {
    let backend = Scripted::bind().await;
    let solo = Solo::routing(&backend.route()).await;
    let raw = Raw::connect(&solo.directory, solo.node.address).await;
    raw.one_way(&CONTROL).await;
    let fields = [
        ("content-type", "application/grpc"),
        ("grpc-timeout", "100m"),
        ("te", "trailers"),
    ];
    let mut call = Reading::new(raw.send(&head("POST", "/test.Echo/Wait", &fields)).await);
    let mut line = backend.accept().await;
    line.hear("grpc-timeout: 100m").await;
    let (status, fields) = call.head().await;
    assert_eq!(status, 200);
    assert_eq!(fields["grpc-status"], "4");
    assert_eq!(call.rest().await, Rest::default());
    line.until_closed().await;
}

//! Claims about gRPC, with both ends on an implementation of their own: grpcio, in Python.

use serde_json::json;

use crate::python::Python;
use crate::stage::Solo;

/// Both ends, and a gateway between them; `None` on a machine without grpcio.
async fn parties() -> Option<(Python, Solo)> {
    let mut party = Python::start("grpc", "grpc/party.py", &[]).await?;
    let port = party.answer().await["port"].as_u64().unwrap();
    let route = format!("[[route]]\nto = [\"h2://127.0.0.1:{port}\"]\n");
    let solo = Solo::routing(&route).await;
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

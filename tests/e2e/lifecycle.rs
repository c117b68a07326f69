//! Claims about drain, undrain and the end.

use std::fs;

use wayhold::admin::Phase;
use wayhold::bridge::Origin;
use wayhold::telemetry::{Metrics, Reason};
use wayhold::testbed::Move;

use crate::process::{Process, outcome};
use crate::stage::{Directory, Solo, Stage, target, turn, until, until_told_to_go};
use crate::transfer::{Download, connect, get, text, try_connect};
use crate::wild::Wild;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draining_node_hands_new_connections_to_a_peer_and_finishes_its_own() {
    let stage = Stage::start(2).await;
    stage.until_welcome().await;
    let [first, second] = &stage.nodes[..] else {
        panic!("two nodes");
    };
    let old = connect(&stage.directory, &stage.target()).await;
    let mut download = Download::begin(&old, 81, 8_000_000).await;
    stage.until_welcome().await;
    first.handle.drain().await.unwrap();
    assert_eq!(first.handle.phase(), Phase::Draining);

    let new = connect(&stage.directory, &stage.target()).await;
    assert!(text(&new, "/").await.contains("h3"));
    assert_eq!((first.open(), second.open()), (1, 1));
    // The route is withdrawn: the peer forwards what is not its own.
    stage.relay.make(Move::Flip).await.unwrap();
    download.read_to(4_000_000).await;
    until_told_to_go(&old).await;
    download.finish().await;
    until(|| first.open() == 0).await;
    assert!(second.metrics.datagrams_forwarded.get() > 0);
    stage.relay.make(Move::Flip).await.unwrap();
    assert!(text(&new, "/").await.contains("h3"));

    first.handle.undrain().await.unwrap();
    assert_eq!(first.handle.phase(), Phase::Ready);
    let again = connect(&stage.directory, &stage.target()).await;
    for _ in 0..3 {
        text(&again, "/").await;
    }
    assert_eq!((first.open(), second.open()), (1, 1));
    assert_eq!(stage.sum(failures), 0);
}

fn failures(metrics: &Metrics) -> u64 {
    let count = |reason| {
        let reason = Reason { reason };
        metrics.requests_failed.get_or_create(&reason).get()
    };
    ["client_gone", "shutdown", "internal"]
        .map(count)
        .iter()
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_drains_alone_answers_whoever_still_comes_and_tells_them_to_go() {
    let solo = Solo::start("", Origin::new()).await;
    let (node, here) = (&solo.node, target(solo.node.address));
    node.handle.drain().await.unwrap();
    node.handle.drain().await.unwrap();
    for _ in 0..2 {
        let client = connect(&solo.directory, &here).await;
        text(&client, "/").await;
        until(|| node.open() == 0).await;
        assert!(client.send(get("/")).await.is_err());
    }
    node.handle.undrain().await.unwrap();
    let client = connect(&solo.directory, &here).await;
    for _ in 0..3 {
        text(&client, "/").await;
    }
    assert_eq!(node.refused("ending"), 0);
    client.close().await;
    solo.node.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_node_that_ends_refuses_and_then_its_handle_says_so() {
    let wild = Wild::default();
    let solo = Solo::start("", wild.clone()).await;
    let here = target(solo.node.address);
    let client = connect(&solo.directory, &here).await;
    let (handle, metrics) = (solo.node.handle.clone(), solo.node.metrics.clone());
    let waiting = client.send(get("/wait"));
    let order = async {
        until(|| wild.running() == 1).await;
        solo.node.drain();
        until(|| handle.phase() == Phase::Ending).await;
        assert!(try_connect(&solo.directory, &here).await.is_err());
        assert!(handle.drain().await.is_err());
        assert!(handle.reload_sources().await.is_err());
        wild.open_gate();
    };
    let (response, ()) = tokio::join!(waiting, order);
    assert_eq!(response.unwrap().status(), 200);
    solo.node.end().await.unwrap();
    assert_eq!(handle.phase(), Phase::Over);
    assert!(handle.status().is_err());
    let ending = Reason { reason: "ending" };
    assert!(metrics.connections_refused.get_or_create(&ending).get() > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_end_of_the_grace_cuts_off_is_not_blamed_on_the_client() {
    let solo = Solo::start("shutdown.grace = \"50ms\"", Origin::new()).await;
    let client = connect(&solo.directory, &target(solo.node.address)).await;
    let _unread = Download::begin(&client, 82, 50_000_000).await;
    let metrics = solo.node.metrics.clone();
    solo.node.end().await.unwrap_err();
    let count = |reason| {
        let reason = Reason { reason };
        metrics.requests_failed.get_or_create(&reason).get()
    };
    assert_eq!((count("shutdown"), count("client_gone")), (1, 0));
}

/// Hooks that note their occasion; the one that withdraws waits for a file named `go`.
const HOOKS: &str = r#"
[hooks]
announce = ["/bin/sh", "-c", "echo announce $WAYHOLD_EVENT $WAYHOLD_NODE >> noted"]
withdraw = ["/bin/sh", "-c", "echo withdraw $WAYHOLD_EVENT >> noted; while [ ! -e go ]; do sleep 0.01; done"]
settle = "10ms"
timeout = "20s"
"#;

async fn with_hooks(directory: &Directory) -> Process {
    directory.certify();
    let text = format!(
        "listen = [{{ addr = \"127.0.0.1:0\", cert = \"tls.pem\", key = \"tls.key\" }}]\n\
         node.id = 7\n{HOOKS}"
    );
    fs::write(directory.file("wayhold.toml"), text).unwrap();
    Process::start(directory, &["-c", "wayhold.toml"]).await
}

async fn until_noted(directory: &Directory, noted: &[&str]) {
    let noted = noted.concat();
    until(|| fs::read_to_string(directory.file("noted")).is_ok_and(|now| now == noted)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_network_learns_of_a_drain_before_clients_do() {
    let (_turn, directory) = (turn().await, Directory::new());
    let process = with_hooks(&directory).await;
    let (ready, drain) = ("announce ready 7\n", "withdraw drain\n");
    until_noted(&directory, &[ready]).await;
    let client = connect(&directory, &process.target()).await;
    let command = ["drain", "-c", "wayhold.toml"];
    let order = async {
        until_noted(&directory, &[ready, drain]).await;
        assert_eq!(
            process.ask("/readyz").await.unwrap(),
            (503, "withdrawing\n".to_owned())
        );
        for _ in 0..3 {
            text(&client, "/").await;
        }
        fs::write(directory.file("go"), "").unwrap();
    };
    let (drained, ()) = tokio::join!(outcome(&directory, &command), order);
    assert_eq!(drained, (Some(0), "draining\n".into(), String::new()));
    assert_eq!(process.ask("/readyz").await.unwrap().1, "draining\n");
    let undrained = outcome(&directory, &["undrain", "-c", "wayhold.toml"]).await;
    assert_eq!(undrained, (Some(0), "ready\n".into(), String::new()));
    process.until("/readyz", 200).await;
    process.terminate().await;
    assert_eq!(process.end().await.code, Some(0));
    let (undrain, end) = ("announce undrain 7\n", "withdraw shutdown\n");
    until_noted(&directory, &[ready, drain, undrain, end]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_that_hangs_holds_the_end_no_longer_than_its_limit() {
    let (_turn, directory) = (turn().await, Directory::new());
    let process = with_hooks(&directory).await;
    until_noted(&directory, &["announce ready 7\n"]).await;
    process.terminate().await;
    until_noted(&directory, &["announce ready 7\n", "withdraw shutdown\n"]).await;
    process.terminate().await;
    assert_eq!(
        process.end().await.code,
        Some(5),
        "a second signal ends at once"
    );

    fs::remove_file(directory.file("noted")).unwrap();
    let text = fs::read_to_string(directory.file("wayhold.toml")).unwrap();
    let short = text.replace("timeout = \"20s\"", "timeout = \"50ms\"");
    fs::write(directory.file("wayhold.toml"), short).unwrap();
    let process = Process::start(&directory, &["-c", "wayhold.toml"]).await;
    process.until("/readyz", 200).await;
    let drained = outcome(&directory, &["drain", "-c", "wayhold.toml"]).await;
    assert_eq!(drained.0, Some(0), "{drained:?}");
    assert!(
        process
            .metric("wayhold_hook_failures_total{reason=\"timeout\"}")
            .await
            > 0
    );
    process.terminate().await;
    let ended = process.end().await;
    assert_eq!(ended.code, Some(0));
    assert!(
        ended
            .errors
            .iter()
            .any(|line| line.contains("the hook failed"))
    );
}

//! Claims about `wayhold bench handshake` and `wayhold bench migrate`, on loopback.

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;
use wayhold::bridge::Origin;

use crate::stage::{Directory, Solo};

fn bench(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wayhold"));
    command.arg("bench").args(arguments).output().unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn records_and_samples_are_written_and_the_same_records_printed() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("run");
    let output = bench(&[
        "handshake",
        "--layer=loopback",
        "--suite=smoke",
        "--samples=2",
        "--only=mode=quic-0rtt",
        "--only=mode=tcp-full",
        "--seed=7",
        "--json",
        "--out",
        out.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let printed = lines(&String::from_utf8(output.stdout).unwrap());
    let written = lines(&fs::read_to_string(out.join("results.jsonl")).unwrap());
    assert_eq!(printed, written);
    let modes: Vec<_> = written.iter().map(|it| &it["scenario"]["mode"]).collect();
    assert_eq!(modes, ["tcp-full", "quic-0rtt"]);
    for record in &written {
        assert_eq!(record["samples"], 2);
        assert_eq!(
            record["derived"],
            serde_json::json!({}),
            "nobody saw packets"
        );
        let metrics = record["metrics"].as_object().unwrap();
        for metric in [
            "first_byte_ms",
            "client_cpu_us",
            "node_cpu_us",
            "node_allocations",
        ] {
            assert!(metrics.contains_key(metric), "{metric}");
        }
    }
    assert_eq!(
        lines(&fs::read_to_string(out.join("samples.jsonl")).unwrap()).len(),
        4
    );
    let run: Value = serde_json::from_slice(&fs::read(out.join("run.json")).unwrap()).unwrap();
    assert_eq!((&run["seed"], &run["partial"]), (&7.into(), &false.into()));
}

#[test]
fn a_move_is_measured_too() {
    let arguments = [
        "migrate",
        "--layer=loopback",
        "--suite=smoke",
        "--samples=1",
        "--json",
    ];
    let output = bench(&arguments);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let records = lines(&String::from_utf8(output.stdout).unwrap());
    assert_eq!(records.len(), 6);
    for record in records {
        assert!(record["metrics"]["recovery_ms"]["median"].as_f64() > Some(0.0));
    }
}

#[test]
fn nonsense_is_refused_before_anything_runs() {
    let output = bench(&["handshake", "--only=rtt_ms=75"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        errors(&output).contains("has rtt_ms=75; there are 0, 10"),
        "{}",
        errors(&output)
    );
    for (argument, reason) in [
        (
            "--only=colour=red",
            "nothing is called `colour`; there are mode, rtt_ms",
        ),
        ("--suite=huge", "there are smoke, default, full"),
        ("--samples=0", "0 is not in 1..=100000"),
    ] {
        let output = bench(&["handshake", argument]);
        assert_eq!(output.status.code(), Some(2));
        assert!(errors(&output).contains(reason), "{}", errors(&output));
    }
}

/// Measures one sample of some modes of a server on loopback.
fn target(ca: &Directory, port: u16, modes: &[&str]) -> Output {
    let url = format!("https://localhost:{port}/");
    let pid = std::process::id().to_string();
    let ca = ca.file("tls.pem");
    let mut arguments = vec!["handshake", "--target", &url, "--ca", ca.to_str().unwrap()];
    arguments.extend([
        "--server-pid",
        &pid,
        "--suite=smoke",
        "--samples=1",
        "--json",
    ]);
    arguments.extend(modes);
    bench(&arguments)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebodys_server_is_measured_by_its_url() {
    let solo = Solo::start("", Origin::new()).await;
    let modes = ["--only=mode=tcp-resumed", "--only=mode=quic-full"];
    let output = target(&solo.directory, solo.node.address.port(), &modes);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    for record in lines(&String::from_utf8(output.stdout).unwrap()) {
        assert_eq!(
            (&record["samples"], &record["scenario"]["layer"]),
            (&1.into(), &"target".into())
        );
        assert!(record["metrics"]["node_cpu_us"]["median"].as_f64() > Some(0.0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_cannot_be_measured_is_named_with_the_reason() {
    let solo = Solo::start("", Origin::new()).await;
    let modes = ["--only=mode=tcp-full", "--only=mode=quic-full"];
    let stranger = Directory::new();
    stranger.certify();
    let output = target(&stranger, solo.node.address.port(), &modes);
    assert_eq!(output.status.code(), Some(1));
    let said = errors(&output);
    assert_eq!(
        said.matches("invalid peer certificate").count(),
        2,
        "{said}"
    );

    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = nobody.local_addr().unwrap().port();
    drop(nobody);
    let output = target(&solo.directory, port, &modes[..1]);
    assert_eq!(output.status.code(), Some(1));
    let said = errors(&output);
    assert!(
        said.contains("tcp-full could not be measured: TCP: Connection refused"),
        "{said}"
    );
}

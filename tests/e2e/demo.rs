//! Claims about the demo: that it succeeds, and that it notices what is broken.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use tokio::time::timeout;
use wayhold::demo::{Minimums, Plan, run};

use crate::process::{signal, wayhold};
use crate::stage::{Directory, PATIENCE, until};

/// The demo itself takes 20 s and runs in CI; this is the same thing with less of it. Among so few
/// moves a busy machine leaves TCP without a body at several, while it connects again.
#[tokio::test(flavor = "multi_thread")]
async fn a_short_demo_loses_nothing_over_http3_and_counts_right() {
    let mut plan = Plan::new(program(), Duration::from_secs(4), None);
    plan.minimums = Minimums {
        requests: 100,
        bytes: 5_000_000,
        rebinds: 8,
        addresses: 1,
        flips: 5,
        in_flight_percent: 50,
    };
    let report = run(&plan, |_| {}).await.unwrap();
    assert!(report.succeeded(), "{:?}", report.problems);
    assert_eq!(report.http3.totals.lost, 0);
    assert!(report.forwarded > 0);
    assert!(report.tcp_tls.totals.lost > 0, "TCP does not survive moves");
    assert!(report.tcp_tls.totals.reconnects > 0);
    for happened in &report.events {
        let (event, after) = (happened.event, &happened.http3);
        assert!(happened.count > 0, "{event:?}");
        assert!(!after.recovered.is_empty(), "{event:?}");
        assert_eq!((after.lost, after.truncated), (0, 0), "{event:?}");
    }
    let json = report.json();
    let events = json["events"].as_array().unwrap();
    let names: Vec<_> = events.iter().map(|event| &event["name"]).collect();
    let expected = [
        "flip", "rebind", "address", "drain", "upgrade", "rotate", "kill",
    ];
    assert_eq!(names, expected);
    assert_events(&json);
}

/// Each event is an object with a name and with what each transport went through after it.
fn assert_events(report: &Value) {
    for event in report["events"].as_array().unwrap() {
        assert!(event["name"].is_string(), "{event}");
        for transport in ["http3", "tcp_tls"] {
            for key in ["lost", "truncated", "reconnects", "retried"] {
                assert!(event[transport][key].is_u64(), "{transport}.{key}: {event}");
            }
        }
        // Only after a node was killed may a request be sent twice.
        if event["name"] != "kill" {
            assert_eq!(event["http3"]["retried"], 0, "{event}");
        }
    }
}

fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_wayhold"))
}

#[test]
fn a_demo_without_steering_fails() {
    assert_fails("steer");
}

#[test]
fn a_demo_whose_nodes_answer_for_each_other_fails() {
    let report = assert_fails("validate");
    assert!(report["http3"]["lost"].as_u64() > Some(0), "{report}");
}

#[test]
fn a_demo_whose_relay_lies_fails_though_nothing_is_lost() {
    let report = assert_fails("relay");
    assert_eq!(report["http3"]["lost"], 0, "{report}");
}

#[tokio::test]
async fn a_demo_that_is_told_to_end_leaves_nothing_behind() {
    let directory = Directory::new();
    let mut command = wayhold(&directory, &["demo"]);
    command.env("TMPDIR", directory.as_ref());
    let mut demo = command.spawn().unwrap();
    let left = || {
        let entries = directory.as_ref().read_dir().unwrap();
        entries.map(|entry| entry.unwrap().path()).next()
    };
    let runs = |files: PathBuf| files.join("node-3.out").exists();
    until(|| left().is_some_and(runs)).await;
    signal("-TERM", demo.id().unwrap()).await;
    let ended = timeout(PATIENCE, demo.wait()).await.unwrap().unwrap();
    assert_eq!(ended.code(), Some(1));
    assert_eq!(left(), None);
}

/// Runs the broken demo, which must exit with 1, and returns the object on its last line.
fn assert_fails(fault: &str) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_wayhold"))
        .args(["demo", "--json", "--seconds", "2", "--break", fault])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report = last_line(&output);
    for transport in ["http3", "tcp_tls"] {
        for key in ["requests", "lost", "truncated", "reconnects", "bytes"] {
            assert!(
                report[transport][key].is_u64(),
                "{transport}.{key}: {report}"
            );
        }
        for key in ["p50", "p99"] {
            assert!(report[transport]["recover_ms"][key].is_f64(), "{report}");
        }
    }
    for key in ["rebind", "address", "flip", "in_flight"] {
        assert!(report["moves"][key].is_u64(), "{key}: {report}");
    }
    assert!(report["forwarded"].is_u64(), "{report}");
    assert!(report["events"].is_array(), "{report}");
    report
}

fn last_line(output: &Output) -> Value {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    serde_json::from_str(text.lines().next_back().unwrap()).unwrap()
}

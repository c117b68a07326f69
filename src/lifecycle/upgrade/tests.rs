use std::net::UdpSocket;
use std::time::Duration;

use tokio::process::Command;

use super::*;
use crate::control::Birth;
use crate::fleet::InstanceId;
use crate::lifecycle::{Inherited, SocketName};
use crate::sys::packets::PacketSocket;

fn pair() -> (Successor, Predecessor) {
    let (old, new) = PacketSocket::pair().unwrap();
    (
        Successor::new(old, None).unwrap(),
        Predecessor::new(new).unwrap(),
    )
}

fn birth() -> Birth {
    Birth::first([1; 8])
}

fn sockets(count: usize) -> Inherited {
    let mut inherited = Inherited::default();
    for _ in 0..count {
        inherited.push(SocketName::Udp(0), UdpSocket::bind("127.0.0.1:0").unwrap());
    }
    inherited
}

fn shell(script: &str) -> Program {
    Program {
        path: "sh".into(),
        arguments: vec!["-c".into(), script.into()],
    }
}

#[tokio::test]
async fn sockets_go_over_and_then_the_turn() {
    let (mut old, new) = pair();
    // More than one message carries.
    let own = sockets(PacketSocket::MAX_DESCRIPTORS + 3);
    let taking = async {
        let mut inherited = new.sockets().await.unwrap();
        assert_eq!(inherited.birth(), Some(birth()));
        let taken = inherited.take_udp(0).unwrap();
        new.prepared(InstanceId(9)).await.unwrap();
        new.taken().await;
        taken
    };
    let giving = async {
        let prepared = old.prepare(birth(), &own, LONG).await.unwrap();
        assert_eq!(prepared.instance, InstanceId(9));
        assert_eq!(prepared.version, env!("CARGO_PKG_VERSION"));
        old.take_over().await.unwrap();
    };
    let (taken, ()) = tokio::join!(taking, giving);
    assert_eq!(taken.len(), own.sockets().len());
}

#[tokio::test]
async fn a_new_process_says_why_it_fails() {
    let (mut old, new) = pair();
    let own = sockets(1);
    let taking = async {
        new.sockets().await.unwrap();
        new.fail("no certificate".into()).await;
    };
    let (prepared, ()) = tokio::join!(old.prepare(birth(), &own, LONG), taking);
    let error = prepared.unwrap_err().to_string();
    assert_eq!(error, "the new process cannot take over: no certificate");
}

#[tokio::test]
async fn a_program_that_does_not_exist_is_named() {
    let program = Program {
        path: "/nonexistent/wayhold".into(),
        arguments: Vec::new(),
    };
    let error = Successor::start(&program).unwrap_err().to_string();
    assert!(error.contains("/nonexistent/wayhold"), "{error}");
}

#[tokio::test]
async fn a_process_that_ends_is_seen_at_once_with_its_status() {
    let mut successor = Successor::start(&shell("exit 3")).unwrap();
    let prepared = successor.prepare(birth(), &sockets(1), LONG).await;
    let error = prepared.unwrap_err().to_string();
    assert!(error.ends_with("exit status: 3"), "{error}");
}

#[tokio::test]
async fn a_process_that_hangs_is_given_up_and_killed() {
    let mut successor = Successor::start(&shell("exec sleep 600")).unwrap();
    let pid = successor.pid().unwrap();
    let prepared = successor
        .prepare(birth(), &sockets(1), Duration::from_millis(50))
        .await;
    assert!(matches!(
        prepared,
        Err(UpgradeError::TimedOut {
            step: "prepared",
            ..
        })
    ));
    let mut child = successor.child.take().unwrap();
    child.start_kill().unwrap();
    child.wait().await.unwrap();
    let alive = Command::new("kill").args(["-0", &pid.to_string()]).output();
    assert!(!alive.await.unwrap().status.success());
}

#[tokio::test]
async fn something_else_on_the_channel_is_an_error() {
    let (socket, other) = PacketSocket::pair().unwrap();
    let mut old = Successor::new(socket, None).unwrap();
    other.send(&[io::IoSlice::new(b"hello")]).unwrap();
    let prepared = old.prepare(birth(), &sockets(1), LONG).await;
    assert!(matches!(prepared, Err(UpgradeError::Channel(_))));
}

const LONG: Duration = Duration::from_secs(20);

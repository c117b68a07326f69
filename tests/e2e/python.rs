//! A program in Python that a test drives, with a package that shares no code with the gateway.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::stage::PATIENCE;

pub(crate) struct Python {
    process: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Python {
    /// Starts an HTTP/3 client that trusts the certificates in a file.
    pub(crate) async fn aioquic(address: SocketAddr, trusted: &Path) -> Option<Self> {
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        let arguments = [&host, &port, trusted.to_str().unwrap()];
        Self::start("aioquic", "aioquic/client.py", &arguments).await
    }

    /// Starts a script of `tests/e2e`; `None` on a machine that does not have the package.
    pub(crate) async fn start(package: &str, script: &str, arguments: &[&str]) -> Option<Self> {
        let python = std::env::var("WAYHOLD_PYTHON").unwrap_or_else(|_| "python3".into());
        let has = Command::new(&python)
            .args(["-c", &format!("import {package}")])
            .stderr(Stdio::null())
            .status();
        if !has.await.is_ok_and(|status| status.success()) {
            skip(&format!("{python} has no {package}"));
            return None;
        }
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e");
        let mut process = Command::new(python)
            .arg(tests.join(script))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Some(Self {
            commands: process.stdin.take().unwrap(),
            answers: BufReader::new(process.stdout.take().unwrap()).lines(),
            process,
        })
    }

    /// Gives a command, as the script lists them, and waits for the answer.
    pub(crate) async fn ask(&mut self, command: &str) -> Value {
        let line = format!("{command}\n");
        self.commands.write_all(line.as_bytes()).await.unwrap();
        self.answer().await
    }

    /// Waits for what the script says next.
    pub(crate) async fn answer(&mut self) -> Value {
        let line = timeout(PATIENCE, self.answers.next_line()).await;
        let line = line.unwrap().unwrap().expect("the script goes on");
        serde_json::from_str(&line).unwrap()
    }

    pub(crate) async fn quit(mut self) {
        drop(self.commands);
        let ended = timeout(PATIENCE, self.process.wait()).await;
        assert!(ended.unwrap().unwrap().success());
    }
}

/// Says why a test proves nothing here; where that must not happen, the test fails.
#[expect(
    clippy::print_stderr,
    reason = "the reason belongs into the test's output"
)]
fn skip(reason: &str) {
    eprintln!("SKIPPED({reason})");
    assert_ne!(
        std::env::var("WAYHOLD_TESTBED").as_deref(),
        Ok("require"),
        "{reason}"
    );
}

//! aioquic as a process that a test drives.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::stage::PATIENCE;

pub(crate) struct Aioquic {
    process: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Aioquic {
    /// Starts a client that trusts the certificates in a file; `None` on a machine that does not have
    /// it.
    pub(crate) async fn connect(address: SocketAddr, trusted: &Path) -> Option<Self> {
        let python = std::env::var("WAYHOLD_PYTHON").unwrap_or_else(|_| "python3".into());
        let has = Command::new(&python)
            .args(["-c", "import aioquic"])
            .stderr(Stdio::null())
            .status();
        if !has.await.is_ok_and(|status| status.success()) {
            skip(&format!("{python} has no aioquic"));
            return None;
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/aioquic/client.py");
        let mut process = Command::new(python)
            .arg(script)
            .args([address.ip().to_string(), address.port().to_string()])
            .arg(trusted)
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
        let exchange = async {
            let line = format!("{command}\n");
            self.commands.write_all(line.as_bytes()).await.unwrap();
            self.answers.next_line().await.unwrap()
        };
        let line = timeout(PATIENCE, exchange).await.unwrap();
        let line = line.unwrap_or_else(|| panic!("the client ended at {command:?}"));
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

//! An HTTP/3 client that shares no code with the gateway: aioquic, in Python.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use wayhold::testbed::Move;

use crate::stage::{PATIENCE, Stage};
use crate::transfer::digest;

struct Aioquic {
    process: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Aioquic {
    /// Starts the client; `None` on a machine that does not have it.
    async fn connect(stage: &Stage) -> Option<Self> {
        let python = std::env::var("WAYHOLD_PYTHON").unwrap_or_else(|_| "python3".into());
        let has = Command::new(&python)
            .args(["-c", "import aioquic"])
            .stderr(Stdio::null())
            .status();
        if !has.await.is_ok_and(|status| status.success()) {
            skip(&format!("{python} has no aioquic"));
            return None;
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/aioquic_client.py");
        let address = stage.relay.address();
        let mut process = Command::new(python)
            .arg(script)
            .args([address.ip().to_string(), address.port().to_string()])
            .arg(stage.directory.file("tls.pem"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let commands = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap()).lines();
        Some(Self {
            process,
            commands,
            answers,
        })
    }

    async fn ask(&mut self, command: &str) -> Value {
        let exchange = async {
            self.commands
                .write_all(format!("{command}\n").as_bytes())
                .await
                .unwrap();
            self.answers.next_line().await.unwrap()
        };
        let line = tokio::time::timeout(PATIENCE, exchange).await.unwrap();
        serde_json::from_str(&line.unwrap_or_else(|| panic!("the client ended at {command:?}")))
            .unwrap()
    }

    async fn quit(mut self) {
        drop(self.commands);
        let ended = tokio::time::timeout(PATIENCE, self.process.wait()).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_independent_client_fetches_uploads_and_survives_a_rebinding_and_a_flip() {
    let stage = Stage::start(2).await;
    let Some(mut client) = Aioquic::connect(&stage).await else {
        return;
    };

    let small = client.ask("get /bytes/100000?seed=5").await;
    assert_eq!(small["status"], 200);
    assert_eq!(small["sha256"], digest(5, 100_000));

    let uploaded = client.ask("upload /upload 10485760").await;
    assert_eq!(uploaded["status"], 200);
    let seen: Value = serde_json::from_str(uploaded["body"].as_str().unwrap()).unwrap();
    assert_eq!(seen["bytes"], 10_485_760);
    assert_eq!(seen["sha256"], uploaded["sha256"]);

    client.ask("start /bytes/20000000?seed=6").await;
    stage.relay.make(Move::Flip).await.unwrap();
    client.ask("rebind").await;
    let large = client.ask("finish").await;
    assert_eq!(large["status"], 200);
    assert_eq!(large["sha256"], digest(6, 20_000_000));

    assert!(
        stage.sum(|metrics| metrics.datagrams_forwarded.get()) > 0,
        "the flip was forwarded"
    );
    stage.until_moved().await;
    client.quit().await;
}

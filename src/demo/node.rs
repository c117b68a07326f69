use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::DemoError;
use super::audit::NodeBooks;
use super::files::Files;
use super::plan::{Break, Plan};
use crate::sys::process::{bind_to_parent, kill, terminate};
use crate::testbed::{kernel_drops, now};

/// A gateway in a process of its own, run from files as an operator writes them.
///
/// Dropping it kills the process and those that took over from it.
#[derive(Debug)]
pub(super) struct NodeProcess {
    number: usize,
    program: PathBuf,
    config: PathBuf,
    admin: PathBuf,
    log: PathBuf,
    address: SocketAddr,
    child: Child,
    successors: Vec<u32>,
    alive: bool,
    /// What processes of this node had counted when they were asked for the last time.
    past: NodeBooks,
}

impl NodeProcess {
    /// Starts the node with this number, from 1, and returns when it listens.
    pub(super) async fn start(
        number: usize,
        files: &Files,
        plan: &Plan,
    ) -> Result<Self, DemoError> {
        let (config, out) = (files.config(number), files.output(number));
        let log = files.log(number);
        let mut command = wayhold(&plan.program);
        command.arg("run").arg("-c").arg(&config);
        if let Some(fault) = plan.fault.and_then(planted) {
            command.args(["--planted-fault", fault]);
        }
        command
            .stdout(File::create(&out)?)
            .stderr(File::create(&log)?)
            .kill_on_drop(true);
        bind_to_parent(command.as_std_mut());
        let mut child = command.spawn()?;
        let listening = async {
            loop {
                if let Some(address) = listens_on(&fs::read_to_string(&out)?) {
                    return Ok(address);
                }
                if let Some(status) = child.try_wait()? {
                    return Err(DemoError::Node {
                        number,
                        code: status.code(),
                        what: format!("ended at its start with {status}"),
                        log: tail(&log),
                    });
                }
                tokio::time::sleep(POLL).await;
            }
        };
        let Ok(address) = timeout(START_LIMIT, listening).await else {
            return Err(DemoError::Node {
                number,
                code: None,
                what: format!("did not listen within {START_LIMIT:?}"),
                log: tail(&log),
            });
        };
        Ok(Self {
            number,
            program: plan.program.clone(),
            config,
            admin: files.admin(number),
            log,
            address: address?,
            child,
            successors: Vec::new(),
            alive: true,
            past: NodeBooks::default(),
        })
    }

    /// Where clients reach it.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until it welcomes clients and each of these peers has proved to be alive.
    pub(super) async fn until_ready(
        &self,
        peers: impl Iterator<Item = usize>,
    ) -> Result<(), DemoError> {
        let lines: Vec<_> = peers
            .map(|peer| format!("peer confirmed peer={peer}"))
            .collect();
        let ready = async {
            while !matches!(self.ask("/readyz").await, Ok((200, _))) {
                tokio::time::sleep(POLL).await;
            }
            loop {
                let log = fs::read_to_string(&self.log)?;
                if lines.iter().all(|line| log.contains(line)) {
                    return Ok(());
                }
                tokio::time::sleep(POLL).await;
            }
        };
        match timeout(START_LIMIT, ready).await {
            Ok(ready) => ready,
            Err(_elapsed) => Err(self.failed(format!("was not ready within {START_LIMIT:?}"))),
        }
    }

    /// Has `wayhold` give this order to the node, as an operator does.
    ///
    /// The answer is what that prints.
    pub(super) async fn order(&self, order: &str) -> Result<String, DemoError> {
        let mut command = wayhold(&self.program);
        command.arg(order).arg("-c").arg(&self.config);
        finish(command)
            .await
            .map_err(|error| self.failed(format!("did not {order}: {error}")))
    }

    /// Lets another process take over, and gives how many QUIC connections the first one had. What
    /// that one counts from here on is never read.
    pub(super) async fn upgrade(&mut self) -> Result<u64, DemoError> {
        let past = self.books().await?;
        let line = self.order("upgrade").await?;
        let pid = line
            .split_whitespace()
            .find_map(|word| word.strip_prefix("pid="));
        let Some(Ok(pid)) = pid.map(str::parse) else {
            return Err(self.failed(format!("named no process: {line}")));
        };
        self.successors.push(pid);
        self.past = NodeBooks {
            connections: 0,
            ..past
        };
        Ok(past.connections)
    }

    /// Kills the node's process, which was never upgraded, without a warning. The answer is when.
    pub(super) async fn kill(&mut self) -> Result<Instant, DemoError> {
        self.past = self.books().await?;
        self.alive = false;
        let killed = now();
        self.child.kill().await?;
        Ok(killed)
    }

    /// Waits until it knows that this peer is dead.
    pub(super) async fn until_dead(&self, peer: usize) -> Result<(), DemoError> {
        let dead = async {
            loop {
                let (_, page) = self.ask("/status").await?;
                let status: Value = serde_json::from_str(&page).map_err(io::Error::from)?;
                let peers = status["fleet"]["peers"].as_array();
                if peers.is_some_and(|peers| peers.iter().any(|known| is_dead(known, peer))) {
                    return Ok(());
                }
                tokio::time::sleep(POLL).await;
            }
        };
        match timeout(START_LIMIT, dead).await {
            Ok(known) => known,
            Err(_elapsed) => Err(self.failed(format!("does not know that {peer} is dead"))),
        }
    }

    /// Waits until a node that was told to drain has no QUIC connection left.
    pub(super) async fn until_left(&self) -> Result<(), DemoError> {
        let left = async {
            while self.books().await?.connections > 0 {
                tokio::time::sleep(POLL).await;
            }
            Ok(())
        };
        match timeout(LEAVE_LIMIT, left).await {
            Ok(left) => left,
            Err(_elapsed) => Err(self.failed(format!("had clients after {LEAVE_LIMIT:?}"))),
        }
    }

    /// Ends the node, which was never upgraded, and gives what it has counted.
    pub(super) async fn end(mut self) -> Result<NodeBooks, DemoError> {
        let books = self.books().await?;
        if let Some(pid) = self.child.id() {
            terminate(pid)?;
        }
        match timeout(LEAVE_LIMIT, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(books),
            Ok(Ok(status)) => Err(self.failed(format!("ended with {status}"))),
            Ok(Err(error)) => Err(error.into()),
            Err(_elapsed) => Err(self.failed(format!("had not ended after {LEAVE_LIMIT:?}"))),
        }
    }

    /// What the node has counted so far, in all its processes.
    pub(super) async fn books(&self) -> Result<NodeBooks, DemoError> {
        if !self.alive {
            return Ok(self.past);
        }
        let (_, page) = self.ask("/metrics").await?;
        let mut books = self.past + NodeBooks::read(&page);
        // The sockets pass from process to process, and their drops with them.
        books.kernel_dropped = kernel_drops(self.address)?;
        Ok(books)
    }

    /// What was counted by processes that nobody can ask any more.
    pub(super) fn past(&self) -> NodeBooks {
        self.past
    }

    /// Whether it was not killed.
    pub(super) fn is_alive(&self) -> bool {
        self.alive
    }

    /// The end of what the node has written.
    pub(super) fn log(&self) -> String {
        format!("node {} has written:\n{}", self.number, tail(&self.log))
    }

    async fn ask(&self, path: &str) -> io::Result<(u16, String)> {
        let exchange = async {
            let mut stream = UnixStream::connect(&self.admin).await?;
            let request = format!("GET {path} HTTP/1.1\r\nhost: admin\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            stream.take(MAX_ANSWER).read_to_string(&mut answer).await?;
            io::Result::Ok(answer)
        };
        let answer = timeout(ORDER_LIMIT, exchange).await??;
        parse(&answer).ok_or_else(|| io::Error::other("what answers is no gateway"))
    }

    fn failed(&self, what: String) -> DemoError {
        DemoError::Node {
            number: self.number,
            code: None,
            what,
            log: tail(&self.log),
        }
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        for pid in &self.successors {
            // One that has given way in turn and ended is gone already.
            drop(kill(*pid));
        }
    }
}

/// Takes the next step of a rotation in the key file that this node shares with its peers.
pub(super) async fn rotate(node: &NodeProcess, key_file: &Path) -> Result<(), DemoError> {
    let mut command = wayhold(&node.program);
    command.args(["keys", "rotate"]).arg(key_file);
    command.arg("-c").arg(&node.config);
    finish(command)
        .await
        .map_err(|error| node.failed(format!("has no new key: {error}")))?;
    Ok(())
}

/// The program with nothing in its environment that is meant for another one.
fn wayhold(program: &Path) -> Command {
    let mut command = Command::new(program);
    let meant_for_others = |name: &str| {
        name.starts_with("WAYHOLD_") || name.starts_with("LISTEN_") || name == "NOTIFY_SOCKET"
    };
    for (name, _) in std::env::vars_os() {
        if meant_for_others(&name.to_string_lossy()) {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

async fn finish(mut command: Command) -> io::Result<String> {
    command.kill_on_drop(true);
    let output = timeout(ORDER_LIMIT, command.output()).await??;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let reason = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(reason.trim_end().to_owned()))
}

fn is_dead(known: &Value, peer: usize) -> bool {
    known["node"] == peer && known["state"] == "dead"
}

fn listens_on(output: &str) -> Option<SocketAddr> {
    let (address, _) = output.strip_prefix("listening on ")?.split_once('\n')?;
    address.parse().ok()
}

fn parse(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

/// The last lines of a file.
fn tail(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_else(|error| error.to_string());
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}

/// The word for a fault after `wayhold run --planted-fault`.
fn planted(fault: Break) -> Option<&'static str> {
    match fault {
        Break::Steer => Some("no-forwarding"),
        Break::Validate => Some("lax-validate"),
        Break::Relay => None,
    }
}

/// A debug build on a busy machine takes a second.
const START_LIMIT: Duration = Duration::from_secs(20);
const ORDER_LIMIT: Duration = Duration::from_secs(40);
/// A node waits ten seconds for a client that does not close its connection.
const LEAVE_LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(5);
/// A hundred times what a node answers.
const MAX_ANSWER: u64 = 4 << 20;
/// Lines of a node's log in the report of a run that failed.
const TAIL: usize = 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_listens_where_its_first_whole_line_says() {
        let address = "127.0.0.1:4433".parse().ok();
        let cases = [
            ("listening on 127.0.0.1:4433\nadmin on unix:x\n", address),
            ("listening on 127.0.0.1:44", None),
            ("", None),
        ];
        for (output, expected) in cases {
            assert_eq!(listens_on(output), expected, "{output:?}");
        }
    }

    #[test]
    fn an_answer_has_a_status_and_a_body() {
        let answer = parse("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        assert_eq!(answer, Some((200, "ok".into())));
        assert_eq!(parse("HTTP/1.1 200"), None);
    }
}

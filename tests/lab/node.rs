//! `wayhold` as processes on the hosts of a network, from files as an operator writes them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::{self, File};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::time::timeout;
use wayhold::sys::process::terminate;

use crate::network::{NODES, Network, relay};
use crate::stage::{Directory, PATIENCE, until};

/// Nodes of one fleet, all of which have confirmed each other.
pub(crate) struct Fleet(BTreeMap<u8, Node>);

/// A running process.
pub(crate) struct Node {
    directory: PathBuf,
    child: Child,
}

impl Fleet {
    /// Starts every node of a network, with `more` in the file of the fleet.
    pub(crate) async fn start(network: &Network, directory: &Directory, more: &str) -> Self {
        configure(directory, more).await;
        Self::configured(network, directory).await
    }

    /// Starts every node of a network from files that are there.
    pub(crate) async fn configured(network: &Network, directory: &Directory) -> Self {
        Self::of((1..=NODES).map(|number| (number, Node::start(network, directory, number)))).await
    }

    /// Waits until these nodes, by their numbers, are ready and have confirmed each other.
    pub(crate) async fn of(nodes: impl IntoIterator<Item = (u8, Node)>) -> Self {
        let fleet = Self(nodes.into_iter().collect());
        fleet.until_confirmed().await;
        fleet
    }

    /// Takes a node in, in place of an earlier one with its number.
    pub(crate) fn add(&mut self, number: u8, node: Node) {
        self.0.insert(number, node);
    }

    /// Gives a node away.
    pub(crate) fn take(&mut self, number: u8) -> Node {
        self.0.remove(&number).unwrap()
    }

    /// Waits until every node is ready and has confirmed all others.
    pub(crate) async fn until_confirmed(&self) {
        for (number, node) in &self.0 {
            node.until_ready().await;
            for peer in self.0.keys().filter(|peer| *peer != number) {
                let line = format!("peer confirmed peer={peer}");
                until(&line, async || node.log().contains(&line)).await;
            }
        }
    }

    /// The node with this number, from 1.
    pub(crate) fn node(&self, number: u8) -> &Node {
        &self.0[&number]
    }

    /// The sum over all nodes of the series of a metric that begin so.
    pub(crate) async fn sum(&self, series: &str) -> u64 {
        let mut sum = 0;
        for node in self.0.values() {
            sum += node.metric(series).await;
        }
        sum
    }

    /// Waits until nodes have seen a client with a new port, or address. They look ten times a
    /// second, and of two changes between two looks they see the greater one.
    pub(crate) async fn until_moved(&self, kind: &str) {
        let series = format!("wayhold_path_changes_total{{kind=\"{kind}\"}}");
        until(kind, async || self.sum(&series).await > 0).await;
    }

    /// Asserts that every client has exactly one connection, that no node and no tunnel lost a
    /// datagram, and that no request failed.
    pub(crate) async fn assert_nothing_lost(&self, clients: u64) {
        self.assert_nothing_dropped(clients).await;
        self.until_all_arrived().await;
    }

    /// The same, but for the tunnels: of a node that has left, nobody knows what it had counted.
    pub(crate) async fn assert_nothing_dropped(&self, clients: u64) {
        let open = self.sum(r#"wayhold_connections{transport="quic"}"#).await;
        assert_eq!(open, clients);
        for losses in [
            "wayhold_requests_failed_total",
            "wayhold_connections_refused_total",
            "wayhold_panics_total",
            "wayhold_tunnel_refused_total",
            "wayhold_datagrams_dropped_total",
        ] {
            assert_eq!(self.sum(losses).await, 0, "{losses}");
        }
    }

    /// Waits until all that was sent through tunnels, to owners and back, has come out of them.
    async fn until_all_arrived(&self) {
        for (sent, arrived) in [
            ("wayhold_datagrams_forwarded", "wayhold_datagrams_tunnelled"),
            ("wayhold_replies_tunnelled", "wayhold_replies_emitted"),
        ] {
            until("the tunnels have lost nothing", async || {
                self.sum(arrived).await == self.sum(sent).await
            })
            .await;
        }
    }
}

/// A claim that failed shows what its nodes have written.
impl Drop for Fleet {
    #[expect(clippy::print_stderr, reason = "this belongs into the test's output")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (number, node) in &self.0 {
                eprintln!("node {number} has written:\n{}", node.log());
            }
        }
    }
}

impl Node {
    pub(crate) fn start(network: &Network, shared: &Directory, number: u8) -> Self {
        Self::start_with(network, shared, number, &[])
    }

    /// Starts a node with variables of its own in its environment.
    pub(crate) fn start_with(
        network: &Network,
        shared: &Directory,
        number: u8,
        variables: &[(&str, String)],
    ) -> Self {
        let directory = shared.file(&format!("node-{number}"));
        fs::create_dir_all(&directory).unwrap();
        let log = File::create(directory.join("log")).unwrap();
        let id = number.to_string();
        let arguments = ["run", "-c", "wayhold.toml", "--node-id", &id, "--state-dir"];
        let mut command = wayhold(shared, &arguments);
        command.arg(&directory).stdout(Stdio::null()).stderr(log);
        command.envs(variables.iter().cloned());
        let runtime = Handle::current();
        let started = network.node(number).run(|| {
            let _here = runtime.enter();
            command.spawn().unwrap()
        });
        Self {
            directory,
            child: started.unwrap(),
        }
    }

    pub(crate) async fn until_ready(&self) {
        until("the node is ready", async || {
            matches!(self.ask("GET", "/readyz").await, Some((200, _)))
        })
        .await;
    }

    /// The sum of the series of a metric that begin so.
    pub(crate) async fn metric(&self, series: &str) -> u64 {
        let (_, page) = self.ask("GET", "/metrics").await.unwrap();
        let of_line = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            name.starts_with(series)
                .then(|| value.parse::<u64>().unwrap())
        };
        page.lines().filter_map(of_line).sum()
    }

    /// What the process has written.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap()
    }

    /// Has an operator's command carried out, such as `/reload`.
    pub(crate) async fn command(&self, command: &str) {
        let (status, answer) = self.ask("POST", command).await.unwrap();
        assert_eq!(status, 200, "{command}: {answer}");
    }

    /// Ends the process as a crash does.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Tells the process to end.
    pub(crate) fn terminate(&self) {
        terminate(self.child.id().unwrap()).unwrap();
    }

    /// Waits until the process has ended by itself, and gives its exit code.
    pub(crate) async fn end(mut self) -> Option<i32> {
        let ended = timeout(PATIENCE, self.child.wait()).await;
        ended.unwrap().unwrap().code()
    }

    /// Status and body of an answer of the admin listener, once that listens.
    async fn ask(&self, method: &str, path: &str) -> Option<(u16, String)> {
        let socket = self.directory.join("admin.sock");
        let mut stream = UnixStream::connect(socket).await.ok()?;
        let request = format!("{method} {path} HTTP/1.1\r\nhost: admin\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut response = String::new();
        stream.read_to_string(&mut response).await.ok()?;
        let (head, body) = response.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    }
}

/// Makes the fleet's key and writes the two files that all nodes share.
pub(crate) async fn configure(directory: &Directory, more: &str) {
    let made = finish(wayhold(directory, &["keys", "init", "fleet.key"])).await;
    assert!(made.status.success(), "{made:?}");
    write_fleet(directory, more, 1..=NODES);
    fs::write(directory.file("wayhold.toml"), CONFIG).unwrap();
}

/// Writes the file of a fleet of these members, with `more` in it.
pub(crate) fn write_fleet(directory: &Directory, more: &str, members: RangeInclusive<u8>) {
    let mut fleet = format!("key_file = \"fleet.key\"\n{more}\n");
    for number in members {
        let relay = relay(number);
        writeln!(fleet, "[[member]]\nid = {number}\nrelay = \"{relay}:4434\"").unwrap();
    }
    fs::write(directory.file("fleet.toml"), fleet).unwrap();
}

/// The command with nothing of this test in its environment.
pub(crate) fn wayhold(directory: &impl AsRef<Path>, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wayhold"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WAYHOLD_") {
            command.env_remove(name);
        }
    }
    command
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Runs a command to its end.
pub(crate) async fn finish(mut command: Command) -> Output {
    timeout(PATIENCE, command.output()).await.unwrap().unwrap()
}

/// What a claim in which nobody has to be found dead adds to the file of the fleet: longer than it
/// takes, because a process may wait longer than the default for a busy machine.
pub(crate) const PATIENT: &str = "silent_after = \"30s\"\ndead_after = \"30s\"";
/// As in docs/fleet.md; without a route the built-in origin answers.
pub(crate) const CONFIG: &str = r#"
[[listen]]
addr = "192.0.2.1:443"
cert = "tls.pem"
key = "tls.key"
[fleet]
file = "fleet.toml"
"#;

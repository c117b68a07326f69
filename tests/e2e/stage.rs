//! Nodes of one fleet behind a relay, with everything that they need made anew.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use wayhold::bridge::Origin;
use wayhold::cid::{CidConfig, ConfigError};
use wayhold::client::{Http3Client, Target};
use wayhold::config::{self, Config, Setting, Sources};
use wayhold::control::write_key_file;
use wayhold::fleet::{Epoch, FleetKey, Keyring};
use wayhold::request::Handler;
use wayhold::telemetry::{Metrics, PathChange, Reason, Transport};
use wayhold::testbed::{Honesty, Relay, RelayConfig};
use wayhold::{FleetHandle, Gateway, GatewayBuilder, GatewayError, GatewayHandle};

use crate::transfer::get;

/// How long a test waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A directory that is removed with this.
#[derive(Debug)]
pub(crate) struct Directory(TempDir);

/// Running nodes that share one service address, the relay's.
pub(crate) struct Stage {
    pub(crate) relay: Relay,
    pub(crate) nodes: Vec<Node>,
    pub(crate) directory: Directory,
    /// The fleet as it was when the nodes started.
    pub(crate) fleet: config::Fleet,
    _turn: SemaphorePermit<'static>,
}

/// One running gateway.
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    pub(crate) metrics: Metrics,
    pub(crate) handle: GatewayHandle,
    pub(crate) fleet: Option<FleetHandle>,
    stop: CancellationToken,
    serving: JoinSet<Result<(), GatewayError>>,
}

/// One running gateway without a fleet, and no relay before it.
pub(crate) struct Solo {
    pub(crate) node: Node,
    pub(crate) directory: Directory,
    _turn: SemaphorePermit<'static>,
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn until(mut so: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let waiting = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(2));
            while !so() {
                ticks.tick().await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(waited.is_ok(), "waited in vain at {caller}");
    }
}

/// Asks until the gateway takes no more requests. It tells its connections one after the other, and
/// what came before that is answered.
pub(crate) async fn until_told_to_go(client: &Http3Client) {
    let asking = async {
        while let Ok(response) = client.send(get("/")).await {
            assert_eq!(response.status(), 200);
        }
    };
    let told = tokio::time::timeout(PATIENCE, asking).await;
    assert!(told.is_ok(), "the gateway takes every request");
}

/// Waits until not too many socket tests run at once.
pub(crate) async fn turn() -> SemaphorePermit<'static> {
    static TURNS: Semaphore = Semaphore::const_new(2);
    TURNS.acquire().await.unwrap()
}

impl Directory {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Makes a certificate for `localhost` that is its own authority: `tls.pem` and `tls.key`.
    pub(crate) fn certify(&self) {
        let names = [
            "localhost".to_owned(),
            "127.0.0.1".to_owned(),
            "::1".to_owned(),
        ];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        fs::write(self.file("tls.pem"), made.cert.pem()).unwrap();
        fs::write(self.file("tls.key"), made.signing_key.serialize_pem()).unwrap();
    }

    /// The configuration of a node on loopback with the certificate of this directory, and `more`.
    pub(crate) fn config(&self, more: &str) -> Config {
        self.config_on("127.0.0.1:0", more)
    }

    /// The same on another address.
    pub(crate) fn config_on(&self, address: &str, more: &str) -> Config {
        let text = format!(
            "state_dir = \"state\"\nadmin.listen = \"off\"\nlog.access = false\n\
             listen = [{{ addr = \"{address}\", cert = \"tls.pem\", key = \"tls.key\" }}]\n{more}"
        );
        let file = self.file("wayhold.toml");
        fs::write(&file, text).unwrap();
        let sources = Sources {
            file: Some(file),
            environment: vec![],
            settings: Vec::<Setting>::new(),
        };
        config::load(&sources).unwrap_or_else(|errors| panic!("{errors}"))
    }
}

impl AsRef<Path> for Directory {
    fn as_ref(&self) -> &Path {
        self.0.path()
    }
}

impl Stage {
    /// Starts this many nodes of one fleet and a relay that routes to the first.
    pub(crate) async fn start(size: usize) -> Self {
        Self::serving(size, Origin::new()).await
    }

    /// Starts nodes that answer with this handler.
    pub(crate) async fn serving(size: usize, handler: impl Handler + Clone) -> Self {
        Self::configured(size, "", handler).await
    }

    /// Starts nodes with `more` in the configuration of each.
    pub(crate) async fn configured(size: usize, more: &str, handler: impl Handler + Clone) -> Self {
        Self::built(size, more, |builder| builder.handler(handler.clone())).await
    }

    /// Starts nodes with `more` in the configuration of each, whose building `finish` ends.
    pub(crate) async fn built(
        size: usize,
        more: &str,
        finish: impl Fn(GatewayBuilder) -> GatewayBuilder,
    ) -> Self {
        let turn = turn().await;
        let directory = Directory::new();
        directory.certify();
        let key = Keyring::new(fleet_key());
        write_key_file(&directory.file("fleet.key"), &key).unwrap();
        let tunnels: Vec<_> = (0..size)
            .map(|_| UdpSocket::bind("127.0.0.1:0").unwrap())
            .collect();
        let members: Vec<_> = tunnels
            .iter()
            .enumerate()
            .map(|(id, tunnel)| {
                format!(
                    "{{ id = {id}, relay = \"{}\" }}",
                    tunnel.local_addr().unwrap()
                )
            })
            .collect();
        let fleet = format!(
            "fleet.key_file = \"fleet.key\"\n{TIMING}\nfleet.member = [{}]",
            members.join(", ")
        );
        let mut nodes = Vec::new();
        let mut shared = None;
        for (id, tunnel) in tunnels.into_iter().enumerate() {
            let node = format!("node = {{ id = {id}, instance = {INSTANCE} }}\n{fleet}\n{more}");
            let config = directory.config(&node);
            shared.clone_from(&config.fleet);
            let gateway = Gateway::builder().config(config).relay_socket(tunnel);
            nodes.push(Node::start(finish(gateway).bind().unwrap()));
        }
        let relay = Relay::start(RelayConfig {
            nodes: nodes.iter().map(|node| node.address).collect(),
            delay: Duration::from_millis(1),
            honesty: Honesty::Honest,
        })
        .await
        .unwrap();
        Self {
            relay,
            nodes,
            directory,
            fleet: shared.unwrap(),
            _turn: turn,
        }
    }

    /// The sum of a counter over all nodes.
    pub(crate) fn sum(&self, counter: impl Fn(&Metrics) -> u64) -> u64 {
        self.nodes.iter().map(|node| counter(&node.metrics)).sum()
    }
}

impl Stage {
    /// Waits until a node has seen a client move; it looks ten times a second.
    pub(crate) async fn until_moved(&self) {
        let moves = || {
            self.nodes
                .iter()
                .flat_map(|node| PathChange::ALL.map(|kind| node.moves(kind)))
                .sum::<u64>()
        };
        until(|| moves() > 0).await;
    }

    /// Waits until every node has heard its peers for so long that it hands new connections to them.
    pub(crate) async fn until_welcome(&self) {
        let all = || {
            self.nodes
                .iter()
                .all(|node| node.peers().all(|peer| peer["welcomes"] == true))
        };
        until(all).await;
    }

    /// Where a client reaches the fleet.
    pub(crate) fn target(&self) -> Target {
        target(self.relay.address())
    }
}

impl Solo {
    /// Starts a gateway with `more` in its configuration.
    pub(crate) async fn start(more: &str, handler: impl Handler) -> Self {
        Self::start_on("127.0.0.1:0", more, handler).await
    }

    /// Starts a gateway whose configuration has routes.
    pub(crate) async fn routing(routes: &str) -> Self {
        Self::finished("127.0.0.1:0", routes, |builder| builder).await
    }

    /// Starts it on another address.
    pub(crate) async fn start_on(address: &str, more: &str, handler: impl Handler) -> Self {
        Self::finished(address, more, |builder| builder.handler(handler)).await
    }

    async fn finished(
        address: &str,
        more: &str,
        finish: impl FnOnce(GatewayBuilder) -> GatewayBuilder,
    ) -> Self {
        let turn = turn().await;
        let directory = Directory::new();
        directory.certify();
        let gateway = Gateway::builder().config(directory.config_on(address, more));
        Self {
            node: Node::start(finish(gateway).bind().unwrap()),
            directory,
            _turn: turn,
        }
    }
}

/// An address as a client names it, whose certificate is for `localhost`.
pub(crate) fn target(address: SocketAddr) -> Target {
    Target {
        address,
        name: "localhost".into(),
    }
}

/// The key of every fleet here.
pub(crate) fn fleet_key() -> FleetKey {
    FleetKey::new(Epoch(1), [7; 32])
}

/// The form of every connection ID here.
pub(crate) fn cid_form() -> CidConfig {
    let form = Config::default()
        .cid
        .form(|| Ok::<_, ConfigError>(fleet_key()));
    form.unwrap()
}

/// A machine that compiles beside the tests may let a process wait for a second.
const TIMING: &str = "fleet.heartbeat = \"50ms\"\nfleet.silent_after = \"10s\"";

/// The instance of every node here.
pub(crate) const INSTANCE: u8 = 9;

impl Node {
    pub(crate) fn start(gateway: Gateway) -> Self {
        let (address, metrics) = (gateway.local_addresses()[0], gateway.metrics());
        let handle = gateway.handle();
        let fleet = gateway.fleet();
        let (stop, mut serving) = (CancellationToken::new(), JoinSet::new());
        serving.spawn(gateway.serve(stop.clone().cancelled_owned()));
        Self {
            address,
            metrics,
            handle,
            fleet,
            stop,
            serving,
        }
    }

    /// What the node knows of its peers.
    pub(crate) fn peers(&self) -> impl Iterator<Item = serde_json::Value> {
        let status = self.fleet.as_ref().map(FleetHandle::status);
        let peers = status.and_then(|status| status["peers"].as_array().cloned());
        peers.unwrap_or_default().into_iter()
    }

    /// Client moves of one kind that the node has seen.
    pub(crate) fn moves(&self, kind: PathChange) -> u64 {
        self.metrics.path_changes.get_or_create(&kind).get()
    }

    /// Datagrams that the node has dropped for this reason.
    pub(crate) fn dropped(&self, reason: &'static str) -> u64 {
        count(&self.metrics.datagrams_dropped, reason)
    }

    /// Connections that the node has refused for this reason.
    pub(crate) fn refused(&self, reason: &'static str) -> u64 {
        count(&self.metrics.connections_refused, reason)
    }

    /// Requests that have failed at the node for this reason.
    pub(crate) fn failed(&self, reason: &'static str) -> u64 {
        count(&self.metrics.requests_failed, reason)
    }

    /// QUIC connections open now.
    pub(crate) fn open(&self) -> i64 {
        let connections = &self.metrics.connections;
        connections.get_or_create(&Transport::QUIC).get()
    }

    /// Asks the node to end; it does so by itself from here.
    pub(crate) fn drain(&self) {
        self.stop.cancel();
    }

    /// Waits for the node to end by itself and gives what its serving came to.
    pub(crate) async fn ended(mut self) -> Result<(), GatewayError> {
        let ended = tokio::time::timeout(PATIENCE, self.serving.join_next()).await;
        ended.unwrap().unwrap().unwrap()
    }

    /// Asks the node to end and gives what its serving came to.
    pub(crate) async fn end(mut self) -> Result<(), GatewayError> {
        self.stop.cancel();
        let ended = tokio::time::timeout(PATIENCE, self.serving.join_next()).await;
        ended.unwrap().unwrap().unwrap()
    }
}

fn count(family: &Family<Reason, Counter>, reason: &'static str) -> u64 {
    family.get_or_create(&Reason { reason }).get()
}

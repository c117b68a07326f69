use std::fs::DirBuilder;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::DemoError;
use super::audit::NodeBooks;
use super::plan::Break;
use super::workload::SERVICE_NAME;
use crate::Gateway;
use crate::bridge::Origin;
use crate::client::{Target, Trust, tls_config};
use crate::config::{
    Admin, AdminAddress, Config, Fleet, Listen, Log, Member, Node, Route, Shutdown, Upstream,
    UpstreamProtocol,
};
use crate::control::write_key_file;
use crate::edge::Fault;
use crate::fleet::{Epoch, FleetKey, Keyring, NodeId};
use crate::telemetry::{Metrics, PathChange, Reason};
use crate::testbed::{Backend, Honesty, Relay, RelayConfig, kernel_drops};

/// Everything but the clients: backends, nodes, the relay and the files that the nodes read.
#[derive(Debug)]
pub(super) struct Stage {
    relay: Relay,
    nodes: Vec<RunningNode>,
    target: Target,
    tls: Arc<rustls::ClientConfig>,
    stop: CancellationToken,
    serving: JoinSet<()>,
    _backends: Vec<Backend>,
    _files: Files,
}

#[derive(Debug)]
struct RunningNode {
    address: SocketAddr,
    metrics: Metrics,
}

impl Stage {
    /// Starts everything.
    pub(super) async fn set(fault: Option<Break>) -> Result<Self, DemoError> {
        let mut backends = Vec::new();
        for _ in 0..BACKENDS {
            backends.push(Backend::start(Origin).await?);
        }
        let files = Files::make()?;
        let tunnels = (0..NODES)
            .map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)))
            .collect::<io::Result<Vec<_>>>()?;
        let fleet = files.fleet(&tunnels)?;

        let (stop, mut serving) = (CancellationToken::new(), JoinSet::new());
        let mut nodes = Vec::new();
        for (member, tunnel) in fleet.member.clone().into_iter().zip(tunnels) {
            let config = files.config(member.id, fleet.clone(), &backends);
            let mut builder = Gateway::builder().config(config).relay_socket(tunnel);
            if let Some(fault) = fault.and_then(planted) {
                builder = builder.fault(fault);
            }
            let gateway = builder.bind()?;
            nodes.push(RunningNode {
                address: gateway.local_addresses()[0],
                metrics: gateway.metrics(),
            });
            let stop = stop.clone().cancelled_owned();
            serving.spawn(async move {
                // At the end the demo cuts off whoever is left, and the clients have told already.
                drop(gateway.serve(stop).await);
            });
        }
        let relay = Relay::start(RelayConfig {
            nodes: nodes.iter().map(|node| node.address).collect(),
            delay: DELAY,
            honesty: match fault {
                Some(Break::Relay) => Honesty::ClaimsFlips,
                _ => Honesty::Honest,
            },
        })
        .await?;
        Ok(Self {
            target: Target {
                address: relay.address(),
                name: SERVICE_NAME.into(),
            },
            tls: tls_config(&Trust::Certificates(vec![files.certificate.clone()]))?,
            relay,
            nodes,
            stop,
            serving,
            _backends: backends,
            _files: files,
        })
    }

    pub(super) fn relay(&self) -> &Relay {
        &self.relay
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    pub(super) fn tls(&self) -> &rustls::ClientConfig {
        &self.tls
    }

    /// What each node has counted so far.
    pub(super) fn books(&self) -> io::Result<Vec<NodeBooks>> {
        self.nodes.iter().map(RunningNode::books).collect()
    }

    /// Ends the nodes; everything else ends when it is dropped.
    pub(super) async fn strike(mut self) {
        self.stop.cancel();
        let all = async { while self.serving.join_next().await.is_some() {} };
        // What has not ended in time is aborted.
        drop(tokio::time::timeout(STRIKE_LIMIT, all).await);
    }
}

impl RunningNode {
    fn books(&self) -> io::Result<NodeBooks> {
        let metrics = &self.metrics;
        let dropped = |reason| {
            metrics
                .datagrams_dropped
                .get_or_create(&Reason { reason })
                .get()
        };
        let changes = |kind| metrics.path_changes.get_or_create(&kind).get();
        Ok(NodeBooks {
            received: metrics.datagrams_received.get(),
            forwarded: metrics.datagrams_forwarded.get(),
            tunnel_dropped: TUNNEL_DROPS.into_iter().map(dropped).sum(),
            path_changes: PathChange::ALL.map(changes).iter().sum(),
            kernel_dropped: kernel_drops(self.address)?,
        })
    }
}

/// What the nodes read, in a directory of the demo's own that is removed with this.
#[derive(Debug)]
struct Files {
    directory: PathBuf,
    certificate: CertificateDer<'static>,
}

impl Files {
    fn make() -> Result<Self, DemoError> {
        let minted = rcgen::generate_simple_self_signed(vec![SERVICE_NAME.into()])?;
        let unique = u64::from_ne_bytes(random()?);
        let directory = std::env::temp_dir().join(format!("wayhold-demo-{unique:016x}"));
        DirBuilder::new().mode(0o700).create(&directory)?;
        let files = Self {
            directory,
            certificate: minted.cert.der().clone(),
        };
        std::fs::write(files.path(CERTIFICATE), minted.cert.pem())?;
        std::fs::write(files.path(KEY), minted.signing_key.serialize_pem())?;
        Ok(files)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn fleet(&self, tunnels: &[UdpSocket]) -> Result<Fleet, DemoError> {
        let key_file = self.path(FLEET_KEY);
        let key = FleetKey::new(Epoch::default(), random()?);
        write_key_file(&key_file, &Keyring::new(key))?;
        let member = |(id, tunnel): (u32, &UdpSocket)| {
            Ok(Member {
                id: NodeId::new(id).expect("a small number"),
                relay: tunnel.local_addr()?,
            })
        };
        Ok(Fleet {
            key_file,
            member: (1..).zip(tunnels).map(member).collect::<io::Result<_>>()?,
            link_mtu: LOOPBACK_LINK_MTU,
        })
    }

    fn config(&self, id: NodeId, fleet: Fleet, backends: &[Backend]) -> Config {
        let listen = Listen {
            addr: (Ipv4Addr::LOCALHOST, 0).into(),
            cert: Some(self.path(CERTIFICATE)),
            key: Some(self.path(KEY)),
            ..Listen::default()
        };
        let route = Route {
            host: None,
            path: "/".into(),
            to: backends.iter().map(upstream).collect(),
        };
        Config {
            listen: vec![listen],
            route: vec![route],
            node: Node { id, instance: None },
            fleet: Some(fleet),
            admin: Admin {
                listen: AdminAddress::Off,
            },
            log: Log {
                access: false,
                ..Log::default()
            },
            shutdown: Shutdown { grace: GRACE },
            state_dir: self.directory.clone(),
            runtime_dir: self.directory.join("run"),
            ..Config::default()
        }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // Left behind, it is three small files in the system's directory for such.
        drop(std::fs::remove_dir_all(&self.directory));
    }
}

fn upstream(backend: &Backend) -> Upstream {
    Upstream {
        protocol: UpstreamProtocol::Http1,
        authority: backend.address().to_string(),
    }
}

fn planted(fault: Break) -> Option<Fault> {
    match fault {
        Break::Steer => Some(Fault::NoForwarding),
        Break::Validate => Some(Fault::LaxValidate),
        Break::Relay => None,
    }
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_unspecified| io::Error::other("no random bytes"))?;
    Ok(bytes)
}

/// One way between a client's NAT and a node: a round trip takes 20 ms.
pub(super) const DELAY: Duration = Duration::from_millis(10);
pub(super) const NODES: usize = 2;
const BACKENDS: usize = 2;
const CERTIFICATE: &str = "tls.pem";
const KEY: &str = "tls.key";
const FLEET_KEY: &str = "fleet.key";
const LOOPBACK_LINK_MTU: u16 = 1500;
const GRACE: Duration = Duration::from_secs(1);
const STRIKE_LIMIT: Duration = Duration::from_secs(3);
/// Why a node does not forward what it should, by the names in its metrics.
const TUNNEL_DROPS: [&str; 6] = [
    "no_tunnel",
    "unknown_peer",
    "peer_unconfirmed",
    "counters_exhausted",
    "tunnel_full",
    "tunnel_error",
];

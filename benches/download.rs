//! What the detour over another node costs a whole transfer: `cargo bench --bench download`.
//!
//! Two nodes stand behind one relay, and one connection owned by the first node carries the same
//! transfer again and again, by turns straight to its owner and through the other node, which forwards
//! what the client sends. Both ways cross the relay, so the ratio is of the detour alone; the owner
//! answers directly in either case.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use tokio::task::JoinSet;
use wayhold::Gateway;
use wayhold::bridge::Origin;
use wayhold::client::{Http3Client, Patience, Target, Trust, tls_config};
use wayhold::config::{AdminAddress, Config, Fleet, Listen, Member};
use wayhold::control::write_key_file;
use wayhold::fleet::{Epoch, FleetKey, Keyring, NodeId};
use wayhold::request::Body;
use wayhold::telemetry::Metrics;
use wayhold::testbed::{Honesty, Move, Relay, RelayConfig};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const BYTES: usize = 8 << 20;
const ROUNDS: usize = 30;
const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(10),
    response: Duration::from_secs(10),
    idle: Duration::from_secs(10),
    keep_alive: Duration::from_secs(1),
};

/// Two nodes of one fleet behind a relay.
struct Stage {
    relay: Relay,
    nodes: Vec<Metrics>,
    directory: PathBuf,
    _serving: JoinSet<()>,
}

impl Stage {
    async fn start() -> Result<Self> {
        let name = format!("wayhold-download-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory)?;
        let key_file = directory.join("fleet.key");
        let mut secret = [0; FleetKey::LEN];
        aws_lc_rs::rand::fill(&mut secret)?;
        write_key_file(&key_file, &Keyring::new(FleetKey::new(Epoch(0), secret)))?;
        let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;

        let tunnels = [(); 2].map(|()| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)));
        let tunnels = tunnels.into_iter().collect::<std::io::Result<Vec<_>>>()?;
        let member = |(id, tunnel): (u32, &UdpSocket)| -> Result<Member> {
            Ok(Member::new(NodeId::new(id)?, tunnel.local_addr()?))
        };
        let members = (1..)
            .zip(&tunnels)
            .map(member)
            .collect::<Result<Vec<_>>>()?;

        let (mut addresses, mut nodes, mut serving) = (Vec::new(), Vec::new(), JoinSet::new());
        for (id, tunnel) in (1..).zip(tunnels) {
            let mut config = Config::default();
            config.listen = vec![Listen::new((Ipv4Addr::LOCALHOST, 0).into())];
            config.admin.listen = AdminAddress::Off;
            config.log.access = false;
            config.node.id = NodeId::new(id)?;
            config.fleet = Some(Fleet::new(&key_file, members.clone()));
            config.state_dir.clone_from(&directory);
            let gateway = Gateway::builder()
                .config(config)
                .handler(Origin::new())
                .identity(
                    certificate.cert.pem().as_bytes(),
                    certificate.signing_key.serialize_pem().as_bytes(),
                )
                .relay_socket(tunnel)
                .bind()?;
            addresses.push(gateway.local_addresses()[0]);
            nodes.push(gateway.metrics());
            serving.spawn(async move {
                drop(gateway.serve(std::future::pending()).await);
            });
        }
        let config = RelayConfig {
            nodes: addresses,
            delay: Duration::from_millis(1),
            honesty: Honesty::Honest,
        };
        Ok(Self {
            relay: Relay::start(config).await?,
            nodes,
            directory,
            _serving: serving,
        })
    }

    /// Waits until the nodes have read what the relay has delivered: on a busy machine the last
    /// acknowledgments of one transfer would be counted in the next.
    async fn settle(&self) -> Result<()> {
        let begin = now();
        loop {
            let counts = self.relay.counts().await?;
            let delivered: u64 = counts.delivered.iter().sum();
            let received = self.nodes.iter().map(|node| node.datagrams_received.get());
            if counts.under_way == 0 && received.sum::<u64>() == delivered {
                return Ok(());
            }
            assert!(begin.elapsed() < PATIENCE.idle, "the nodes read everything");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn forwarded(&self) -> u64 {
        self.nodes
            .iter()
            .map(|node| node.datagrams_forwarded.get())
            .sum()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.directory));
    }
}

/// One transfer of [`BYTES`] and how long it took.
async fn transfer(client: &Http3Client, up: Option<&Bytes>) -> Result<Duration> {
    let began = now();
    let request = match up {
        None => Request::get(format!("https://localhost/bytes/{BYTES}")).body(Body::empty()),
        Some(bytes) => Request::post("https://localhost/upload").body(Body::full(bytes.clone())),
    };
    let mut response = client.send(request?).await?;
    while response.body_mut().chunk().await?.is_some() {}
    Ok(now().saturating_duration_since(began))
}

#[expect(clippy::print_stdout, reason = "it is the benchmark's output")]
async fn compare(stage: &Stage, client: &Http3Client, name: &str, up: Option<Bytes>) -> Result<()> {
    let (mut direct, mut detour) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        transfer(client, up.as_ref()).await?;
    }
    for _ in 0..ROUNDS {
        stage.settle().await?;
        let before = stage.forwarded();
        direct.push(transfer(client, up.as_ref()).await?);
        assert_eq!(stage.forwarded(), before, "the direct way was a detour");
        stage.relay.make(Move::Flip).await?;
        detour.push(transfer(client, up.as_ref()).await?);
        assert!(stage.forwarded() > before, "the detour was not taken");
        stage.relay.make(Move::Flip).await?;
    }
    direct.sort_unstable();
    detour.sort_unstable();
    for (figure, at) in [("p10", ROUNDS / 10), ("median", ROUNDS / 2)] {
        println!(
            "{name:>8} of {} MiB, {figure:>6}: direct {:>6.1} ms, through another node {:>6.1} ms, ratio {:.3}",
            BYTES >> 20,
            direct[at].as_secs_f64() * 1000.0,
            detour[at].as_secs_f64() * 1000.0,
            detour[at].as_secs_f64() / direct[at].as_secs_f64(),
        );
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let stage = Stage::start().await?;
    let target = Target {
        address: stage.relay.address(),
        name: "localhost".into(),
    };
    let tls = tls_config(&Trust::DangerousAnything)?;
    let client = Http3Client::connect(&target, &tls, PATIENCE).await?;
    // The nodes confirm each other within a heartbeat or two.
    tokio::time::sleep(Duration::from_secs(1)).await;
    compare(&stage, &client, "download", None).await?;
    compare(
        &stage,
        &client,
        "upload",
        Some(Bytes::from(vec![0x5a; BYTES])),
    )
    .await
}

#[expect(clippy::disallowed_methods, reason = "it measures")]
fn now() -> Instant {
    Instant::now()
}

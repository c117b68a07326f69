//! Your own quinn server, which speaks no HTTP, on two nodes that share one address.
//!
//! [`Loud`] is that server: each stream brings a line and takes it back in capitals. The library accepts
//! its connections and steers the datagrams below them. Both nodes run here, behind a relay that plays
//! the internet: in the middle of a connection it routes the client to the other node, and then the
//! client's NAT gives it another port.
//!
//! Run it with `cargo run --example fleet_quinn`.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{RootCertStore, ServerConfig};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use wayhold::config::{AdminAddress, Config, Listen};
use wayhold::control::{Snapshot, StaticFiles};
use wayhold::fleet::{Epoch, FleetKey, Keyring, Member, NodeId, Roster};
use wayhold::testbed::{Honesty, Move, Relay, RelayConfig};
use wayhold::{Accepted, Application, Gateway};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

struct Loud(NodeId);

impl Application for Loud {
    /// A stream that was accepted is answered, even when the node drains; then the client is sent away.
    async fn serve(&self, accepted: Accepted) {
        let connection = accepted.connection();
        let mut draining = pin!(accepted.draining());
        loop {
            tokio::select! {
                stream = connection.accept_bi() => {
                    let Ok((send, receive)) = stream else { return };
                    if self.answer(send, receive).await.is_err() {
                        return connection.close(1_u32.into(), b"no line");
                    }
                }
                () = &mut draining => return connection.close(0_u32.into(), b"the node drains"),
            }
        }
    }
}

impl Loud {
    async fn answer(&self, mut send: SendStream, mut receive: RecvStream) -> Result<()> {
        let line = String::from_utf8(receive.read_to_end(1024).await?)?;
        let answer = format!("{} (node {})", line.to_uppercase(), self.0);
        send.write_all(answer.as_bytes()).await?;
        send.finish()?;
        // Until the client has it all.
        send.stopped().await?;
        Ok(())
    }
}

#[expect(clippy::print_stdout, reason = "it is the example's output")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let (tls, trust) = tls()?;
    let directory = tempfile::tempdir()?;
    let tunnels = [UdpSocket::bind(LOOPBACK)?, UdpSocket::bind(LOOPBACK)?];
    let fleet = fleet(&tunnels)?;
    let mut gateways = Vec::new();
    for (member, tunnel) in fleet.roster.members().iter().zip(tunnels) {
        let gateway = Gateway::builder()
            .config(config(member.node, directory.path()))
            .fleet_source(StaticFiles::new(fleet.clone()))
            .relay_socket(tunnel)
            .application(tls.clone(), Loud(member.node))
            .bind()?;
        gateways.push(gateway);
    }

    let nodes = gateways.iter().flat_map(Gateway::local_addresses);
    let relay = Relay::start(RelayConfig {
        nodes: nodes.collect(),
        delay: Duration::from_millis(5),
        honesty: Honesty::Honest,
    })
    .await?;
    let forwarded = gateways[1].metrics().datagrams_forwarded;
    let (stop, mut serving) = (CancellationToken::new(), JoinSet::new());
    for gateway in gateways {
        serving.spawn(gateway.serve(stop.clone().cancelled_owned()));
    }

    let client = Endpoint::client(LOOPBACK)?;
    let connection = client.connect_with(trust, relay.address(), "localhost")?;
    let connection = connection.await?;
    println!("{}", ask(&connection, "hello").await?);
    relay.make(Move::Flip).await?;
    println!("{}", ask(&connection, "by way of node 2").await?);
    relay.make(Move::Rebind).await?;
    println!("{}", ask(&connection, "from another port").await?);
    connection.close(0_u32.into(), b"done");
    client.wait_idle().await;

    stop.cancel();
    while let Some(served) = serving.join_next().await {
        served??;
    }
    let forwarded = forwarded.get();
    if forwarded == 0 {
        return Err("nothing was forwarded".into());
    }
    println!("node 2 forwarded {forwarded} datagrams to node 1");
    Ok(())
}

/// What all nodes agree on. In production it comes from files, or from a `control::Source` of yours.
fn fleet(tunnels: &[UdpSocket]) -> Result<Snapshot> {
    let mut members = Vec::new();
    for (id, tunnel) in (1..).zip(tunnels) {
        let (node, relay) = (NodeId::new(id)?, tunnel.local_addr()?);
        members.push(Member { node, relay });
    }
    let mut secret = [0; FleetKey::LEN];
    aws_lc_rs::rand::fill(&mut secret)?;
    Ok(Snapshot {
        roster: Roster::new(members)?,
        keyring: Keyring::new(FleetKey::new(Epoch(1), secret)),
        link_mtu: 1500,
    })
}

/// What each node has for itself; all else is as it is by default.
fn config(node: NodeId, runtime_dir: &Path) -> Config {
    let mut listen = Listen::new(LOOPBACK);
    listen.tcp = false;
    let mut config = Config::default();
    config.listen = vec![listen];
    config.node.id = node;
    config.admin.listen = AdminAddress::Off;
    config.runtime_dir = runtime_dir.into();
    config
}

/// What the server proves itself with and the client trusts, which know nothing of steering.
fn tls() -> Result<(ServerConfig, ClientConfig)> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let certificate = made.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    let mut server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key.into())?;
    server.alpn_protocols = vec![PROTOCOL.to_vec()];
    let mut client = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![PROTOCOL.to_vec()];
    let client = QuicClientConfig::try_from(client)?;
    Ok((server, ClientConfig::new(Arc::new(client))))
}

async fn ask(connection: &Connection, line: &str) -> Result<String> {
    let (mut send, mut receive) = connection.open_bi().await?;
    send.write_all(line.as_bytes()).await?;
    send.finish()?;
    Ok(String::from_utf8(receive.read_to_end(1024).await?)?)
}

/// The name of the protocol (ALPN).
const PROTOCOL: &[u8] = b"loud";
/// Any free port of 127.0.0.1.
const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

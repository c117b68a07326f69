//! QUIC-LB connection IDs for a quinn server of your own.
//!
//! [`Generator`] is all that a quinn server needs for any QUIC-LB load balancer to find it by
//! connection ID. To show it, a client on loopback exchanges a greeting with a server through a
//! relay, which reads the server ID out of every datagram as a load balancer would.
//!
//! Run it with `cargo run --example quic_lb_ids`.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::{
    ClientConfig, ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, ServerConfig,
    TokioRuntime,
};
use quinn_proto::InvalidCid;
use rustls::RootCertStore;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::net::UdpSocket;
use tokio::time::timeout;
use wayhold::cid::{CidConfig, ConfigId, FirstOctet, Key, Lane, Minter, ServerId};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Issues connection IDs that lead to one server.
struct Generator(Minter);

impl Generator {
    /// Every generator starts its nonces at a random place, so none repeats those of another.
    fn new(config: CidConfig, server_id: ServerId) -> Self {
        let mut start = [0; 16];
        random(&mut start);
        let minter = Minter::new(config, server_id, Lane::ONLY, u128::from_be_bytes(start));
        Self(minter.expect("lengths are the configuration's and the nonce is long"))
    }
}

impl ConnectionIdGenerator for Generator {
    fn generate_cid(&mut self) -> ConnectionId {
        let cid = self.0.mint(random).expect("2^64 nonces do not run out");
        ConnectionId::new(&cid)
    }

    /// quinn answers a connection ID that passes here, but which it does not know, with a stateless
    /// reset. It must never do so for the connections of another server.
    fn validate(&self, cid: &ConnectionId) -> std::result::Result<(), InvalidCid> {
        if self.0.owns(cid) {
            Ok(())
        } else {
            Err(InvalidCid)
        }
    }

    fn cid_len(&self) -> usize {
        self.0.config().cid_len()
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

#[expect(clippy::print_stdout, reason = "it is the example's output")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let key = "8f95f09245765f80256934e50c66207f".parse::<Key>()?;
    let config = CidConfig::new(ConfigId::new(0)?, 4, 12, FirstOctet::Random, Some(&key))?;
    let server_id = ServerId::from_array([0, 0, 1, 9]);
    let (server, client_config) = listen(config.clone(), server_id)?;

    let mut relay = Relay::bind(server.local_addr()?, config).await?;
    let address = relay.front.local_addr()?;
    let mut client = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into())?;
    client.set_default_client_config(client_config);

    let conversation = async { tokio::try_join!(answer(&server), greet(&client, address)) };
    tokio::select! {
        result = relay.run() => result?,
        result = timeout(Duration::from_secs(10), conversation) => {
            result??;
        }
    }

    let count = relay.routed.len();
    if count == 0 || relay.routed.iter().any(|routed| *routed != server_id) {
        return Err(format!("expected {server_id} in every datagram: {:?}", relay.routed).into());
    }
    println!("all {count} short-header datagrams carried server ID {server_id}");
    Ok(())
}

/// What a load balancer does, for one client and one server.
struct Relay {
    front: UdpSocket,
    back: UdpSocket,
    server: SocketAddr,
    config: CidConfig,
    /// The server ID in each of the client's datagrams with a short header.
    routed: Vec<ServerId>,
}

impl Relay {
    async fn bind(server: SocketAddr, config: CidConfig) -> Result<Self> {
        Ok(Self {
            front: UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?,
            back: UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?,
            server,
            config,
            routed: Vec::new(),
        })
    }

    async fn run(&mut self) -> Result<()> {
        let (mut up, mut down) = ([0; 1500], [0; 1500]);
        let mut client = None;
        loop {
            tokio::select! {
                received = self.front.recv_from(&mut up) => {
                    let (len, from) = received?;
                    client = Some(from);
                    self.look_at(&up[..len])?;
                    self.back.send_to(&up[..len], self.server).await?;
                }
                received = self.back.recv_from(&mut down) => {
                    let (len, _) = received?;
                    let client = client.ok_or("the server spoke first")?;
                    self.front.send_to(&down[..len], client).await?;
                }
            }
        }
    }

    /// A short header is one octet, and then comes the connection ID (RFC 8999, section 5.2).
    fn look_at(&mut self, datagram: &[u8]) -> Result<()> {
        if let [first, rest @ ..] = datagram
            && first & 0x80 == 0
        {
            self.routed.push(self.config.decode_prefix(rest)?.server_id);
        }
        Ok(())
    }
}

/// A server that issues connection IDs with its server ID, and what a client needs to trust it.
fn listen(config: CidConfig, server_id: ServerId) -> Result<(Endpoint, ClientConfig)> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let certificate = made.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let server_config = ServerConfig::with_single_cert(vec![certificate.clone()], key.into())?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate)?;

    let mut endpoint_config = EndpointConfig::default();
    endpoint_config.cid_generator(move || Box::new(Generator::new(config.clone(), server_id)));
    let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let runtime = Arc::new(TokioRuntime);
    let endpoint = Endpoint::new(endpoint_config, Some(server_config), socket, runtime)?;
    Ok((
        endpoint,
        ClientConfig::with_root_certificates(Arc::new(roots))?,
    ))
}

/// Sends back what the first stream brings and waits for the client to close.
async fn answer(server: &Endpoint) -> Result<()> {
    let connection = server
        .accept()
        .await
        .ok_or("the endpoint is closed")?
        .await?;
    let (mut send, mut receive) = connection.accept_bi().await?;
    send.write_all(&receive.read_to_end(64).await?).await?;
    send.finish()?;
    connection.closed().await;
    Ok(())
}

async fn greet(client: &Endpoint, address: SocketAddr) -> Result<()> {
    let connection = client.connect(address, "localhost")?.await?;
    let (mut send, mut receive) = connection.open_bi().await?;
    send.write_all(b"hello").await?;
    send.finish()?;
    if receive.read_to_end(64).await? != b"hello" {
        return Err("the greeting changed on its way".into());
    }
    connection.close(0_u32.into(), b"bye");
    Ok(())
}

fn random(bytes: &mut [u8]) {
    aws_lc_rs::rand::fill(bytes).expect("the system has random bytes");
}

//! Claims about what clients carry from one node to another, while keys change.

use std::net::UdpSocket;
use std::sync::Arc;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint, TokenMemoryCache};
use tokio::time::timeout;
use wayhold::Gateway;
use wayhold::bridge::Origin;
use wayhold::control::write_key_file;
use wayhold::fleet::Keyring;

use crate::certificates::{Counting, counting_tls};
use crate::raw::{CONTROL, head, status};
use crate::stage::{Directory, Node, PATIENCE, turn};

/// A client that keeps its tickets and tokens.
struct Client {
    config: ClientConfig,
    certificates: Arc<Counting>,
}

impl Client {
    fn new() -> Self {
        let (mut tls, certificates) = counting_tls();
        tls.alpn_protocols = vec![b"h3".to_vec()];
        let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
        config.token_store(Arc::new(TokenMemoryCache::default()));
        Self {
            config,
            certificates,
        }
    }

    /// Asks once, and gives how many certificates and Retry packets that took.
    async fn visit(&self, node: &Node) -> (usize, u64) {
        let certificates = || self.certificates.seen();
        let retries = || node.metrics.retries.get();
        let before = (certificates(), retries());
        let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let connecting = endpoint.connect_with(self.config.clone(), node.address, "localhost");
        let connected = timeout(PATIENCE, connecting.unwrap()).await;
        let connection = connected.unwrap().unwrap();
        let mut control = connection.open_uni().await.unwrap();
        control.write_all(&CONTROL).await.unwrap();
        let (mut send, receive) = connection.open_bi().await.unwrap();
        send.write_all(&head("GET", "/", &[])).await.unwrap();
        send.finish().unwrap();
        assert_eq!(status(receive).await, 200);
        connection.close(0x100_u32.into(), b"");
        endpoint.wait_idle().await;
        (certificates() - before.0, retries() - before.1)
    }
}

/// A node that demands proof of every address, and has the keys of an epoch and the one before.
fn node(directory: &Directory, id: u8, epoch: u8) -> Node {
    let secret = |epoch: u8| format!("{epoch:02x}").repeat(32);
    let text = format!(
        "wayhold-fleet-key v1\nepoch = {epoch}\nsecret = {}\nprevious = {}\n",
        secret(epoch),
        secret(epoch - 1)
    );
    let name = format!("{id}.key");
    write_key_file(&directory.file(&name), &Keyring::from_text(&text).unwrap()).unwrap();
    let relay = UdpSocket::bind("127.0.0.1:0").unwrap();
    let config = directory.config(&format!(
        "quic.retry = true\nnode.id = {id}\n\
         fleet = {{ key_file = \"{name}\", member = [{{ id = {id}, relay = \"{}\" }}] }}",
        relay.local_addr().unwrap()
    ));
    let gateway = Gateway::builder()
        .config(config)
        .relay_socket(relay)
        .handler(Origin::new());
    Node::start(gateway.bind().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_and_an_address_are_known_on_other_nodes_until_the_second_rotation() {
    let _turn = turn().await;
    let directory = Directory::new();
    directory.certify();
    let first = node(&directory, 1, 5);
    for (id, epoch, cost) in [(2, 5, (0, 0)), (3, 6, (0, 0)), (4, 7, (1, 1))] {
        let other = node(&directory, id, epoch);
        let client = Client::new();
        assert_eq!(client.visit(&first).await, (1, 1));
        assert_eq!(client.visit(&other).await, cost, "epoch {epoch}");
    }
}

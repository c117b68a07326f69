//! Claims about what clients carry from one node to another, while keys change.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint, TokenMemoryCache};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use tokio::time::timeout;
use wayhold::Gateway;
use wayhold::bridge::Origin;
use wayhold::client::{Trust, tls_config};
use wayhold::control::write_key_file;
use wayhold::fleet::Keyring;

use crate::raw::{CONTROL, head, status};
use crate::stage::{Directory, Node, PATIENCE, turn};

/// Accepts every certificate, and counts them: a session that resumes shows none.
#[derive(Debug, Default)]
pub(crate) struct Counting(AtomicUsize);

impl Counting {
    /// How many it was shown.
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl ServerCertVerifier for Counting {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// A client of this protocol that keeps its tickets.
pub(crate) fn counting(protocol: &[u8]) -> (ClientConfig, Arc<Counting>) {
    let certificates = Arc::new(Counting::default());
    let mut tls = Arc::unwrap_or_clone(tls_config(&Trust::DangerousAnything).unwrap());
    tls.dangerous()
        .set_certificate_verifier(Arc::clone(&certificates) as Arc<dyn ServerCertVerifier>);
    tls.alpn_protocols = vec![protocol.to_vec()];
    let crypto = QuicClientConfig::try_from(tls).unwrap();
    (ClientConfig::new(Arc::new(crypto)), certificates)
}

/// A client that keeps its tickets and tokens.
struct Client {
    config: ClientConfig,
    certificates: Arc<Counting>,
}

impl Client {
    fn new() -> Self {
        let (mut config, certificates) = counting(b"h3");
        config.token_store(Arc::new(TokenMemoryCache::default()));
        Self {
            config,
            certificates,
        }
    }

    /// Asks once, and gives how many certificates and Retry packets that took.
    async fn visit(&self, node: &Node) -> (usize, u64) {
        let certificates = || self.certificates.count();
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

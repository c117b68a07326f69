//! TLS for both sides. What costs time to make is made once for all worlds.

use std::sync::{Arc, Mutex, OnceLock};

use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ProducesTickets;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use wayhold::link::Random;
use wayhold::session::{SessionKeys, TicketKeys};

use crate::clock::{Noon, WallClock};

/// How long a client's first flight is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hello {
    /// Its `ClientHello` fits into one Initial packet.
    OnePacket,
    /// Its `ClientHello` spans two: it has a share of X25519MLKEM768.
    TwoPackets,
}

/// A client with sessions of its own.
pub(crate) fn client(hello: Hello) -> Arc<QuicClientConfig> {
    let templates = &templates().clients;
    let mut config = match hello {
        Hello::OnePacket => templates[0].clone(),
        Hello::TwoPackets => templates[1].clone(),
    };
    config.resumption = Resumption::in_memory_sessions(4);
    Arc::new(config.try_into().expect("the suite of Initials is there"))
}

/// A process with tickets of the fleet.
pub(crate) fn server(tickets: Tickets) -> Arc<QuicServerConfig> {
    let mut config = templates().server.clone();
    config.ticketer = Arc::new(tickets);
    Arc::new(config.try_into().expect("the suite of Initials is there"))
}

/// Seals sessions with the fleet's keys of the moment.
#[derive(Debug)]
pub(crate) struct Tickets {
    pub(crate) keys: SharedKeys,
    pub(crate) clock: WallClock,
    pub(crate) random: Mutex<Random>,
}

/// Keys that are replaced while they are used.
pub(crate) type SharedKeys = Arc<Mutex<Arc<SessionKeys>>>;

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(TicketKeys::LIFETIME.as_secs()).expect("a few hours")
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; TicketKeys::NONCE_LEN];
        self.random.lock().unwrap().fill(&mut nonce);
        let now = self.clock.since_epoch().as_secs();
        self.keys
            .lock()
            .unwrap()
            .tickets
            .seal_at(session, now, nonce)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let now = self.clock.since_epoch().as_secs();
        self.keys.lock().unwrap().tickets.open_at(ticket, now).ok()
    }
}

struct Templates {
    server: ServerConfig,
    clients: [ClientConfig; 2],
}

fn templates() -> &'static Templates {
    static TEMPLATES: OnceLock<Templates> = OnceLock::new();
    TEMPLATES.get_or_init(|| {
        // Ed25519, because its signatures all have one length: what is sent repeats exactly.
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let params = CertificateParams::new([SERVER_NAME.to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let client = |groups: &[&'static dyn rustls::crypto::SupportedKxGroup]| {
            client_template(&certificate, groups)
        };
        Templates {
            clients: [
                client(&[kx_group::X25519]),
                client(&[kx_group::X25519MLKEM768, kx_group::X25519]),
            ],
            server: server_template(certificate.clone(), key),
        }
    })
}

fn client_template(
    certificate: &CertificateDer<'static>,
    groups: &[&'static dyn rustls::crypto::SupportedKxGroup],
) -> ClientConfig {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = groups.to_vec();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    ClientConfig::builder_with_details(Arc::new(provider), Arc::new(Noon))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

fn server_template(
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
) -> ServerConfig {
    let provider = aws_lc_rs::default_provider();
    ServerConfig::builder_with_details(Arc::new(provider), Arc::new(Noon))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap()
}

pub(crate) const SERVER_NAME: &str = "gateway.test";

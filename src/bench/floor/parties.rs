use std::sync::Arc;
use std::time::Instant;

use quinn_proto::crypto::rustls::QuicClientConfig;
use quinn_proto::{
    ClientConfig, MtuDiscoveryConfig, NoneTokenStore, TokenMemoryCache, TokenStore, TransportConfig,
};

use super::credentials::Credentials;
use super::meter::Meter;
use super::primitives::Primitives;
use super::quic::{self, Admission, FirstFlight};
use super::tls;
use super::{ClientSearch, FloorError};
use crate::bench::dial::{ClientTls, Resuming, Trust};
use crate::bench::{Certificate, KeyExchange, Mode, Sample};
use crate::config::{Config, EarlyData, Quic};
use crate::{Gateway, Protocols};

/// Handshakes of one mode, one after the other.
#[derive(Debug)]
pub struct Handshakes {
    mode: Mode,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Crypto(Primitives),
    Tls(tls::Pair, ClientTls),
    Quic(Box<quic::Pair>, ClientTls),
}

impl Handshakes {
    /// Makes keys, certificates and both sides, and gets the client its first session where the mode
    /// needs one.
    ///
    /// # Errors
    /// [`FloorError`].
    pub fn new(
        mode: Mode,
        (certificate, key_exchange): (Certificate, KeyExchange),
        search: ClientSearch,
    ) -> Result<Self, FloorError> {
        let credentials = Credentials::new(certificate)?;
        if mode == Mode::Crypto {
            let primitives = Primitives::new(certificate, key_exchange, &credentials)?;
            let kind = Kind::Crypto(primitives);
            return Ok(Self { mode, kind });
        }
        let config = config(mode);
        let quic = config.quic.clone();
        let protocols = protocols(config, &credentials)?;
        let trust = Trust {
            roots: vec![credentials.root],
            key_log: None,
        };
        let mut client = ClientTls::new(&trust, key_exchange, Resuming::Yes)?;
        client.config.enable_early_data = first_flight(mode) == FirstFlight::Request;
        let kind = match mode {
            Mode::TlsFull | Mode::TlsResumed | Mode::Tls0Rtt => {
                client.config.alpn_protocols = vec![b"h2".to_vec()];
                let node = protocols.tcp.ok_or(FloorError::NoSuchMode(mode))?;
                Kind::Tls(
                    tls::Pair::new(Arc::new(client.config.clone()), node),
                    client,
                )
            }
            Mode::QuicFull | Mode::QuicRetry | Mode::QuicResumed | Mode::Quic0Rtt => {
                client.config.alpn_protocols = vec![b"h3".to_vec()];
                let admission = match mode {
                    Mode::QuicRetry => Admission::AfterRetry,
                    _ => Admission::AtOnce,
                };
                let config = client_config(&client, mode, (&quic, search))?;
                let pair = quic::Pair::new(protocols.quic, config, admission, now());
                Kind::Quic(Box::new(pair), client)
            }
            _ => return Err(FloorError::NoSuchMode(mode)),
        };
        let mut stage = Self { mode, kind };
        if stage.resumes() {
            // The client gets its first session.
            stage.shake()?;
        }
        Ok(stage)
    }

    /// Does so many.
    pub(super) fn turn(&mut self, samples: u32) -> Result<Vec<Sample>, FloorError> {
        (0..samples).map(|_| self.shake_hands()).collect()
    }

    /// Does one, and gives what each side took.
    ///
    /// # Errors
    /// [`FloorError`], also where it is not what the mode says.
    pub fn shake_hands(&mut self) -> Result<Sample, FloorError> {
        let (resumes, mode) = (self.resumes(), self.mode);
        let shaken = self.shake()?;
        let other = |what| Err(FloorError::Other { mode, what });
        if mode == Mode::Crypto {
            return Ok(shaken.sample);
        }
        match (shaken.resumed, resumes) {
            (true, false) => return other("resumed a session"),
            (false, true) => return other("resumed no session"),
            _ => {}
        }
        let early = first_flight(mode) == FirstFlight::Request;
        match (shaken.early, early) {
            (true, false) => return other("had early data"),
            (false, true) => return other("had no early data that was taken"),
            _ => {}
        }
        match (shaken.retried, mode == Mode::QuicRetry) {
            (true, false) => other("had a Retry"),
            (false, true) => other("had no Retry"),
            _ => Ok(shaken.sample),
        }
    }

    fn resumes(&self) -> bool {
        matches!(
            self.mode,
            Mode::TlsResumed | Mode::Tls0Rtt | Mode::QuicResumed | Mode::Quic0Rtt
        )
    }

    fn shake(&mut self) -> Result<Shaken, FloorError> {
        let (resumes, first) = (self.resumes(), first_flight(self.mode));
        match &mut self.kind {
            Kind::Crypto(primitives) => {
                let mut meter = Meter::default();
                primitives.handshake(&mut meter)?;
                Ok(Shaken {
                    sample: meter.sample(),
                    resumed: false,
                    early: false,
                    retried: false,
                })
            }
            Kind::Tls(pair, client) => {
                if !resumes {
                    client.sessions.clear();
                }
                let shaken = pair.handshake(first)?;
                Ok(Shaken {
                    sample: shaken.sample,
                    resumed: shaken.resumed,
                    early: shaken.early,
                    retried: false,
                })
            }
            Kind::Quic(pair, client) => {
                if !resumes {
                    client.sessions.clear();
                }
                let checked = client.certificates_checked();
                let shaken = pair.handshake(first)?;
                Ok(Shaken {
                    sample: shaken.sample,
                    resumed: client.certificates_checked() == checked,
                    early: shaken.early,
                    retried: shaken.retried,
                })
            }
        }
    }
}

/// What a handshake was.
struct Shaken {
    sample: Sample,
    resumed: bool,
    early: bool,
    retried: bool,
}

/// The configuration under which a mode is possible: the default, but for early data.
pub(super) fn config(mode: Mode) -> Config {
    let mut config = Config::default();
    match mode {
        Mode::Quic0Rtt => config.quic.early_data = EarlyData::Owner,
        Mode::Tls0Rtt => config.tcp.early_data = EarlyData::Owner,
        _ => {}
    }
    config
}

fn protocols(config: Config, credentials: &Credentials) -> Result<Protocols, FloorError> {
    let key = credentials.key.serialize_pem();
    Ok(Gateway::builder()
        .config(config)
        .identity(credentials.chain_pem.as_bytes(), key.as_bytes())
        .protocols()?)
}

fn first_flight(mode: Mode) -> FirstFlight {
    match mode {
        Mode::Tls0Rtt | Mode::Quic0Rtt => FirstFlight::Request,
        _ => FirstFlight::Handshake,
    }
}

/// A client that is set as the gateway is where both sides have the same choice. One with early data shows
/// an address token as well: the gateway takes none from an address that is not proven.
fn client_config(
    client: &ClientTls,
    mode: Mode,
    (quic, search): (&Quic, ClientSearch),
) -> Result<ClientConfig, FloorError> {
    let crypto = QuicClientConfig::try_from(client.config.clone())
        .map_err(|error| FloorError::Quic(error.to_string()))?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    let mut transport = TransportConfig::default();
    transport
        .initial_mtu(quic.initial_mtu)
        .mtu_discovery_config(mtu_search(quic, search))
        .initial_rtt(quic.initial_rtt);
    config.transport_config(Arc::new(transport));
    let tokens: Arc<dyn TokenStore> = match mode {
        Mode::Quic0Rtt => Arc::new(TokenMemoryCache::default()),
        _ => Arc::new(NoneTokenStore),
    };
    config.token_store(tokens);
    Ok(config)
}

fn mtu_search(quic: &Quic, search: ClientSearch) -> Option<MtuDiscoveryConfig> {
    let mut discovery = MtuDiscoveryConfig::default();
    match search {
        ClientSearch::Quinn => {}
        ClientSearch::Gateway if quic.mtu_discovery => {
            let range = quic.max_udp_payload - quic.initial_mtu;
            discovery
                .upper_bound(quic.max_udp_payload)
                .minimum_change(range / 2 + 1);
        }
        ClientSearch::Gateway | ClientSearch::Off => return None,
    }
    Some(discovery)
}

#[expect(
    clippy::disallowed_methods,
    reason = "where virtual time begins; what is measured is a processor's time"
)]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_that_resumes_no_session_is_none_of_a_mode_that_does() {
        for mode in [
            Mode::TlsResumed,
            Mode::Tls0Rtt,
            Mode::QuicResumed,
            Mode::Quic0Rtt,
        ] {
            let factors = (Certificate::EcdsaP256, KeyExchange::X25519);
            let mut handshakes = Handshakes::new(mode, factors, ClientSearch::Gateway).unwrap();
            handshakes.shake_hands().unwrap();
            match &handshakes.kind {
                Kind::Crypto(_) => {}
                Kind::Tls(_, client) | Kind::Quic(_, client) => client.sessions.clear(),
            }
            let refused = handshakes.shake_hands().unwrap_err();
            assert!(
                refused.to_string().contains("resumed no session"),
                "{refused}"
            );
            handshakes.shake_hands().unwrap();
        }
    }
}

//! Claims about the clients of the benchmark: each does what its mode says, and says so when it does not.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use wayhold::bench::dial::{DialError, Dialed, Dialer, Trust, Way};
use wayhold::bench::stand::{Identity, Served, Stand};
use wayhold::bench::{Certificate, KeyExchange, Layer, Mode, Scenario};

use crate::stage::PATIENCE;

fn way(served: &Served) -> Way {
    Way {
        node: served.node,
        name: Identity::NAME.into(),
        authority: "localhost".into(),
        path: "/".into(),
        local: Ipv4Addr::LOCALHOST.into(),
        other_local: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)),
        flip: served.flip.clone(),
        trust: Trust {
            roots: vec![served.root.clone()],
            key_log: None,
        },
        limit: PATIENCE,
        quiet: Duration::from_millis(20),
    }
}

fn scenario(mode: Mode) -> Scenario {
    Scenario::of(Layer::Loopback, mode)
}

async fn dial(scenario: &Scenario, way: Way) -> Result<Dialed, DialError> {
    let dialer = Dialer::new(scenario, &Arc::new(way))?;
    let ready = dialer.prepare().await?;
    dialer.dial(ready).await
}

async fn dial_at_stand(scenario: &Scenario) -> Result<Dialed, DialError> {
    let mut stand = Stand::new(None).unwrap();
    let served = stand.serve(scenario).unwrap();
    dial(scenario, way(&served)).await
}

const HANDSHAKES: [Mode; 8] = [
    Mode::TcpFull,
    Mode::TcpResumed,
    Mode::Tcp0Rtt,
    Mode::QuicFull,
    Mode::QuicRetry,
    Mode::QuicToken,
    Mode::QuicResumed,
    Mode::Quic0Rtt,
];
const MOVES: [Mode; 6] = [
    Mode::QuicRebind,
    Mode::QuicAddress,
    Mode::QuicFlip,
    Mode::TcpReconnect,
    Mode::TcpReconnectResumed,
    Mode::TcpReconnect0Rtt,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mode_ends_as_its_name_says_time_after_time() {
    let mut stand = Stand::new(None).unwrap();
    for mode in HANDSHAKES.into_iter().chain(MOVES) {
        let scenario = scenario(mode);
        let served = stand.serve(&scenario).unwrap();
        let dialer = Dialer::new(&scenario, &Arc::new(way(&served))).unwrap();
        for attempt in 0..3 {
            let ready = dialer.prepare().await;
            let ready = ready.unwrap_or_else(|error| panic!("{mode} {attempt}: {error}"));
            let dialed = dialer.dial(ready).await;
            let dialed = dialed.unwrap_or_else(|error| panic!("{mode} {attempt}: {error}"));
            let marks = dialed.marks();
            let first_byte = marks.first_byte.unwrap();
            if mode.name().starts_with("quic") && MOVES.contains(&mode) {
                assert_eq!((marks.ready, marks.handshake), (None, None), "{mode}");
            } else {
                let [connect, ready, handshake] =
                    [marks.connect, marks.ready, marks.handshake].map(Option::unwrap);
                assert!(marks.start <= ready && ready <= handshake, "{mode}");
                assert!(marks.start < connect && connect <= handshake, "{mode}");
                assert!(ready < first_byte, "{mode}");
                assert_eq!(
                    marks.confirmed.is_some(),
                    mode.name().starts_with("quic"),
                    "{mode}"
                );
                let early = [Mode::Tcp0Rtt, Mode::TcpReconnect0Rtt, Mode::Quic0Rtt];
                assert_eq!(ready < handshake, early.contains(&mode), "{mode}");
            }
            dialed.close().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_certificate_and_key_exchange_serves_both_transports() {
    let mut stand = Stand::new(None).unwrap();
    let certificates = Certificate::ALL
        .iter()
        .map(|kind| (*kind, KeyExchange::X25519));
    let exchanges = KeyExchange::ALL
        .iter()
        .map(|kind| (Certificate::EcdsaP256, *kind));
    for (certificate, key_exchange) in certificates.chain(exchanges) {
        for mode in [Mode::TcpFull, Mode::QuicFull] {
            let scenario = Scenario {
                certificate,
                key_exchange,
                ..scenario(mode)
            };
            let served = stand.serve(&scenario).unwrap();
            let dialed = dial(&scenario, way(&served)).await;
            let dialed = dialed
                .unwrap_or_else(|error| panic!("{mode} {certificate} {key_exchange}: {error}"));
            dialed.close().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_another_root_is_an_error_that_says_so() {
    let mut stand = Stand::new(None).unwrap();
    for mode in [Mode::TcpFull, Mode::QuicFull, Mode::Quic0Rtt] {
        let scenario = scenario(mode);
        let served = stand.serve(&scenario).unwrap();
        let mut way = way(&served);
        way.trust.roots = vec![Identity::make(Certificate::EcdsaP256).unwrap().root];
        let error = dial(&scenario, way).await.unwrap_err();
        assert_eq!(error.name(), "certificate", "{mode}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_does_otherwise_than_the_mode_says_is_an_error() {
    let mut stand = Stand::new(None).unwrap();
    let plain = stand.serve(&scenario(Mode::QuicFull)).unwrap();
    let proving = stand.serve(&scenario(Mode::QuicRetry)).unwrap();
    for (mode, served, expected) in [
        (Mode::QuicRetry, &plain, "no-retry"),
        (Mode::QuicFull, &proving, "retry"),
        (Mode::Quic0Rtt, &plain, "no-session"),
        (Mode::Tcp0Rtt, &plain, "no-session"),
        (Mode::QuicFlip, &plain, "no-route"),
    ] {
        let error = dial(&scenario(mode), way(served)).await.unwrap_err();
        assert_eq!(error.name(), expected, "{mode}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mode_without_a_client_is_refused() {
    let error = dial_at_stand(&scenario(Mode::TlsFull)).await.unwrap_err();
    assert_eq!(error.name(), "no-client");
}

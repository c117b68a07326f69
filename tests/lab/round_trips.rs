//! Claims about how many round trips handshakes and moves take, by the packets on an emulated link. The
//! times between them are nobody's claim: a busy machine delivers late, and then the packets still show
//! which waits for which.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use wayhold::bench::plan::{Group, Plan, Subject};
use wayhold::bench::run::{Bed, Options, Progress, Watch, run};
use wayhold::bench::statistics::{Measured, Taken};
use wayhold::bench::{Certificate, KeyExchange, Layer, Losses, Metric, Mode, RoundTrips, Scenario};
use wayhold::testbed::emulator::{Network, Trace};

pub(crate) fn every_handshake_takes_the_round_trips_of_theory() {
    let measured = measure(Subject::Handshake.modes(), |_| {});
    assert_eq!(measured.len(), 9);
    for measured in measured {
        let expected = match measured.scenario.mode {
            Mode::TcpFull | Mode::TcpResumed | Mode::QuicRetry => (2, 2, 3),
            Mode::Tcp0Rtt => (1, 2, 2),
            // The ClientHello goes with the SYN, for which the client got a cookie before.
            Mode::TcpFastOpen | Mode::QuicFull | Mode::QuicToken | Mode::QuicResumed => (1, 1, 2),
            Mode::Quic0Rtt => (0, 1, 1),
            other => panic!("{other} is no handshake"),
        };
        takes(&measured, expected);
    }
}

pub(crate) fn a_move_takes_one_round_trip_where_tcp_takes_two_or_three() {
    let measured = measure(Subject::Migrate.modes(), |_| {});
    assert_eq!(measured.len(), 6);
    for measured in measured {
        match measured.scenario.mode {
            Mode::TcpReconnect | Mode::TcpReconnectResumed => takes(&measured, (2, 2, 3)),
            Mode::TcpReconnect0Rtt => takes(&measured, (1, 2, 2)),
            _ => takes(&measured, (None, None, 1)),
        }
    }
}

pub(crate) fn a_hello_retry_request_takes_a_round_trip_more() {
    let modes = [Mode::TcpFull, Mode::QuicFull];
    let measured = measure(&modes, |scenario| {
        scenario.key_exchange = KeyExchange::HelloRetryRequest;
    });
    takes(&measured[0], (3, 3, 4));
    takes(&measured[1], (2, 2, 3));
}

pub(crate) fn a_lost_first_flight_takes_a_round_trip_more() {
    let modes = [Mode::TcpFull, Mode::QuicFull];
    let measured = measure(&modes, |scenario| scenario.losses = Losses::Client(1));
    takes(&measured[0], (3, 3, 4));
    takes(&measured[1], (2, 2, 3));
}

pub(crate) fn a_certificate_within_three_times_the_first_flight_costs_no_round_trip() {
    let quic = |certificate| {
        let vary = |scenario: &mut Scenario| scenario.certificate = certificate;
        measure(&[Mode::QuicFull], vary).swap_remove(0)
    };
    takes(&quic(Certificate::Rsa2048), (1, 1, 2));
    let beyond = quic(Certificate::LongChain);
    takes(&beyond, (2, 2, 3));
    for taken in beyond.taken {
        let amplification = taken.sample.metrics[&Metric::Amplification];
        assert!((2.5..=3.0).contains(&amplification), "{amplification}");
    }
}

/// Takes two samples of each mode at 50 ms.
fn measure(modes: &[Mode], vary: impl Fn(&mut Scenario)) -> Vec<Measured> {
    let scenarios = modes.iter().map(|mode| {
        let mut scenario = Scenario::of(Layer::Link, *mode);
        vary(&mut scenario);
        scenario
    });
    let group = Group {
        scenarios: scenarios.collect(),
        samples: 2,
    };
    let plan = Plan {
        groups: vec![group],
    };
    let network = Arc::new(Network::new(2, 1500).unwrap());
    let mut bed = Bed::gateways(Some(network)).unwrap();
    let options = Options {
        seed: 1,
        tolerance: TOLERANCE,
        key_log: None,
        stop: CancellationToken::new(),
    };
    let outcome = run(&plan, &mut bed, &options, &mut Nobody).unwrap();
    assert_eq!(outcome.given_up, [], "{:?}", outcome.measured);
    assert_eq!(outcome.stopped, None);
    outcome.measured
}

#[track_caller]
fn takes(
    measured: &Measured,
    (ready, handshake, first_byte): (impl Into<Option<u32>>, impl Into<Option<u32>>, u32),
) {
    let expected = RoundTrips {
        ready: ready.into(),
        handshake: handshake.into(),
        first_byte: Some(first_byte),
    };
    let mode = measured.scenario.mode;
    assert!(!measured.taken.is_empty(), "{mode}: {measured:?}");
    for taken in &measured.taken {
        assert_eq!(taken.sample.round_trips, Some(expected), "{mode}");
    }
}

struct Nobody;

impl Watch for Nobody {
    fn progress(&mut self, _: Progress<'_>) {}

    fn sample(&mut self, _: usize, _: &Taken) -> Result<(), String> {
        Ok(())
    }

    fn trace(&mut self, _: &Trace) -> Result<(), String> {
        Ok(())
    }
}

/// A fifth of a round trip: below that lateness moves no packet before or behind one that it waits for.
const TOLERANCE: Duration = Duration::from_millis(10);

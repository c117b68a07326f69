use std::collections::BTreeMap;

use super::draw::{measured, taken, with_trips};
use crate::bench::statistics::{Measured, records};
use crate::bench::{Certificate, Layer, Metric, Mode, Record, SCHEMA, Scenario};

const FIRST_BYTE: Metric = Metric::FirstByte;

fn even(around: f64) -> Vec<f64> {
    (0..40).map(|n| around + f64::from(n % 7) / 100.0).collect()
}

fn compared(record: &Record) -> Vec<Mode> {
    let all = record.comparisons.iter();
    all.map(|comparison| comparison.to).collect()
}

#[test]
fn a_record_says_everything_of_its_samples() {
    let mut quic = measured(Mode::QuicFull, FIRST_BYTE, &even(102.0));
    for taken in &mut quic.taken {
        *taken = with_trips(taken.clone(), 2);
    }
    quic.late = 2;
    quic.failures.insert("timed-out".to_owned(), 1);
    quic.partial = true;
    let tcp = measured(Mode::TcpFull, FIRST_BYTE, &even(153.0));
    let all = [quic, tcp];
    let [quic, tcp] = &records(&all, 42)[..] else {
        panic!("two records")
    };
    assert_eq!((quic.schema, quic.samples, quic.late), (SCHEMA, 40, 2));
    assert_eq!(quic.failures, BTreeMap::from([("timed-out".to_owned(), 1)]));
    assert!(quic.partial && !tcp.partial);
    let summary = quic.metrics[&FIRST_BYTE];
    assert_eq!(summary.n, 40);
    assert!(summary.p10 < summary.median && summary.median < summary.p90);
    assert!(summary.p90 <= summary.p99);
    let interval = summary.median_interval;
    assert!(interval.low <= summary.median && summary.median <= interval.high);
    let trips = [
        ("round_trips_ready", 1.0),
        ("round_trips_handshake", 1.0),
        ("round_trips_first_byte", 2.0),
    ];
    let trips = trips.map(|(name, trips)| (name.to_owned(), trips));
    assert_eq!(quic.derived, BTreeMap::from(trips));
    assert!(tcp.derived.is_empty());
    assert_eq!(compared(quic), [Mode::QuicFull, Mode::TcpFull]);
    assert!((quic.comparisons[1].ratio - 2.0 / 3.0).abs() < 0.001);
    assert_eq!(compared(tcp), [Mode::TcpFull]);
    assert_eq!(quic.doubts, Vec::<String>::new());
    assert_eq!(records(&all, 42), [quic.clone(), tcp.clone()]);
}

#[test]
fn a_figure_that_no_sample_has_is_absent() {
    let empty = Measured::of(Scenario::of(Layer::Link, Mode::TcpFull));
    let record = Record::of(&empty, &[], 1);
    assert!(record.metrics.is_empty() && record.derived.is_empty());
    assert!(record.comparisons.is_empty());
    assert_eq!(record.doubts, ["only 0 samples"]);

    let mut broken = measured(Mode::TcpFull, FIRST_BYTE, &[f64::NAN, f64::INFINITY]);
    assert!(Record::of(&broken, &[], 1).metrics.is_empty());
    broken.taken.push(taken(2, FIRST_BYTE, 5.0));
    assert_eq!(Record::of(&broken, &[], 1).metrics[&FIRST_BYTE].n, 1);
}

#[test]
fn every_mode_of_quic_has_its_counterpart() {
    let every = |layer: Layer| -> Vec<_> {
        let modes = Mode::ALL.iter();
        let all = modes.map(|mode| Measured {
            scenario: Scenario::of(layer, *mode),
            ..measured(*mode, FIRST_BYTE, &even(50.0))
        });
        all.collect()
    };
    let others = |layer, mode: Mode| {
        let records = records(&every(layer), 1);
        let record = records.iter().find(|record| record.scenario.mode == mode);
        let mut compared = compared(record.unwrap());
        compared.retain(|other| *other != mode);
        compared
    };
    assert_eq!(others(Layer::Link, Mode::QuicRetry), [Mode::TcpFull]);
    assert_eq!(others(Layer::Link, Mode::QuicToken), [Mode::TcpFull]);
    assert_eq!(others(Layer::Link, Mode::QuicResumed), [Mode::TcpResumed]);
    assert_eq!(others(Layer::Loopback, Mode::Quic0Rtt), [Mode::Tcp0Rtt]);
    assert_eq!(others(Layer::Floor, Mode::QuicFull), [Mode::TlsFull]);
    assert_eq!(others(Layer::Floor, Mode::Quic0Rtt), [Mode::Tls0Rtt]);
    let reconnects = [
        Mode::TcpReconnect,
        Mode::TcpReconnectResumed,
        Mode::TcpReconnect0Rtt,
    ];
    assert_eq!(others(Layer::Link, Mode::QuicFlip), reconnects);
    assert!(others(Layer::Link, Mode::TcpFull).is_empty());
}

#[test]
fn only_scenarios_under_the_same_factors_are_compared() {
    let quic = measured(Mode::QuicFull, FIRST_BYTE, &even(102.0));
    let mut tcp = measured(Mode::TcpFull, FIRST_BYTE, &even(153.0));
    tcp.scenario.certificate = Certificate::Rsa2048;
    let all = [quic, tcp];
    assert_eq!(compared(&records(&all, 1)[0]), [Mode::QuicFull]);

    // A factor that TCP does not know.
    let [mut quic, mut tcp] = all;
    quic.scenario.initial_mtu = 1400;
    tcp.scenario.certificate = quic.scenario.certificate;
    let compared = compared(&records(&[quic, tcp], 1)[0]);
    assert_eq!(compared, [Mode::QuicFull, Mode::TcpFull]);
}

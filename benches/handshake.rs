//! Handshakes without IO, both sides on one thread: TLS alone and QUIC, full, resumed and with early data.
//!
//! Run it with `cargo bench --bench handshake`; a name after `--` runs a part. What is timed is processor
//! time of both sides together, without what closes the connection; `wayhold bench floor` tells the sides
//! apart.
//!
//! `cargo bench --bench handshake -- --count quic-full 100` does so many handshakes and no more, for tools
//! that count instructions.

use std::process::ExitCode;
use std::time::Duration;

use criterion::{Criterion, criterion_group};
use wayhold::bench::floor::{ClientSearch, Handshakes};
use wayhold::bench::{Certificate, KeyExchange, Metric, Mode, Sample};

criterion_group!(benches, handshakes);

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--count");
    if arguments.next().is_none() {
        benches();
        Criterion::default().configure_from_args().final_summary();
        return ExitCode::SUCCESS;
    }
    let mode = arguments.next().and_then(|mode| mode.parse().ok());
    let number = arguments.next().and_then(|number| number.parse().ok());
    let (Some(mode), Some(number)) = (mode, number) else {
        return ExitCode::FAILURE;
    };
    let mut handshakes = start(mode);
    for _ in 0..number {
        shake(&mut handshakes);
    }
    ExitCode::SUCCESS
}

fn handshakes(criterion: &mut Criterion) {
    let modes = [
        Mode::TlsFull,
        Mode::TlsResumed,
        Mode::QuicFull,
        Mode::QuicResumed,
        Mode::Quic0Rtt,
    ];
    for mode in modes {
        criterion.bench_function(mode.name(), |bencher| {
            let mut handshakes = start(mode);
            bencher.iter_custom(|number| {
                let each = (0..number).map(|_| processor_time(&shake(&mut handshakes)));
                each.sum()
            });
        });
    }
}

fn start(mode: Mode) -> Handshakes {
    Handshakes::new(
        mode,
        (Certificate::EcdsaP256, KeyExchange::X25519),
        ClientSearch::Gateway,
    )
    .expect("the mode is one of the floor's")
}

fn shake(handshakes: &mut Handshakes) -> Sample {
    handshakes
        .shake_hands()
        .expect("it is the handshake that it should be")
}

fn processor_time(sample: &Sample) -> Duration {
    let sides = [Metric::ClientCpu, Metric::NodeCpu];
    let micros: f64 = sides.iter().map(|side| sample.metrics[side]).sum();
    Duration::from_secs_f64(micros / 1e6)
}

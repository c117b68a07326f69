use std::fmt::Write;
use std::time::Duration;

use super::{BURST, BURSTS};

/// One way, measured.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    /// From the first burst that was sent to the last that arrived.
    pub(crate) elapsed: Duration,
    /// What the forwarder's thread ran on a processor for it.
    pub(crate) processor: Duration,
}

/// The three ways, one after the other.
pub(crate) struct Round {
    pub(crate) directly: Sample,
    pub(crate) bare: Sample,
    pub(crate) gateway: Sample,
}

type Figure = fn(&Round) -> f64;

/// Prints p10 and median of the rounds, and the ratios of both.
#[expect(clippy::print_stdout, reason = "it is the benchmark's output")]
pub(crate) fn print(kind: &str, rounds: &[Round]) {
    println!(
        "\n{kind}: ns for each of {BURST} datagrams, {} rounds",
        rounds.len()
    );
    println!(
        "{:>8} {:>18} {:>12} {:>15} {:>9} {:>13} {:>18}",
        "", "", "no forwarder", "bare forwarder", "gateway", "gateway/bare", "without the rest"
    );
    let figures: [(&str, [Figure; 3]); 2] = [
        (
            "processor",
            [
                |_| 0.0,
                |round| each(round.bare.processor),
                |round| each(round.gateway.processor),
            ],
        ),
        (
            "elapsed",
            [
                |round| each(round.directly.elapsed),
                |round| each(round.bare.elapsed),
                |round| each(round.gateway.elapsed),
            ],
        ),
    ];
    for (name, ways) in figures {
        for (quantile, at) in [("p10", rounds.len() / 10), ("median", rounds.len() / 2)] {
            let [directly, bare, gateway] = ways.map(|figure| {
                let mut all: Vec<_> = rounds.iter().map(figure).collect();
                all.sort_by(f64::total_cmp);
                all[at]
            });
            println!(
                "{name:>10} {quantile:>7} {directly:>12.0} {bare:>15.0} {gateway:>9.0} {:>13.2} {:>18.2}",
                gateway / bare,
                (gateway - directly) / (bare - directly),
            );
        }
    }
}

/// All rounds as comma-separated values, in nanoseconds of a whole round.
pub(crate) fn raw(rounds: &[Round]) -> String {
    let mut text = String::from("directly,bare,gateway,bare processor,gateway processor\n");
    for Round {
        directly,
        bare,
        gateway,
    } in rounds
    {
        writeln!(
            text,
            "{},{},{},{},{}",
            directly.elapsed.as_nanos(),
            bare.elapsed.as_nanos(),
            gateway.elapsed.as_nanos(),
            bare.processor.as_nanos(),
            gateway.processor.as_nanos(),
        )
        .expect("a string takes everything");
    }
    text
}

/// Nanoseconds of one datagram.
#[expect(clippy::cast_precision_loss, reason = "it is a few thousand")]
fn each(whole: Duration) -> f64 {
    whole.as_secs_f64() * 1e9 / (BURST * BURSTS) as f64
}

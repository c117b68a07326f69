use super::draw::{measured, normal, taken};
use crate::bench::statistics::{Noise, noise, ratio, ratios, ratios_to_itself, records};
use crate::bench::{Metric, Mode};
use crate::link::Random;

const CPU: Metric = Metric::NodeCpu;

#[test]
fn a_drift_of_the_machine_cancels() {
    let mut random = Random::new(5);
    let (mut one, mut other) = (Vec::new(), Vec::new());
    for block in 0..30 {
        let state = 100.0 * (1.0 + f64::from(block) / 10.0);
        for _ in 0..3 {
            let mut noisy = || state * (1.0 + 0.01 * normal(&mut random));
            let (first, second) = (2.0 * noisy(), noisy());
            one.push(taken(block, CPU, first));
            other.push(taken(block, CPU, second));
        }
    }
    let found = ratio(&ratios(&one, &other, CPU), &mut Random::new(1)).unwrap();
    assert_eq!(found.pairs, 30);
    assert!((found.median - 2.0).abs() < 0.02, "{found:?}");
    assert!(
        found.interval.low > 1.98 && found.interval.high < 2.02,
        "{found:?}"
    );
}

#[test]
fn the_interval_of_a_ratio_holds_it_nineteen_of_twenty_times() {
    let mut random = Random::new(6);
    let mut hits = 0;
    for _ in 0..300 {
        let ratios: Vec<_> = (0..20)
            .map(|_| 1.5 * (0.1 * normal(&mut random)).exp())
            .collect();
        let found = ratio(&ratios, &mut random).unwrap();
        hits += u32::from(found.interval.low <= 1.5 && 1.5 <= found.interval.high);
    }
    assert!((273..=294).contains(&hits), "{hits}");
}

#[test]
fn only_what_was_measured_in_one_block_is_compared() {
    let one = [
        taken(0, CPU, 30.0),
        taken(1, CPU, 8.0),
        taken(3, CPU, 9.0),
        taken(4, CPU, f64::NAN),
    ];
    let other = [
        taken(0, CPU, 10.0),
        taken(0, CPU, 20.0),
        taken(2, CPU, 5.0),
        taken(3, CPU, 0.0),
        taken(4, CPU, 1.0),
    ];
    assert_eq!(ratios(&one, &other, CPU), [2.0]);
    assert!(ratios(&one, &other, Metric::ClientCpu).is_empty());
    assert_eq!(ratio(&[], &mut Random::new(1)), None);
}

#[test]
fn a_mode_is_compared_with_itself_within_a_block_or_with_the_next() {
    let within = [10.0, 5.0, 10.0, 8.0, 4.0].map(|value| taken(0, CPU, value));
    assert_eq!(ratios_to_itself(&within, CPU), [10.0 / 6.5]);
    let next = [(0, 10.0), (1, 5.0), (2, 9.0), (3, 3.0), (4, 7.0)];
    let next = next.map(|(block, value)| taken(block, CPU, value));
    assert_eq!(ratios_to_itself(&next, CPU), [2.0, 3.0]);
    assert!(ratios_to_itself(&next[..1], CPU).is_empty());
}

#[test]
fn the_noise_of_a_run_is_that_of_all_scenarios() {
    let one = measured(Mode::TcpFull, CPU, &[110.0, 100.0]);
    let other = measured(Mode::TcpResumed, CPU, &[100.0, 80.0]);
    let another = measured(Mode::Tcp0Rtt, CPU, &[50.0, 100.0]);
    let noise = noise(&records(&[one, other, another], 1));
    let Noise {
        scenarios,
        median,
        worst,
    } = noise[&CPU];
    assert_eq!((noise.len(), scenarios), (1, 3));
    assert!((median - 0.25).abs() < 1e-12 && (worst - 0.5).abs() < 1e-12);
}

use super::draw::{exponential, normal};
use crate::bench::Interval;
use crate::bench::statistics::{median, median_interval, quantile};
use crate::link::Random;

#[test]
fn a_quantile_lies_between_its_neighbours() {
    let values = [1.0, 2.0, 3.0, 4.0];
    let close = |share, expected: f64| {
        let found = quantile(&values, share).unwrap();
        assert!((found - expected).abs() < 1e-12, "{share}: {found}");
    };
    close(0.0, 1.0);
    close(0.1, 1.3);
    close(0.5, 2.5);
    close(0.9, 3.7);
    close(0.99, 3.97);
    close(1.0, 4.0);
    assert_eq!(quantile(&[7.0], 0.99), Some(7.0));
    assert_eq!(quantile(&[], 0.5), None);
    assert_eq!(median(&[9.0, 1.0, 5.0]), Some(5.0));
}

#[test]
fn an_interval_repeats_from_its_seed() {
    let mut random = Random::new(1);
    let groups: Vec<_> = (0..30).map(|_| vec![normal(&mut random)]).collect();
    let interval = |seed| median_interval(&groups, &mut Random::new(seed)).unwrap();
    assert_eq!(interval(7), interval(7));
    assert!((8..40).any(|seed| interval(seed) != interval(7)));
}

#[test]
fn what_never_changes_is_certain() {
    let groups = vec![vec![5.0; 3]; 10];
    let interval = median_interval(&groups, &mut Random::new(1));
    let certain = Interval {
        low: 5.0,
        high: 5.0,
    };
    assert_eq!(interval, Some(certain));
    assert_eq!(
        median_interval(&[vec![5.0], Vec::new()], &mut Random::new(1)),
        Some(certain)
    );
    assert_eq!(
        median_interval(&[Vec::new(), Vec::new()], &mut Random::new(1)),
        None
    );
}

/// The share of intervals that hold the true median, and their mean width.
fn judge(truth: f64, mut draw: impl FnMut(&mut Random) -> Vec<Vec<f64>>) -> (f64, f64) {
    let mut random = Random::new(2026);
    let (mut hits, mut widths) = (0, 0.0);
    for _ in 0..TRIALS {
        let groups = draw(&mut random);
        let interval = median_interval(&groups, &mut random).unwrap();
        hits += u32::from(interval.low <= truth && truth <= interval.high);
        widths += interval.high - interval.low;
    }
    (
        f64::from(hits) / f64::from(TRIALS),
        widths / f64::from(TRIALS),
    )
}

const TRIALS: u32 = 200;

#[test]
fn the_interval_holds_the_median_of_a_skewed_distribution_nineteen_of_twenty_times() {
    let (share, _) = judge(2_f64.ln(), |random| {
        (0..25).map(|_| vec![exponential(random)]).collect()
    });
    assert!((0.91..=0.98).contains(&share), "{share}");
}

#[test]
fn the_interval_is_as_wide_as_theory_says() {
    // The median of n normal values has a deviation of sqrt(pi / 2n).
    let n = 81;
    let theory = 2.0 * 1.96 * (std::f64::consts::FRAC_PI_2 / f64::from(n)).sqrt();
    let (share, width) = judge(0.0, |random| (0..n).map(|_| vec![normal(random)]).collect());
    assert!((0.91..=0.98).contains(&share), "{share}");
    assert!((0.9..=1.15).contains(&(width / theory)), "{width} {theory}");
}

#[test]
fn samples_of_one_block_count_as_what_they_are() {
    let block = |random: &mut Random| {
        let state = normal(random);
        (0..5).map(|_| state + 0.3 * normal(random)).collect()
    };
    let (by_block, _) = judge(0.0, |random| (0..15).map(|_| block(random)).collect());
    assert!((0.88..=0.99).contains(&by_block), "{by_block}");
    // As if each had been measured for itself, the interval promises too much.
    let (by_sample, _) = judge(0.0, |random| {
        let values = (0..15).flat_map(|_| -> Vec<f64> { block(random) });
        values.map(|value| vec![value]).collect()
    });
    assert!(by_sample < 0.75, "{by_sample}");
}

#[test]
fn few_blocks_are_not_drawn_as_a_whole() {
    let groups: Vec<Vec<_>> = (0..3)
        .map(|block| (0..10).map(|value| f64::from(10 * block + value)).collect())
        .collect();
    let interval = median_interval(&groups, &mut Random::new(1)).unwrap();
    // Whole blocks would reach from the first to the last.
    assert!(interval.low > 5.0 && interval.high < 24.0, "{interval:?}");
}

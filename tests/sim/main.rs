//! Whole fleets in virtual time: the real core and QUIC endpoints, a network that repeats from its seed,
//! everything that can happen to them, and what must hold all the while.
//!
//! `WAYHOLD_SIM_SEEDS=N` runs N seeds, `WAYHOLD_SIM_SEED=K` one of them with its trace.

#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    reason = "a test may panic and print, and its numbers are small"
)]

mod adversary;
mod amplification;
mod app;
mod checker;
mod client;
mod clock;
mod coverage;
mod defect;
mod endpoint;
mod event;
mod faults;
mod hearing;
mod issuer;
mod keys;
mod lifetime;
mod members;
mod network;
mod pattern;
mod plan;
mod process;
mod site;
mod sweep;
mod tls;
mod trace;
mod tunnel;
mod worker;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::checker::Counts;
use crate::defect::Defect;
use crate::plan::Plan;
use crate::trace::Keep;
use crate::world::World;

/// What became of a seed.
struct Outcome {
    counts: Counts,
    sum: (u64, u64),
    result: Result<(), String>,
    lines: Vec<String>,
}

fn run(seed: u64, defect: Option<Defect>, keep: Keep) -> Outcome {
    let mut world = World::new(Plan::new(seed), defect, keep);
    let result = catch_unwind(AssertUnwindSafe(|| world.run()));
    let result = result.unwrap_or_else(|_panic| Err("it panicked".to_owned()));
    Outcome {
        counts: world.checker.counts,
        sum: world.trace.sum(),
        result,
        lines: world.trace.lines().to_vec(),
    }
}

/// Runs seeds on two threads, and gives what they counted, or the first failure.
fn run_all(seeds: u64) -> Counts {
    let next = AtomicU64::new(0);
    let counts = Mutex::new(Counts::new());
    let failed = Mutex::new(Vec::new());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds || !failed.lock().unwrap().is_empty() {
                return;
            }
            let outcome = run(seed, None, Keep::Sum);
            for (what, count) in outcome.counts {
                *counts.lock().unwrap().entry(what).or_default() += count;
            }
            if let Err(failure) = outcome.result {
                failed.lock().unwrap().push((seed, failure));
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    let failed = failed.into_inner().unwrap();
    if let Some((seed, failure)) = failed.first() {
        panic!(
            "seed {seed}: {failure}\nreplay: WAYHOLD_SIM_SEED={seed} cargo test --test sim every_seed -- --nocapture"
        );
    }
    counts.into_inner().unwrap()
}

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

#[test]
fn every_seed_holds_every_invariant() {
    if let Some(seed) = number_from("WAYHOLD_SIM_SEED") {
        let Outcome {
            counts,
            result,
            lines,
            ..
        } = run(seed, None, Keep::Lines);
        println!("{:#?}\n{}\n{counts:#?}", Plan::new(seed), lines.join("\n"));
        assert_eq!(result, Ok(()), "seed {seed}");
        return;
    }
    let seeds = number_from("WAYHOLD_SIM_SEEDS").unwrap_or(SEEDS);
    let counts = run_all(seeds);
    println!("{seeds} seeds: {counts:#?}");
    let missing = coverage::missing(&counts);
    let enough = seeds >= SEEDS;
    assert!(
        !enough || missing.is_empty(),
        "never seen: {missing:?} in {counts:#?}"
    );
}

#[test]
fn every_plan_has_ten_clients_and_three_faults() {
    for seed in 0..SEEDS {
        let plan = Plan::new(seed);
        assert!((3..=5).contains(&plan.nodes), "{plan:?}");
        assert!(
            plan.clients.len() >= 10 && plan.faults.len() >= 3,
            "{plan:?}"
        );
    }
}

#[test]
fn a_seed_gives_the_same_trace_again() {
    for seed in 0..20 {
        let sum = || run(seed, None, Keep::Sum).sum;
        assert_eq!(sum(), sum(), "seed {seed}");
    }
}

#[test]
fn every_planted_defect_is_caught() {
    for defect in Defect::ALL {
        let caught = (0..SEEDS).find_map(|seed| {
            let failure = run(seed, Some(defect), Keep::Sum).result.err()?;
            Some((seed, failure))
        });
        let (seed, failure) = caught.unwrap_or_else(|| panic!("{defect:?} is not caught"));
        println!("{defect:?} is caught by seed {seed}: {failure}");
    }
}

/// How many seeds are run if nothing else is asked for.
const SEEDS: u64 = 2000;

//! Executes a [`Plan`]: warms up, lets the scenarios of a group take turns in blocks, and gives samples as
//! they come.
//!
//! In each block every scenario of the group has its turn, in an order that follows from the seed, so what
//! the machine does meanwhile is the same for all. A sample in which the emulator delivered a packet late
//! is counted and taken again, some times. An attempt that fails is counted by what failed, and the run
//! goes on; a scenario whose warm-up fails is given up.

mod bed;
mod case;
mod clocks;

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub use bed::{Bed, Target};

use self::case::{Attempt, Case, CaseError};
use super::dial::KeyLogFile;
use super::plan::{Group, Plan};
use super::statistics::{Measured, Taken};
use super::trace::{Drawing, Exchange};
use super::{Mode, Scenario};
use crate::link::Random;
use crate::testbed::emulator::{Emulator, Lateness, Trace};

/// How a run is done.
#[derive(Clone, Debug)]
pub struct Options {
    /// What everything that is left to chance follows from.
    pub seed: u64,
    /// How late a packet may be for its sample to count.
    pub tolerance: Duration,
    /// Where secrets of connections go, for those who read the packets.
    pub key_log: Option<Arc<KeyLogFile>>,
    /// Ends the run early.
    pub stop: CancellationToken,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress<'a> {
    /// What is measured now.
    pub scenario: &'a Scenario,
    /// Samples that are taken.
    pub done: u32,
    /// Samples that are planned.
    pub all: u32,
}

/// Whoever follows a run.
pub trait Watch {
    /// Hears how far it is.
    fn progress(&mut self, progress: Progress<'_>);

    /// Takes a sample, with the place of its scenario in the plan.
    ///
    /// # Errors
    /// Why the run is to end, in words, such as a full disk.
    fn sample(&mut self, scenario: usize, taken: &Taken) -> Result<(), String>;

    /// Takes the packets of a sample.
    ///
    /// # Errors
    /// As above.
    fn trace(&mut self, trace: &Trace) -> Result<(), String>;
}

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// What was measured, in the order of the plan.
    pub measured: Vec<Measured>,
    /// One exchange of each mode.
    pub drawings: Vec<Drawing>,
    /// Scenarios that were given up, by their place in the plan, and why.
    pub given_up: Vec<(usize, String)>,
    /// How late the emulator was.
    pub lateness: Option<Lateness>,
    /// Why the run ended early, if it did.
    pub stopped: Option<String>,
}

/// Measures everything that is planned, on a thread of its own on the client's host.
///
/// # Errors
/// The system gives no such thread.
pub fn run(
    plan: &Plan,
    bed: &mut Bed,
    options: &Options,
    watch: &mut (dyn Watch + Send),
) -> io::Result<Outcome> {
    let network = match bed {
        Bed::Stand { network, .. } => network.clone(),
        Bed::Target(_) => None,
    };
    let work = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(runtime.block_on(run_here(plan, bed, options, watch)))
    };
    match network {
        Some(network) => network.client.run(work)?,
        None => thread::scope(|scope| {
            let client = thread::Builder::new().name("client".into());
            let client = client.spawn_scoped(scope, work)?;
            client
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        }),
    }
}

async fn run_here(
    plan: &Plan,
    bed: &mut Bed,
    options: &Options,
    watch: &mut (dyn Watch + Send),
) -> Outcome {
    let measured: Vec<_> = plan.scenarios().cloned().map(Measured::of).collect();
    let all = plan.groups.iter().map(samples).sum();
    let mut run = Run {
        outcome: Outcome {
            measured,
            drawings: Vec::new(),
            given_up: Vec::new(),
            lateness: None,
            stopped: None,
        },
        options,
        watch,
        random: Random::new(options.seed),
        done: 0,
        all,
    };
    let mut first = 0;
    for group in &plan.groups {
        let stop = options.stop.cancelled();
        let ended = tokio::select! {
            biased;
            () = stop => Err("interrupted".to_owned()),
            ended = Box::pin(run.group(group, first, bed)) => ended,
        };
        if let Err(reason) = ended {
            run.outcome.stopped = Some(reason);
            break;
        }
        first += group.scenarios.len();
        bed.clear();
    }
    run.outcome.lateness = bed
        .emulator()
        .and_then(|emulator| Emulator::lateness(emulator).ok());
    run.finish(plan)
}

struct Run<'a> {
    outcome: Outcome,
    options: &'a Options,
    watch: &'a mut (dyn Watch + Send),
    random: Random,
    done: u32,
    all: u32,
}

impl Run<'_> {
    /// Measures the scenarios of a group, of which the first has this place in the plan.
    async fn group(&mut self, group: &Group, first: usize, bed: &mut Bed) -> Result<(), String> {
        let mut cases = Vec::new();
        for (place, scenario) in group.scenarios.iter().enumerate() {
            let planned = (first + place, scenario.clone());
            if let Some(case) = self.begin(planned, bed).await {
                cases.push(case);
            } else {
                self.done += group.samples;
            }
        }
        let in_block = samples_in_a_block(group.samples);
        let mut taken = 0;
        for block in 0.. {
            let in_block = in_block.min(group.samples - taken);
            if in_block == 0 {
                break;
            }
            taken += in_block;
            let seed = self.random.number();
            for place in self.order(cases.len()) {
                let case = &mut cases[place];
                for turn in 0..in_block {
                    let seed = seed.wrapping_add(u64::from(turn));
                    self.turn(case, bed, (block, seed)).await?;
                }
            }
        }
        for case in &cases {
            self.add_kernel_times(case);
        }
        Ok(())
    }

    /// Starts what a scenario needs and warms it up; none if that fails.
    async fn begin(&mut self, planned: (usize, Scenario), bed: &mut Bed) -> Option<Case> {
        let index = planned.0;
        let key_log = self.options.key_log.clone();
        let made = Case::new(bed, planned, key_log);
        let mut case = match made {
            Ok(case) => case,
            Err(error) => {
                self.give_up(index, &error);
                return None;
            }
        };
        self.show(&case.scenario);
        let mut failure = None;
        let mut warm = 0;
        for _attempt in 0..ATTEMPTS_TO_WARM_UP {
            match case.attempt(bed, self.random.number()).await {
                Ok(_) => warm += 1,
                Err(error) => {
                    let silent = error.is_silence();
                    failure = Some(error);
                    if silent {
                        break;
                    }
                }
            }
            if warm == WARM_UP {
                case.shares = clocks::Shares::default();
                return Some(case);
            }
        }
        if let Some(error) = failure {
            self.give_up(index, &error);
        }
        None
    }

    /// Takes one sample, again if the emulator was late.
    async fn turn(
        &mut self,
        case: &mut Case,
        bed: &Bed,
        (block, seed): (u32, u64),
    ) -> Result<(), String> {
        self.show(&case.scenario);
        for _attempt in 0..TRIES {
            let measured = &mut self.outcome.measured[case.index];
            match case.attempt(bed, seed).await {
                Err(error) => {
                    *measured
                        .failures
                        .entry(error.name().to_owned())
                        .or_default() += 1;
                    break;
                }
                Ok(attempt) if attempt.lateness > self.options.tolerance => measured.late += 1,
                Ok(attempt) => {
                    self.keep(case, block, attempt)?;
                    break;
                }
            }
        }
        self.done += 1;
        Ok(())
    }

    fn keep(&mut self, case: &Case, block: u32, attempt: Attempt) -> Result<(), String> {
        let mode = case.scenario.mode;
        if let Some(trace) = &attempt.trace {
            self.watch.trace(trace)?;
            let drawn = self.outcome.drawings.iter();
            if !drawn
                .map(|drawing| drawing.mode)
                .any(|drawn: Mode| drawn == mode)
            {
                let rtt = Duration::from_millis(case.scenario.rtt_ms.into());
                let exchange = Exchange::of(trace, attempt.marks, rtt);
                self.outcome.drawings.push(Drawing::of(mode, &exchange));
            }
        }
        let taken = Taken {
            block,
            sample: attempt.sample,
        };
        self.watch.sample(case.index, &taken)?;
        self.outcome.measured[case.index].taken.push(taken);
        Ok(())
    }

    /// Tells how much of each time was the kernel's, as well as all samples of the scenario together show
    /// it: one alone is too short for the kernel's own accounting.
    fn add_kernel_times(&mut self, case: &Case) {
        for (whole, kernel, share) in case.shares.kernel() {
            let Some(share) = share else {
                continue;
            };
            for taken in &mut self.outcome.measured[case.index].taken {
                let metrics = &mut taken.sample.metrics;
                if let Some(time) = metrics.get(&whole).copied() {
                    metrics.insert(kernel, time * share);
                }
            }
        }
    }

    fn give_up(&mut self, index: usize, error: &CaseError) {
        let failures = &mut self.outcome.measured[index].failures;
        *failures.entry(error.name().to_owned()).or_default() += 1;
        self.outcome.given_up.push((index, error.to_string()));
    }

    /// All numbers below `length`, shuffled.
    fn order(&mut self, length: usize) -> Vec<usize> {
        let mut order: Vec<_> = (0..length).collect();
        for place in (1..length).rev() {
            let end = u64::try_from(place + 1).unwrap_or(u64::MAX);
            let other = usize::try_from(self.random.below(end)).unwrap_or_default();
            order.swap(place, other);
        }
        order
    }

    fn show(&mut self, scenario: &Scenario) {
        self.watch.progress(Progress {
            scenario,
            done: self.done,
            all: self.all,
        });
    }

    fn finish(mut self, plan: &Plan) -> Outcome {
        let planned = plan
            .groups
            .iter()
            .flat_map(|group| std::iter::repeat_n(group.samples, group.scenarios.len()));
        if self.outcome.stopped.is_some() {
            for (measured, planned) in self.outcome.measured.iter_mut().zip(planned) {
                let failed: u32 = measured.failures.values().sum();
                let taken = u32::try_from(measured.taken.len()).unwrap_or(u32::MAX);
                measured.partial = taken.saturating_add(failed) < planned;
            }
        }
        self.outcome
    }
}

fn samples(group: &Group) -> u32 {
    u32::try_from(group.scenarios.len()).unwrap_or(u32::MAX) * group.samples
}

/// Two at least where there are enough, so that a block can be compared with itself, and not so many that
/// there are fewer than forty blocks.
const fn samples_in_a_block(samples: u32) -> u32 {
    if samples < 8 {
        1
    } else if samples / 40 > 2 {
        samples / 40
    } else {
        2
    }
}

/// Attempts before the first sample: caches fill, and the first session is got.
const WARM_UP: u32 = 1;
const ATTEMPTS_TO_WARM_UP: u32 = 2;
/// How often a sample is taken that came late.
const TRIES: u32 = 6;

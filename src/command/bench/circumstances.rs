use std::collections::BTreeMap;
use std::time::SystemTime;

use wayhold::bench::results::{self, Run, Setting};
use wayhold::bench::{SCHEMA, Scenario};

/// Where and with what a run takes place, as far as it is known when it begins.
pub(super) fn of(scenarios: Vec<Scenario>, setting: Setting, seed: u64) -> Run {
    Run {
        schema: SCHEMA,
        partial: true,
        command: std::env::args().collect(),
        started: results::rfc3339(now()),
        seconds: 0.0,
        seed,
        scenarios,
        software: results::software(),
        setting,
        machine: results::machine(),
        emulator: None,
        noise: BTreeMap::new(),
        doubts: Vec::new(),
    }
}

#[expect(clippy::disallowed_methods, reason = "a run says when it was")]
fn now() -> SystemTime {
    SystemTime::now()
}

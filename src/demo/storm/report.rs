use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::{Fate, INTERVAL};
use super::ledger::Ledger;
use crate::demo::report::{milliseconds, percentile};

/// How a storm went: a node with all connections was killed.
#[derive(Clone, Debug)]
pub struct StormReport {
    /// Connections that the node had.
    pub connections: usize,
    /// From the kill until the node that clients reach now knew that it is dead.
    pub detected: Duration,
    /// From there until each client knew, sorted; zero for one that knew before.
    pub known: Vec<Duration>,
    /// From the last client that knew, at which all connect, until the last has an answer on a new
    /// connection.
    pub reconnecting: Duration,
    /// The same for as many new clients that connected at once, before the kill and at the end: what
    /// else the machine does changes within seconds.
    pub fresh: [Duration; 2],
    /// Requests sent, none of them idempotent, and each only once.
    pub sent: u64,
    /// Of those, requests that were answered; of the others nobody knows what became.
    pub answered: u64,
    /// Requests that a backend ran more than once.
    pub repeated: usize,
    /// Everything that speaks against the run; a time never does.
    pub problems: Vec<String>,
    /// What the nodes have written last, if the run failed.
    pub logs: Vec<String>,
}

/// When what happened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) killed: Instant,
    pub(super) detected: Instant,
    pub(super) fresh: [Duration; 2],
}

impl StormReport {
    pub(super) fn new(times: Times, fates: &[Fate], ledger: &Ledger) -> Self {
        let failed: Vec<_> = fates
            .iter()
            .filter_map(|fate| fate.failed.as_ref())
            .collect();
        let back = fates.iter().filter_map(|fate| fate.back).max();
        let all_know = failed.iter().map(|(at, _)| *at).max();
        let mut known: Vec<_> = failed
            .iter()
            .map(|(at, _)| at.saturating_duration_since(times.detected))
            .collect();
        known.sort_unstable();
        let reconnecting = all_know
            .zip(back)
            .map(|(start, back)| back.saturating_duration_since(start));
        Self {
            connections: fates.len(),
            detected: times.detected.saturating_duration_since(times.killed),
            known,
            reconnecting: reconnecting.unwrap_or_default(),
            fresh: times.fresh,
            sent: fates.iter().map(|fate| fate.sent).sum(),
            answered: fates.iter().map(|fate| fate.answered.len() as u64).sum(),
            repeated: ledger.repeated(),
            problems: problems(times, fates, ledger),
            logs: Vec::new(),
        }
    }

    /// Whether nothing speaks against the run.
    pub fn succeeded(&self) -> bool {
        self.problems.is_empty()
    }

    /// How much longer it took to connect again than to connect, in the mean of both times.
    pub fn ratio(&self) -> f64 {
        let [before, after] = self.fresh;
        self.reconnecting.as_secs_f64() * 2.0 / (before + after).as_secs_f64()
    }

    /// The report as one JSON object.
    pub fn json(&self) -> Value {
        let known = |percent| milliseconds(percentile(&self.known, percent));
        json!({
            "connections": self.connections,
            "detected_ms": milliseconds(self.detected),
            "known_ms": { "p50": known(50), "p99": known(99), "max": known(100) },
            "reconnecting_ms": milliseconds(self.reconnecting),
            "fresh_ms": self.fresh.map(milliseconds),
            "ratio": (self.ratio() * 1e3).round() / 1e3,
            "sent": self.sent,
            "answered": self.answered,
            "repeated": self.repeated,
            "problems": self.problems,
        })
    }

    /// The report for people.
    pub fn text(&self) -> String {
        let known = |percent| milliseconds(percentile(&self.known, percent));
        format!(
            "{} connections, each of which sends every {INTERVAL:?}, to a node that is killed\n\
             its peers know    {:.0} ms after the kill\n\
             its clients know  p50 {:.0} ms, p99 {:.0} ms, the last {:.0} ms after that\n\
             all are back      {:.0} ms after that; as many new clients took {:.0} and {:.0} ms, \
             ratio {:.2}\n\
             requests          {} sent once, {} answered, {} in doubt, {} run twice",
            self.connections,
            milliseconds(self.detected),
            known(50),
            known(99),
            known(100),
            milliseconds(self.reconnecting),
            milliseconds(self.fresh[0]),
            milliseconds(self.fresh[1]),
            self.ratio(),
            self.sent,
            self.answered,
            self.sent - self.answered,
            self.repeated,
        )
    }
}

fn problems(times: Times, fates: &[Fate], ledger: &Ledger) -> Vec<String> {
    let count = |so: &dyn Fn(&Fate) -> bool| fates.iter().filter(|fate| so(fate)).count();
    let failed = |so: &dyn Fn(&(Instant, String)) -> bool| {
        count(&|fate| fate.failed.as_ref().is_some_and(so))
    };
    let answered = fates.iter().flat_map(|fate| &fate.answered);
    let unheard = answered.filter(|id| ledger.runs(**id) == 0).count();
    let by_chance = |(_, why): &(Instant, String)| !why.ends_with(RESET);
    let example = fates
        .iter()
        .filter_map(|fate| fate.failed.as_ref())
        .find(|failed| by_chance(failed))
        .map_or("", |(_, why)| why);
    [
        (ledger.repeated(), "requests ran more than once".to_owned()),
        (unheard, "requests were answered and never ran".to_owned()),
        (
            failed(&|(at, _)| *at < times.killed),
            "clients lost a request before the kill".to_owned(),
        ),
        (
            count(&|fate| fate.failed.is_none()),
            "clients never learned of the kill".to_owned(),
        ),
        (
            failed(&by_chance),
            format!("clients learned of the kill without a reset: {example}"),
        ),
        (
            count(&|fate| fate.back.is_none()),
            "clients could not connect again".to_owned(),
        ),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect()
}

/// How quinn names a stateless reset.
const RESET: &str = "reset by peer";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testbed::now;

    const MS: Duration = Duration::from_millis(1);

    fn times() -> Times {
        let killed = now();
        Times {
            killed,
            detected: killed + MS * 1000,
            fresh: [MS * 300, MS * 500],
        }
    }

    fn fate(times: Times, after: u32) -> Fate {
        Fate {
            failed: Some((times.detected + MS * after, "lost: reset by peer".into())),
            back: Some(times.detected + MS * (after + 500)),
            sent: 3,
            answered: Vec::new(),
        }
    }

    #[test]
    fn times_count_from_the_detection_and_from_when_all_know() {
        let times = times();
        let fates = [fate(times, 110), fate(times, 10)];
        let report = StormReport::new(times, &fates, &Ledger::default());
        assert_eq!(report.detected, MS * 1000);
        assert_eq!(report.known, [MS * 10, MS * 110]);
        assert_eq!(report.reconnecting, MS * 500);
        assert!((report.ratio() - 1.25).abs() < 1e-9);
        assert_eq!((report.sent, report.answered), (6, 0));
        assert!(report.succeeded(), "{:?}", report.problems);
    }

    #[test]
    fn what_went_wrong_is_a_problem_and_a_time_is_none() {
        let times = times();
        let broken: [fn(&mut Fate, Times); 5] = [
            |fate, _| fate.answered.push(7),
            |fate, times| {
                let before = times.killed.checked_sub(MS).unwrap();
                fate.failed = Some((before, RESET.into()));
            },
            |fate, _| fate.failed = None,
            |fate, times| fate.failed = Some((times.detected, "timed out".into())),
            |fate, _| fate.back = None,
        ];
        for (index, breaks) in broken.into_iter().enumerate() {
            let mut fates = [fate(times, 1), fate(times, 60_000)];
            breaks(&mut fates[0], times);
            let report = StormReport::new(times, &fates, &Ledger::default());
            assert_eq!(report.problems.len(), 1, "{index}: {:?}", report.problems);
        }
    }
}

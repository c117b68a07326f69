use std::time::{Duration, Instant};

/// When a backend gets no more requests, and when it does again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthTerms {
    /// Failures in a row after which it is ejected; 0 is never.
    pub failures: u32,
    /// For how long at first; twice as long each time that a trial fails.
    pub ejection: Duration,
    /// For how long at most.
    pub ejection_max: Duration,
    /// Probes in a row that must succeed before one that was down is up.
    pub rise: u32,
    /// Probes in a row that must fail before one that was up is down.
    pub fall: u32,
    /// In which a backend that has come back, or is new, grows to its full share.
    pub slow_start: Duration,
}

/// Why a backend gets no requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unfit {
    /// Probes fail.
    Probe,
    /// Requests failed one after the other.
    Failures,
    /// Requests fail much more often than at other backends.
    SuccessRate,
    /// Answers take much longer than at other backends.
    Latency,
}

/// Whether a backend may get a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Open,
    /// One, which shows whether it has recovered.
    Trial,
    Closed(Unfit),
}

/// Which request a trial is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeatable {
    /// One that goes to another backend when this one fails.
    Yes,
    /// One that its client loses then.
    No,
}

/// What is known about one backend's health.
#[derive(Clone, Debug)]
pub(super) struct Health {
    failures: u32,
    ejection: Option<Ejection>,
    /// Ejections one after the other, without a time in between in which it was well.
    times: u32,
    down: bool,
    /// Probes in a row that say the opposite of `down`.
    streak: u32,
    /// When it last became fit, unless it always was.
    back: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Ejection {
    since: Instant,
    until: Instant,
    reason: Unfit,
    /// When a trial began whose end nobody has told yet.
    trial: Option<Instant>,
}

impl Health {
    /// A backend that was there from the start has its full share at once.
    pub(super) fn fit() -> Self {
        Self {
            failures: 0,
            ejection: None,
            times: 0,
            down: false,
            streak: 0,
            back: None,
        }
    }

    /// One that joins others grows into it.
    pub(super) fn joined(now: Instant) -> Self {
        Self {
            back: Some(now),
            ..Self::fit()
        }
    }

    pub(super) fn admission(&self, request: Repeatable, now: Instant) -> Admission {
        if self.down {
            return Admission::Closed(Unfit::Probe);
        }
        let Some(ejection) = &self.ejection else {
            return Admission::Open;
        };
        let served = ejection.until - ejection.since;
        // Where no request may be repeated, some client has to try it in the end.
        let due = match request {
            Repeatable::Yes => ejection.until,
            Repeatable::No => ejection.until + served,
        };
        let trying = ejection
            .trial
            .is_some_and(|began| now.saturating_duration_since(began) < served.max(TRIAL));
        if now < due || trying {
            Admission::Closed(ejection.reason)
        } else {
            Admission::Trial
        }
    }

    /// Why it gets no requests, if so.
    pub(super) fn unfit(&self) -> Option<Unfit> {
        let ejected = self.ejection.map(|ejection| ejection.reason);
        self.down.then_some(Unfit::Probe).or(ejected)
    }

    /// The part of its share that it gets: 1, but for one that has just come.
    pub(super) fn share(&self, slow_start: Duration, now: Instant) -> f64 {
        let Some(back) = self.back.filter(|_| !slow_start.is_zero()) else {
            return 1.0;
        };
        let age = now.saturating_duration_since(back).as_secs_f64();
        (age / slow_start.as_secs_f64()).clamp(LEAST_SHARE, 1.0)
    }

    /// A request goes to it.
    pub(super) fn begin(&mut self, now: Instant) {
        if let Some(ejection) = &mut self.ejection
            && now >= ejection.until
        {
            ejection.trial = Some(now);
        }
    }

    /// A request that went to it ended without telling anything, such as one whose client has gone.
    pub(super) fn untold(&mut self) {
        if let Some(ejection) = &mut self.ejection {
            ejection.trial = None;
        }
    }

    pub(super) fn succeeded(&mut self, terms: &HealthTerms, now: Instant) {
        self.failures = 0;
        match self.ejection {
            // It was asked before it was ejected, and proves little.
            Some(ejection) if now < ejection.until => {}
            Some(_) => self.come_back(now),
            None => {
                let well = self
                    .back
                    .is_none_or(|back| now.saturating_duration_since(back) > terms.ejection_max);
                if well {
                    self.times = 0;
                }
            }
        }
    }

    /// It answered that the application failed: it can be reached, and that is all.
    pub(super) fn erred(&mut self, now: Instant) {
        match self.ejection {
            Some(ejection) if ejection.reason == Unfit::SuccessRate => self.untold(),
            Some(ejection) if now >= ejection.until => self.come_back(now),
            _ => {}
        }
    }

    /// Whether it is ejected by this.
    pub(super) fn failed(&mut self, terms: &HealthTerms, now: Instant) -> bool {
        self.failures = self.failures.saturating_add(1);
        let again = self
            .ejection
            .is_some_and(|ejection| ejection.trial.is_some() && now >= ejection.until);
        let often = terms.failures > 0 && self.failures >= terms.failures;
        if again || (often && self.ejection.is_none()) {
            self.eject(Unfit::Failures, terms, now);
            return !again;
        }
        false
    }

    pub(super) fn eject(&mut self, reason: Unfit, terms: &HealthTerms, now: Instant) {
        let doubled = terms
            .ejection
            .saturating_mul(1 << self.times.min(LONGEST_DOUBLING));
        self.times = self.times.saturating_add(1);
        self.ejection = Some(Ejection {
            since: now,
            until: now + doubled.min(terms.ejection_max.max(terms.ejection)),
            reason,
            trial: None,
        });
    }

    /// Whether its state changes by the outcome of this probe.
    pub(super) fn probed(&mut self, well: bool, terms: &HealthTerms, now: Instant) -> bool {
        if well != self.down {
            self.streak = 0;
            return false;
        }
        self.streak += 1;
        let needed = if well { terms.rise } else { terms.fall };
        if self.streak < needed {
            return false;
        }
        self.streak = 0;
        self.down = !well;
        if well {
            self.come_back(now);
        }
        true
    }

    /// Nobody probes it any more, so what probes said counts no longer.
    pub(super) fn unprobed(&mut self, now: Instant) {
        self.streak = 0;
        if std::mem::take(&mut self.down) {
            self.come_back(now);
        }
    }

    fn come_back(&mut self, now: Instant) {
        self.failures = 0;
        self.ejection = None;
        self.back = Some(now);
    }
}

impl Unfit {
    /// The reason in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Failures => "failures",
            Self::SuccessRate => "success_rate",
            Self::Latency => "latency",
        }
    }
}

impl Default for HealthTerms {
    fn default() -> Self {
        Self {
            failures: 5,
            ejection: Duration::from_secs(1),
            ejection_max: Duration::from_secs(4),
            rise: 2,
            fall: 3,
            slow_start: Duration::from_secs(10),
        }
    }
}

/// What a backend gets at least, however new: without a request it cannot show how it does.
const LEAST_SHARE: f64 = 0.1;
/// How long nobody else tries while a trial goes on, at least.
const TRIAL: Duration = Duration::from_secs(1);
const LONGEST_DOUBLING: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::testing::start;

    const TERMS: HealthTerms = HealthTerms {
        failures: 3,
        ejection: Duration::from_secs(1),
        ejection_max: Duration::from_secs(4),
        rise: 2,
        fall: 3,
        slow_start: Duration::from_secs(10),
    };

    fn after(milliseconds: u64) -> Instant {
        start() + Duration::from_millis(milliseconds)
    }

    fn ejected() -> Health {
        let mut health = Health::fit();
        assert!(!health.failed(&TERMS, after(0)));
        assert!(!health.failed(&TERMS, after(0)));
        assert!(health.failed(&TERMS, after(0)));
        health
    }

    #[test]
    fn failures_in_a_row_eject_and_one_success_between_them_does_not() {
        let mut health = Health::fit();
        for _ in 0..10 {
            health.failed(&TERMS, after(0));
            health.failed(&TERMS, after(0));
            health.succeeded(&TERMS, after(0));
        }
        assert_eq!(health.unfit(), None);
        assert_eq!(ejected().unfit(), Some(Unfit::Failures));
    }

    #[test]
    fn one_trial_at_a_time_shows_whether_it_has_recovered() {
        let mut health = ejected();
        let closed = Admission::Closed(Unfit::Failures);
        assert_eq!(health.admission(Repeatable::Yes, after(999)), closed);
        assert_eq!(
            health.admission(Repeatable::Yes, after(1000)),
            Admission::Trial
        );
        assert_eq!(health.admission(Repeatable::No, after(1000)), closed);
        assert_eq!(
            health.admission(Repeatable::No, after(2000)),
            Admission::Trial
        );
        health.begin(after(1000));
        assert_eq!(health.admission(Repeatable::Yes, after(1100)), closed);
        health.succeeded(&TERMS, after(1200));
        assert_eq!(
            health.admission(Repeatable::Yes, after(1200)),
            Admission::Open
        );
    }

    #[test]
    fn a_trial_that_nobody_ends_does_not_close_for_ever() {
        let mut health = ejected();
        health.begin(after(1000));
        assert_eq!(
            health.admission(Repeatable::Yes, after(2000)),
            Admission::Trial
        );
        let mut health = ejected();
        health.begin(after(1000));
        health.untold();
        assert_eq!(
            health.admission(Repeatable::Yes, after(1001)),
            Admission::Trial
        );
    }

    #[test]
    fn each_failed_trial_doubles_the_time_up_to_the_most() {
        let mut health = ejected();
        let mut now = 1000;
        for length in [2000, 4000, 4000, 4000] {
            health.begin(after(now));
            assert!(!health.failed(&TERMS, after(now)), "it is ejected already");
            let before = health.admission(Repeatable::Yes, after(now + length - 1));
            assert_eq!(before, Admission::Closed(Unfit::Failures));
            now += length;
            assert_eq!(
                health.admission(Repeatable::Yes, after(now)),
                Admission::Trial
            );
        }
    }

    #[test]
    fn what_was_asked_before_the_ejection_changes_nothing() {
        let mut health = ejected();
        health.succeeded(&TERMS, after(500));
        assert!(health.unfit().is_some());
        assert!(!health.failed(&TERMS, after(500)));
        assert_eq!(
            health.admission(Repeatable::Yes, after(1000)),
            Admission::Trial
        );
    }

    #[test]
    fn a_time_in_which_it_was_well_makes_the_next_ejection_short_again() {
        let mut health = ejected();
        health.begin(after(1000));
        health.failed(&TERMS, after(1000));
        health.begin(after(3000));
        health.succeeded(&TERMS, after(3000));
        health.succeeded(&TERMS, after(7001));
        (0..3).for_each(|_| {
            health.failed(&TERMS, after(8000));
        });
        assert_eq!(
            health.admission(Repeatable::Yes, after(9000)),
            Admission::Trial
        );
    }

    #[test]
    fn an_error_of_the_application_shows_that_it_can_be_reached_and_no_more() {
        let mut health = ejected();
        health.begin(after(1000));
        health.erred(after(1000));
        assert_eq!(health.unfit(), None);
        let mut health = Health::fit();
        health.eject(Unfit::SuccessRate, &TERMS, after(0));
        health.begin(after(1000));
        health.erred(after(1000));
        assert_eq!(health.unfit(), Some(Unfit::SuccessRate));
    }

    #[test]
    fn probes_have_hysteresis_both_ways() {
        let mut health = Health::fit();
        assert!(!health.probed(false, &TERMS, after(0)));
        assert!(!health.probed(false, &TERMS, after(1)));
        assert!(!health.probed(true, &TERMS, after(2)), "it begins anew");
        assert!(!health.probed(false, &TERMS, after(3)));
        assert!(!health.probed(false, &TERMS, after(4)));
        assert!(health.probed(false, &TERMS, after(5)));
        assert_eq!(health.unfit(), Some(Unfit::Probe));
        assert!(!health.probed(true, &TERMS, after(6)));
        assert!(health.probed(true, &TERMS, after(7)));
        assert_eq!(health.unfit(), None);
    }

    #[test]
    fn probes_that_succeed_again_end_an_ejection() {
        let mut health = ejected();
        (0..3).for_each(|_| {
            health.probed(false, &TERMS, after(0));
        });
        (0..2).for_each(|_| {
            health.probed(true, &TERMS, after(1));
        });
        assert_eq!(health.admission(Repeatable::No, after(1)), Admission::Open);
    }

    #[test]
    fn one_that_comes_back_grows_to_its_share() {
        let mut health = ejected();
        health.begin(after(1000));
        health.succeeded(&TERMS, after(1000));
        let share = |now| health.share(TERMS.slow_start, after(now));
        assert!((share(1000) - 0.1).abs() < 1e-9);
        assert!((share(6000) - 0.5).abs() < 1e-9);
        assert!((share(11_000) - 1.0).abs() < 1e-9);
        assert!((Health::fit().share(TERMS.slow_start, after(0)) - 1.0).abs() < 1e-9);
        assert!((Health::joined(after(0)).share(Duration::ZERO, after(0)) - 1.0).abs() < 1e-9);
    }
}

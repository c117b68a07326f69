use std::ops::RangeInclusive;

use super::health::Admission;
use super::pool::{How, NoBackend, Pool, Wish};

/// What backends of some priorities are able to.
#[derive(Clone, Copy, Debug, Default)]
struct Survey {
    /// The weight of those that are fit.
    able: u64,
    /// The weight of all.
    all: u64,
    /// Whether one that is fit has as many requests as it may have.
    full: bool,
}

impl<T> Pool<T> {
    /// Collects the backends that may get a request; at least one. They are of the first priority of
    /// which enough are fit, or else of any.
    pub(super) fn gather(&self, fit: &mut Vec<usize>, wish: &Wish<'_>) -> Result<How, NoBackend> {
        let mut next = self.priority_after(None);
        while let Some(priority) = next {
            next = self.priority_after(Some(priority));
            let survey = self.survey(fit, wish, priority..=priority);
            if survey.able > 0 && !self.is_panic(&survey) {
                return survey.outcome(fit);
            }
        }
        let survey = self.survey(fit, wish, 0..=u16::MAX);
        if !self.is_panic(&survey) {
            return survey.outcome(fit);
        }
        let has_room = |place: &usize| {
            let backend = &self.backends[*place];
            backend.member.weight > 0 && backend.under_way < self.terms.requests
        };
        fit.clear();
        fit.extend((0..self.backends.len()).filter(has_room));
        if fit.is_empty() {
            Err(NoBackend::Full)
        } else {
            Ok(How::Panic)
        }
    }

    fn priority_after(&self, last: Option<u16>) -> Option<u16> {
        let priorities = self.backends.iter().map(|backend| backend.member.priority);
        priorities
            .filter(|priority| last.is_none_or(|last| *priority > last))
            .min()
    }

    /// Collects the backends of these priorities that may get a request.
    fn survey(
        &self,
        fit: &mut Vec<usize>,
        wish: &Wish<'_>,
        priorities: RangeInclusive<u16>,
    ) -> Survey {
        fit.clear();
        let mut survey = Survey::default();
        for (place, backend) in self.backends.iter().enumerate() {
            if !priorities.contains(&backend.member.priority) {
                continue;
            }
            let weight = u64::from(backend.member.weight);
            survey.all += weight;
            let closed = matches!(
                backend.admission(wish.repeatable, wish.now),
                Admission::Closed(_)
            );
            if closed || weight == 0 {
                continue;
            }
            survey.able += weight;
            if backend.under_way < self.terms.requests {
                fit.push(place);
            } else {
                survey.full = true;
            }
        }
        survey
    }

    fn is_panic(&self, survey: &Survey) -> bool {
        survey.able * 100 < survey.all * u64::from(self.terms.panic_percent)
    }
}

impl Survey {
    fn outcome(self, fit: &[usize]) -> Result<How, NoBackend> {
        match (fit.is_empty(), self.full) {
            (false, _) => Ok(How::Fit),
            (true, true) => Err(NoBackend::Full),
            (true, false) => Err(NoBackend::Unfit),
        }
    }
}

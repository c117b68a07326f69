use std::time::Instant;

use super::backend::{Backend, Zone};
use super::health::HealthTerms;
use super::maglev::{Maglev, mix};

/// How one of the backends that may get a request is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// Of two drawn by weight, the one at which a request would wait less: the mean time of its
    /// answers, which leans to the slowest, times the requests under way.
    #[default]
    Latency,
    /// The one with the fewest requests under way for its weight.
    LeastRequests,
    /// Each in turn, as often as its weight says.
    RoundRobin,
    /// The one that a key of the request belongs to by Maglev hashing, unless it has a quarter more
    /// requests under way than its share. A request without a key is sent by [`Choice::Latency`].
    Hash,
}

/// One choice: what there is to choose from, and by what.
#[derive(Debug)]
pub(super) struct Chooser<'a> {
    pub(super) backends: &'a mut [Backend],
    /// Places of backends that may get the request; not empty.
    pub(super) fit: &'a [usize],
    pub(super) terms: &'a HealthTerms,
    pub(super) draw: Draw,
    pub(super) now: Instant,
}

/// Random numbers that follow from one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draw(pub(super) u64);

impl Chooser<'_> {
    /// The backend that would make a request wait less, of two.
    pub(super) fn by_latency(&mut self) -> usize {
        let (first, second) = (self.drawn(), self.drawn());
        let wait = |place: usize| self.backends[place].wait(self.now);
        if wait(second) < wait(first) {
            second
        } else {
            first
        }
    }

    /// The backend with the fewest requests for its weight; of several, one by chance.
    pub(super) fn by_requests(&mut self) -> usize {
        let first = self.draw.below(self.fit.len());
        let (before, after) = self.fit.split_at(first);
        let load = |place: usize| {
            let requests = f64::from(self.backends[place].under_way) + 1.0;
            requests / self.weight(place)
        };
        let mut best = self.fit[first];
        for &place in after.iter().chain(before) {
            if load(place) < load(best) {
                best = place;
            }
        }
        best
    }

    /// The backend that is owed most: each is owed its weight at every turn.
    pub(super) fn by_turn(&mut self) -> usize {
        let mut total = 0.0;
        let mut best = self.fit[0];
        for &place in self.fit {
            let weight = self.weight(place);
            total += weight;
            self.backends[place].turn += weight;
            if self.backends[place].turn > self.backends[best].turn {
                best = place;
            }
        }
        self.backends[best].turn -= total;
        best
    }

    /// The backend that a key belongs to, or the next one for it that has no more than its share.
    pub(super) fn by_key(&mut self, table: &Maglev, key: u64) -> usize {
        let requests: f64 = self.sum(|backend| f64::from(backend.under_way)) + 1.0;
        let weights: f64 = self.sum(|backend| f64::from(backend.member.weight));
        let has_room = |place: usize| {
            let backend = &self.backends[place];
            let share = requests * f64::from(backend.member.weight) / weights.max(1.0);
            f64::from(backend.under_way) < (share * BOUND).ceil()
        };
        let steps = self.backends.len().saturating_mul(STEPS);
        table
            .candidates(key)
            .take(steps)
            .find(|place| self.fit.contains(place) && has_room(*place))
            .unwrap_or_else(|| self.by_requests())
    }

    fn weight(&self, place: usize) -> f64 {
        let weight = self.backends[place].weight(self.terms, self.now);
        weight.max(f64::MIN_POSITIVE)
    }

    fn sum(&self, of: impl Fn(&Backend) -> f64) -> f64 {
        self.fit
            .iter()
            .map(|place| of(&self.backends[*place]))
            .sum()
    }

    /// One by chance, each as likely as its weight says.
    fn drawn(&mut self) -> usize {
        let all = self
            .fit
            .iter()
            .map(|place| self.weight(*place))
            .sum::<f64>();
        let mut left = self.draw.fraction() * all;
        for &place in self.fit {
            left -= self.weight(place);
            if left < 0.0 {
                return place;
            }
        }
        self.fit[self.fit.len() - 1]
    }
}

/// Leaves those of the own zone, or those elsewhere for as much as the own zone cannot bear.
///
/// The own zone bears everything while at least five sevenths of its weight are fit: the others of it
/// take up to 1.4 times their share.
pub(super) fn keep_to_zone(fit: &mut Vec<usize>, backends: &[Backend], draw: &mut Draw) {
    let own = |place: &usize| backends[*place].member.zone == Zone::Own;
    let (here, elsewhere) = (fit.iter().any(own), fit.iter().any(|place| !own(place)));
    if !here || !elsewhere {
        return;
    }
    let weight = |place: usize| f64::from(backends[place].member.weight);
    let able: f64 = fit
        .iter()
        .filter(|place| own(place))
        .map(|place| weight(*place))
        .sum();
    let whole: f64 = (0..backends.len()).filter(own).map(weight).sum();
    let borne = able / whole.max(1.0) * MORE_THAN_SHARE;
    let stays = draw.fraction() < borne;
    fit.retain(|place| own(place) == stays);
}

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = mix(self.0);
        self.0
    }

    /// At least 0 and less than 1.
    fn fraction(&mut self) -> f64 {
        let high = u32::try_from(self.next() >> 32).unwrap_or_default();
        f64::from(high) / (f64::from(u32::MAX) + 1.0)
    }

    /// Less than that; 0 of nothing.
    fn below(&mut self, count: usize) -> usize {
        let below = self.next() % u64::try_from(count.max(1)).unwrap_or(u64::MAX);
        usize::try_from(below).unwrap_or_default()
    }
}

/// How much more than its share of what is under way a backend may have for its keys.
const BOUND: f64 = 1.25;
/// Slots of the table that are looked at for each backend, before the choice is by requests.
const STEPS: usize = 8;
/// How much more than its share a zone's backends take for each other.
const MORE_THAN_SHARE: f64 = 1.4;

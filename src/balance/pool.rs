use std::time::{Duration, Instant};

use super::backend::{Backend, BackendState, Member};
use super::choose::{Choice, Chooser, Draw, keep_to_zone};
use super::health::{Admission, Health, HealthTerms, Repeatable, Unfit};
use super::maglev::Maglev;
use super::outlier::{Interval, OutlierTerms, Record, outliers};

/// The backends of a pool, each with what its caller needs to reach it.
#[derive(Debug)]
pub struct Pool<T> {
    pub(super) terms: PoolTerms,
    pub(super) backends: Vec<Backend>,
    handles: Vec<(BackendId, T)>,
    next_id: u64,
    table: Option<Maglev>,
    interval: Interval,
    /// Kept from choice to choice, so that none needs memory of its own.
    fit: Vec<usize>,
}

/// How a pool chooses, and what it asks of backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolTerms {
    /// How one is chosen.
    pub choice: Choice,
    /// When one gets no requests, and when it does again.
    pub health: HealthTerms,
    /// How much worse than the others one may be.
    pub outlier: OutlierTerms,
    /// With less than this of a hundred parts of all weight fit, health counts for nothing: the few
    /// that are fit would break under what comes to all.
    pub panic_percent: u8,
    /// Requests under way to one backend at most.
    pub requests: u32,
}

/// Names a backend for as long as a pool has it, and no other afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BackendId(u64);

/// What is known of a request that needs a backend.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// When.
    pub now: Instant,
    /// A fresh random number.
    pub random: u64,
    /// A hash of what it is to be sent by, for [`Choice::Hash`].
    pub key: Option<u64>,
    /// The identity of the backend that its client was served by, which it goes to while that is fit.
    pub before: Option<u64>,
    /// Backends that have failed it, which it goes to only if there are no others.
    pub tried: &'a [BackendId],
    /// Whether it can go to another backend if the chosen one fails.
    pub repeatable: Repeatable,
}

/// A choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picked {
    /// Which backend.
    pub id: BackendId,
    /// By what right.
    pub how: How,
}

/// Why a backend was chosen that way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It is fit.
    Fit,
    /// The request shows whether it is fit again.
    Trial,
    /// Too few are fit, so nobody looks at it.
    Panic,
}

/// Why no backend gets a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoBackend {
    /// All that are fit have as many requests as they may have.
    #[error("every backend has as many requests as it may have")]
    Full,
    /// None is fit, or there is none.
    #[error("no backend is fit")]
    Unfit,
}

/// What a request came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An answer began after this time.
    Good(Duration),
    /// The application failed at this request, after this time, and may do well with others.
    Error(Duration),
    /// The backend failed: it could not be reached, broke off, did not answer in time, or says that it
    /// is unable.
    Failed,
}

/// A change of what a backend gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It gets no more requests.
    Out(BackendId, Unfit),
    /// It gets requests again.
    Back(BackendId),
}

impl<T> Pool<T> {
    /// Makes a pool of backends that are fit until something else is known.
    pub fn new(
        terms: PoolTerms,
        members: impl IntoIterator<Item = (Member, T)>,
        now: Instant,
    ) -> Self {
        let mut pool = Self {
            terms,
            backends: Vec::new(),
            handles: Vec::new(),
            next_id: 0,
            table: None,
            interval: Interval::new(now),
            fit: Vec::new(),
        };
        for (member, handle) in members {
            pool.add(Backend::new(member, Health::fit()), handle);
        }
        pool.draw_table();
        pool
    }

    /// Chooses and judges by these from here on.
    pub fn set_terms(&mut self, terms: PoolTerms) {
        self.terms = terms;
        self.draw_table();
    }

    /// Forgets what probes said, when there are none any more.
    pub fn unprobed(&mut self, now: Instant) {
        for backend in &mut self.backends {
            backend.health.unprobed(now);
        }
    }

    /// Makes the pool consist of these. One whose identity is known keeps its name and its state; a new
    /// one grows into its share, unless the pool had none; one that is not among them gets nothing more.
    pub fn replace(&mut self, members: impl IntoIterator<Item = (Member, T)>, now: Instant) {
        let mut known: Vec<_> = self
            .backends
            .drain(..)
            .zip(self.handles.drain(..))
            .collect();
        let first = known.is_empty();
        for (member, handle) in members {
            let same = |(backend, _): &(Backend, _)| backend.member.identity == member.identity;
            match known.iter().position(same) {
                Some(place) => {
                    let (mut backend, (id, _)) = known.swap_remove(place);
                    backend.member = member;
                    self.backends.push(backend);
                    self.handles.push((id, handle));
                }
                None if first => self.add(Backend::new(member, Health::fit()), handle),
                None => self.add(Backend::new(member, Health::joined(now)), handle),
            }
        }
        self.draw_table();
    }

    /// Chooses a backend and takes a place at it, which [`Pool::end`] gives back.
    ///
    /// # Errors
    /// [`NoBackend`] if none may get the request.
    pub fn pick(&mut self, wish: &Wish<'_>) -> Result<(Picked, &T), NoBackend> {
        let (place, how) = self.choose(wish)?;
        self.backends[place].under_way += 1;
        self.backends[place].health.begin(wish.now);
        let (id, handle) = &self.handles[place];
        Ok((Picked { id: *id, how }, handle))
    }

    /// Notes what a request came to. Gives what changes by it.
    pub fn tell(&mut self, id: BackendId, answer: Answer, now: Instant) -> Option<Change> {
        let terms = self.terms.health;
        let backend = self.find(id)?;
        let was = backend.health.unfit();
        match answer {
            Answer::Good(took) => {
                backend.latency.observe(took, now);
                backend.record.note(false, Some(took));
                backend.health.succeeded(&terms, now);
            }
            Answer::Error(took) => {
                backend.latency.observe(took, now);
                backend.record.note(true, None);
                backend.health.erred(now);
            }
            Answer::Failed => {
                backend.record.note(true, None);
                backend.health.failed(&terms, now);
            }
        }
        change(id, was, backend.health.unfit())
    }

    /// Gives the place of a request back, told or not.
    pub fn end(&mut self, id: BackendId) {
        if let Some(backend) = self.find(id) {
            backend.under_way = backend.under_way.saturating_sub(1);
            if backend.under_way == 0 {
                backend.health.untold();
            }
        }
    }

    /// Notes the outcome of a probe. Gives what changes by it.
    pub fn probed(&mut self, id: BackendId, well: bool, now: Instant) -> Option<Change> {
        let terms = self.terms.health;
        let backend = self.find(id)?;
        let was = backend.health.unfit();
        backend.health.probed(well, &terms, now);
        change(id, was, backend.health.unfit())
    }

    /// Compares the backends with each other, if it is time to, and ejects those that are much worse
    /// than the median. Gives what changes by it.
    pub fn review(&mut self, now: Instant) -> Vec<Change> {
        if !self.interval.is_over(&self.terms.outlier, now) {
            return Vec::new();
        }
        let taken = |backend: &mut Backend| std::mem::take(&mut backend.record);
        let records: Vec<Record> = self.backends.iter_mut().map(taken).collect();
        let mut changes = Vec::new();
        for (place, reason) in outliers(&self.terms.outlier, &records) {
            let health = &mut self.backends[place].health;
            if health.unfit().is_none() {
                health.eject(reason, &self.terms.health, now);
                changes.push(Change::Out(self.handles[place].0, reason));
            }
        }
        changes
    }

    /// Every backend with its state, in the order in which they were given.
    pub fn states(&self, now: Instant) -> impl Iterator<Item = (BackendId, &T, BackendState)> {
        let terms = &self.terms.health;
        self.handles
            .iter()
            .zip(&self.backends)
            .map(move |((id, handle), backend)| (*id, handle, backend.state(terms, now)))
    }

    /// What reaches a backend, while the pool has it.
    pub fn handle(&self, id: BackendId) -> Option<&T> {
        let known = self.handles.iter().find(|(known, _)| *known == id);
        known.map(|(_, handle)| handle)
    }

    /// How many backends it has.
    pub fn len(&self) -> usize {
        self.backends.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.backends.is_empty()
    }

    fn choose(&mut self, wish: &Wish<'_>) -> Result<(usize, How), NoBackend> {
        let mut fit = std::mem::take(&mut self.fit);
        let chosen = self.choose_of(&mut fit, wish);
        self.fit = fit;
        chosen
    }

    fn choose_of(
        &mut self,
        fit: &mut Vec<usize>,
        wish: &Wish<'_>,
    ) -> Result<(usize, How), NoBackend> {
        let how = self.gather(fit, wish)?;
        let tried = |place: &usize| wish.tried.contains(&self.handles[*place].0);
        if !fit.iter().all(tried) {
            fit.retain(|place| !tried(place));
        }
        let on_trial = |place: &&usize| {
            let admission = self.backends[**place].admission(wish.repeatable, wish.now);
            admission == Admission::Trial
        };
        // A trial is one request, and the sooner it is made, the sooner the backend is back.
        if how == How::Fit
            && let Some(place) = fit.iter().find(on_trial)
        {
            return Ok((*place, How::Trial));
        }
        let before = |place: &&usize| Some(self.backends[**place].member.identity) == wish.before;
        if let Some(place) = fit.iter().find(before) {
            return Ok((*place, how));
        }
        let mut draw = Draw(wish.random);
        keep_to_zone(fit, &self.backends, &mut draw);
        let mut chooser = Chooser {
            backends: &mut self.backends,
            fit,
            terms: &self.terms.health,
            draw,
            now: wish.now,
        };
        let place = match (self.terms.choice, &self.table, wish.key) {
            (Choice::RoundRobin, ..) => chooser.by_turn(),
            (Choice::LeastRequests, ..) => chooser.by_requests(),
            (Choice::Hash, Some(table), Some(key)) => chooser.by_key(table, key),
            (Choice::Hash | Choice::Latency, ..) => chooser.by_latency(),
        };
        Ok((place, how))
    }

    fn add(&mut self, backend: Backend, handle: T) {
        self.backends.push(backend);
        self.handles.push((BackendId(self.next_id), handle));
        self.next_id += 1;
    }

    fn draw_table(&mut self) {
        let shares = |backend: &Backend| (backend.member.identity, backend.member.weight);
        self.table = (self.terms.choice == Choice::Hash)
            .then(|| Maglev::new(&self.backends.iter().map(shares).collect::<Vec<_>>()));
    }

    fn find(&mut self, id: BackendId) -> Option<&mut Backend> {
        let place = self.handles.iter().position(|(known, _)| *known == id)?;
        self.backends.get_mut(place)
    }
}

impl Default for PoolTerms {
    fn default() -> Self {
        Self {
            choice: Choice::default(),
            health: HealthTerms::default(),
            outlier: OutlierTerms::default(),
            panic_percent: 25,
            requests: 4096,
        }
    }
}

fn change(id: BackendId, was: Option<Unfit>, is: Option<Unfit>) -> Option<Change> {
    match (was, is) {
        (None, Some(reason)) => Some(Change::Out(id, reason)),
        (Some(_), None) => Some(Change::Back(id)),
        _ => None,
    }
}

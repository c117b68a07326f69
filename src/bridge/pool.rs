//! A pool of backends as requests meet it: a place at one of them, a queue for places, and a budget for
//! trying again.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::members::{Probed, Source};
use super::probe::ProbeFailed;
use super::supply::Supply;
use super::tend::Tending;
use super::upstream::Upstream;
use super::waiting::Waiting;
use crate::balance::{
    Answer, BackendId, Change, How, NoBackend, Patience, Repeatable, RetryBudget, Wish,
};
use crate::config;
use crate::request::{RequestError, clock};
use crate::telemetry::{Metrics, PoolLabel, PoolReason};

/// Backends any of which can serve any request, and who waits for one.
#[derive(Debug)]
pub(super) struct Pool {
    /// What the configuration calls it.
    pub(super) name: String,
    pub(super) config: ArcSwap<config::Pool>,
    state: Mutex<State>,
    /// Whether it is known which backends there are.
    pub(super) settled: watch::Sender<bool>,
    pub(super) tasks: Mutex<Option<Tending>>,
    pub(super) metrics: Metrics,
}

/// A place at a backend, which is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    pool: Arc<Pool>,
    id: BackendId,
    pub(super) upstream: Arc<Upstream>,
    since: Instant,
    /// Not to be given back by the drop.
    returned: bool,
}

/// What a request is sent by.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// The hash of what it is to be sent by.
    pub(super) key: Option<u64>,
    /// The identity of the backend that served its client before.
    pub(super) before: Option<u64>,
    /// Backends that it has failed at.
    pub(super) tried: Vec<BackendId>,
    pub(super) repeatable: Repeatable,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) backends: crate::balance::Pool<Arc<Upstream>>,
    pub(super) sources: Vec<Source>,
    pub(super) supply: Supply,
    pub(super) probed: HashMap<BackendId, Probed>,
    pub(super) budget: RetryBudget,
    pub(super) patience: Patience,
    pub(super) standing: Standing,
    waiting: VecDeque<Waiter>,
    random: u64,
}

/// Whether new requests are led to a pool. Another pool of its name may be the one that has them, before
/// this takes over or after it was retired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Apart,
    InUse,
}

/// A request that waits until a place is free.
#[derive(Debug)]
struct Waiter {
    asked: Asked,
    since: Instant,
    place: oneshot::Sender<Result<Place, RequestError>>,
}

impl Pool {
    /// Makes a pool in which all backends are fit; `seed` is random.
    pub(super) fn new(
        config: config::Pool,
        sources: Vec<Source>,
        supply: Supply,
        (seed, metrics): (u64, &Metrics),
    ) -> Self {
        let now = now();
        let terms = config.terms(supply.limits.upstream_requests);
        let mut state = State {
            backends: crate::balance::Pool::new(terms, [], now),
            sources,
            supply,
            probed: HashMap::new(),
            budget: RetryBudget::new(config.retry.budget, now),
            patience: Patience::new(config.queue, now),
            standing: Standing::Apart,
            waiting: VecDeque::new(),
            random: seed,
        };
        state.assemble(HashMap::new(), now);
        Self {
            name: config.name.clone(),
            config: ArcSwap::from_pointee(config),
            settled: watch::Sender::new(state.is_settled()),
            state: Mutex::new(state),
            tasks: Mutex::default(),
            metrics: metrics.clone(),
        }
    }

    /// What it is held to now; a request keeps to the end what it began with.
    pub(super) fn config(&self) -> Arc<config::Pool> {
        self.config.load_full()
    }

    /// Takes a place at a backend, and waits for one if all are taken.
    ///
    /// # Errors
    /// [`RequestError::NoBackend`] if no backend is fit, [`RequestError::Overloaded`] if no place has
    /// become free while the request may wait.
    pub(super) async fn place(self: &Arc<Self>, asked: &Asked) -> Result<Place, RequestError> {
        if !*self.settled.borrow() {
            self.first_answer().await?;
        }
        let (waiting, bound) = {
            let mut state = self.lock();
            let now = now();
            self.review(&mut state, now);
            if state.waiting.is_empty() {
                match state.pick(self, asked, now) {
                    Ok(place) => return Ok(place),
                    Err(NoBackend::Unfit) => return Err(state.refusal()),
                    Err(NoBackend::Full) => {}
                }
            }
            state.waiting.retain(|waiter| !waiter.place.is_closed());
            if state.waiting.is_empty() {
                state.patience.emptied(now);
            }
            let bound = self.config.load().queue.burst;
            if bound.is_zero() || state.waiting.len() >= MAX_WAITING {
                return Err(RequestError::Overloaded);
            }
            let (place, waiting) = oneshot::channel();
            state.waiting.push_back(Waiter {
                asked: asked.clone(),
                since: now,
                place,
            });
            (waiting, bound)
        };
        let _counted = Waiting::new(self);
        match timeout(bound, waiting).await {
            Ok(Ok(place)) => place,
            Ok(Err(_)) | Err(_) => Err(RequestError::Overloaded),
        }
    }

    /// Waits until it is known which backends there are.
    async fn first_answer(&self) -> Result<(), RequestError> {
        let mut settled = self.settled.subscribe();
        if self.settled.receiver_count() > MAX_WAITING {
            return Err(RequestError::Overloaded);
        }
        let _counted = Waiting::new(self);
        let limit = self.dns().timeout;
        match timeout(limit, settled.wait_for(|settled| *settled)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(RequestError::DnsTimeout),
        }
    }

    /// Notes a request that is sent for the first time.
    pub(super) fn begin(&self) {
        self.lock().budget.request(now());
    }

    /// Whether one may be sent again; if so, it is counted, and else that there was no budget.
    pub(super) fn may_retry(&self, reason: &'static str) -> bool {
        let granted = self.lock().budget.retry(now());
        let reason = if granted { reason } else { "no_budget" };
        let retries = &self.metrics.pools.retries;
        retries.get_or_create(&self.label(reason)).inc();
        granted
    }

    /// Notes the outcome of a probe.
    pub(super) fn probed(self: &Arc<Self>, id: BackendId, outcome: &Result<(), ProbeFailed>) {
        let mut state = self.lock();
        let (at, well) = (now(), outcome.is_ok());
        if state.backends.handle(id).is_some() {
            let outcome = outcome.as_ref().map_or_else(ProbeFailed::name, |()| "ok");
            state.probed.insert(id, Probed { at, outcome });
        }
        let change = state.backends.probed(id, well, at);
        self.changed(&state, change);
        if well {
            state.serve(self);
        }
    }

    /// From a half to all, by chance.
    pub(super) fn part(&self) -> f64 {
        let random = self.lock().draw();
        0.5 + f64::from((random >> 32) as u32) / f64::from(u32::MAX) / 2.0
    }

    fn tell(&self, id: BackendId, answer: Answer) {
        let mut state = self.lock();
        let change = state.backends.tell(id, answer, now());
        self.changed(&state, change);
    }

    fn release(self: &Arc<Self>, id: BackendId) {
        let mut state = self.lock();
        state.backends.end(id);
        state.serve(self);
    }

    fn review(&self, state: &mut State, now: Instant) {
        for change in state.backends.review(now) {
            self.changed(state, Some(change));
        }
    }

    /// Counts and logs what has become of a backend.
    fn changed(&self, state: &State, change: Option<Change>) {
        let Some(change) = change else { return };
        let name = |id| -> &str {
            let upstream = state.backends.handle(id);
            upstream.map_or("", |upstream| &*upstream.name)
        };
        match change {
            Change::Out(id, reason) => {
                let reason = reason.name();
                let ejections = &self.metrics.pools.ejections;
                ejections.get_or_create(&self.label(reason)).inc();
                let backend = name(id);
                tracing::warn!(pool = %self.name, backend, reason, "backend gets no requests");
            }
            Change::Back(id) => {
                let backend = name(id);
                tracing::info!(pool = %self.name, backend, "backend gets requests again");
            }
        }
        self.gauge(state);
    }

    /// Shows how many backends are fit, while it is this pool that has the name.
    pub(super) fn gauge(&self, state: &State) {
        if state.standing != Standing::InUse {
            return;
        }
        let fit = state.backends.states(now());
        let fit = fit.filter(|(.., state)| state.unfit.is_none()).count();
        let gauge = &self.metrics.pools.fit;
        gauge
            .get_or_create(&self.pool_label())
            .set(i64::try_from(fit).unwrap_or(i64::MAX));
    }

    pub(super) fn pool_label(&self) -> PoolLabel {
        PoolLabel {
            pool: self.name.clone(),
        }
    }

    fn label(&self, reason: &'static str) -> PoolReason {
        PoolReason {
            pool: self.name.clone(),
            reason,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn pick(&mut self, pool: &Arc<Pool>, asked: &Asked, now: Instant) -> Result<Place, NoBackend> {
        let wish = Wish {
            now,
            random: self.draw(),
            key: asked.key,
            before: asked.before,
            tried: &asked.tried,
            repeatable: asked.repeatable,
        };
        let (picked, upstream) = self.backends.pick(&wish)?;
        if picked.how == How::Panic {
            let panics = &pool.metrics.pools.panics;
            panics.get_or_create(&pool.pool_label()).inc();
        }
        Ok(Place {
            id: picked.id,
            upstream: Arc::clone(upstream),
            pool: Arc::clone(pool),
            since: now,
            returned: false,
        })
    }

    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(STEP);
        self.random
    }

    /// Gives free places to those who wait, the first first.
    pub(super) fn serve(&mut self, pool: &Arc<Pool>) {
        let now = now();
        let bound = self.patience.bound(now);
        while let Some(waiter) = self.waiting.pop_front() {
            let waited = now.saturating_duration_since(waiter.since);
            let answer = if waited > bound {
                Err(RequestError::Overloaded)
            } else if waiter.place.is_closed() {
                continue;
            } else {
                match self.pick(pool, &waiter.asked, now) {
                    Ok(place) => Ok(place),
                    Err(NoBackend::Unfit) => Err(self.refusal()),
                    Err(NoBackend::Full) => {
                        self.waiting.push_front(waiter);
                        return;
                    }
                }
            };
            if let Err(Ok(mut place)) = waiter.place.send(answer) {
                place.returned = true;
                self.backends.end(place.id);
            }
        }
        self.patience.emptied(now);
    }
}

impl Place {
    /// Notes what the request came to.
    pub(super) fn tell(&self, answer: Answer) {
        self.pool.tell(self.id, answer);
    }

    /// Since the place was taken.
    pub(super) fn age(&self) -> Duration {
        now().saturating_duration_since(self.since)
    }

    pub(super) fn backend(&self) -> BackendId {
        self.id
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.returned {
            self.pool.release(self.id);
        }
    }
}

/// A hash that every node has the same, of what nobody gains by guessing (FNV-1a).
pub(super) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

pub(super) fn now() -> Instant {
    clock::now().into_std()
}

/// Requests that wait for a place in one pool. What waits is bounded in time too, so this is reached
/// by floods only.
const MAX_WAITING: usize = 4096;
/// Odd, so that no number comes again before all others have come.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

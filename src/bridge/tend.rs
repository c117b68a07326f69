//! What goes on for a pool without any request: names are looked up, and backends are probed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::dns::look_up;
use super::members::next_lookup;
use super::pool::{Pool, Standing};
use super::probe::{self, ProbeFailed};
use crate::balance::BackendId;
use crate::config::{Probe, Upstream};

/// The tasks of a pool.
#[derive(Debug, Default)]
pub(super) struct Tending {
    tasks: JoinSet<()>,
    lookups: HashMap<Upstream, AbortHandle>,
    probes: HashMap<BackendId, AbortHandle>,
}

impl Pool {
    /// Begins to look up names and to probe.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub(super) fn start(self: &Arc<Self>) {
        *self.tending() = Some(Tending::default());
        {
            let mut state = self.lock();
            state.standing = Standing::InUse;
            self.gauge(&state);
        }
        self.tend();
    }

    /// Ends that, of a pool that gets no more requests.
    pub(super) fn retire(&self) {
        *self.tending() = None;
        self.lock().standing = Standing::Apart;
        self.metrics.pools.fit.remove(&self.pool_label());
    }

    /// Looks names up at once, as after a change of who is asked.
    pub(super) fn forget_lookups(&self) {
        if let Some(tending) = &mut *self.tending() {
            keep(&mut tending.lookups, |_| false);
        }
    }

    /// Has a task for each name and each backend to be probed, if it has begun.
    pub(super) fn tend(self: &Arc<Self>) {
        let mut tending = self.tending();
        let Some(tending) = &mut *tending else { return };
        while tending.tasks.try_join_next().is_some() {}
        let names = self.names();
        keep(&mut tending.lookups, |name| names.contains(name));
        for name in names {
            let Entry::Vacant(place) = tending.lookups.entry(name) else {
                continue;
            };
            let task = follow(Arc::downgrade(self), place.key().clone());
            place.insert(tending.tasks.spawn(task));
        }
        let probed = match self.config().probe {
            Probe::Off => Vec::new(),
            Probe::Tcp | Probe::Path(_) | Probe::Grpc(_) => self.backends(),
        };
        keep(&mut tending.probes, |id| probed.contains(id));
        for id in probed {
            if let Entry::Vacant(place) = tending.probes.entry(id) {
                let task = watch(Arc::downgrade(self), id);
                place.insert(tending.tasks.spawn(task));
            }
        }
    }

    fn tending(&self) -> MutexGuard<'_, Option<Tending>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the tasks that are not wanted any more.
fn keep<K>(tasks: &mut HashMap<K, AbortHandle>, wanted: impl Fn(&K) -> bool) {
    tasks.retain(|key, task| {
        let stays = wanted(key);
        if !stays {
            task.abort();
        }
        stays
    });
}

/// Looks a name up as long as its pool lives.
async fn follow(pool: Weak<Pool>, name: Upstream) {
    let mut failures = 0;
    loop {
        let Some(dns) = pool.upgrade().map(|pool| pool.dns()) else {
            return;
        };
        let outcome = look_up(&dns, &name).await;
        let Some(pool) = pool.upgrade() else { return };
        pool.answered(&name, &outcome);
        failures = match &outcome {
            Ok(found) if found.missing.is_none() => 0,
            _ => failures + 1,
        };
        let next = next_lookup(&outcome, failures, &dns);
        // Nodes that were started together do not ask together.
        let next = next.mul_f64(0.8 + 0.2 * pool.part());
        drop(pool);
        sleep(next).await;
    }
}

/// Probes a backend as long as its pool has it.
async fn watch(pool: Weak<Pool>, id: BackendId) {
    loop {
        let next = |pool: Arc<Pool>| -> Duration {
            let interval = pool.config().probe_interval;
            // Nodes that were started together do not probe together.
            interval.mul_f64(0.7 + 0.4 * pool.part())
        };
        let Some(next) = pool.upgrade().map(next) else {
            return;
        };
        sleep(next).await;
        let Some(pool) = pool.upgrade() else { return };
        let Some(upstream) = pool.upstream(id) else {
            return;
        };
        let config = pool.config();
        let asked = timeout(config.probe_timeout, probe::ask(&config.probe, &upstream)).await;
        let outcome = asked.unwrap_or(Err(ProbeFailed::Late));
        if let Err(error) = &outcome {
            tracing::debug!(pool = %config.name, backend = %upstream.name, %error, "probe failed");
        }
        pool.probed(id, &outcome);
    }
}

//! Which backends a pool has: those that the configuration names, at the addresses that their names
//! stand for.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::BridgeError;
use super::dns::{Endpoint, Found, LookupError, MAX_ADDRESSES};
use super::pool::{Pool, State, now};
use super::supply::{Supply, fixed_address};
use super::upstream::Upstream;
use crate::balance::{BackendId, Unfit};
use crate::config::{self, Probe};
use crate::request::{BackendReport, ProbeReport, RequestError};
use crate::telemetry::PoolReason;

/// A backend of the configuration, and where it is.
#[derive(Debug)]
pub(super) struct Source {
    backend: config::Backend,
    lookup: Lookup,
    endpoints: Vec<Endpoint>,
}

/// What became of looking up where a backend is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lookup {
    /// It is an address.
    None,
    Pending,
    Found,
    /// It stands for what it stood for before.
    Failed(LookupError),
}

/// What the last probe of a backend came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probed {
    pub(super) at: Instant,
    pub(super) outcome: &'static str,
}

impl Source {
    /// Takes a backend of the configuration.
    ///
    /// # Errors
    /// It is neither `host:port` nor the name of a service.
    pub(super) fn new(backend: &config::Backend) -> Result<Self, BridgeError> {
        let address = fixed_address(&backend.upstream)?;
        Ok(Self {
            backend: backend.clone(),
            lookup: match address {
                Some(_) => Lookup::None,
                None => Lookup::Pending,
            },
            endpoints: address.map(Endpoint::fixed).into_iter().collect(),
        })
    }

    /// What is to be looked up, if anything is.
    pub(super) fn name(&self) -> Option<&config::Upstream> {
        (self.lookup != Lookup::None).then_some(&self.backend.upstream)
    }

    /// Takes over what another knew of the same name.
    fn inherit(&mut self, old: &[Self]) {
        let same = |old: &&Self| old.backend.upstream == self.backend.upstream;
        if let Some(old) = old.iter().find(same) {
            self.lookup = old.lookup;
            self.endpoints.clone_from(&old.endpoints);
        }
    }

    /// Notes an answer; gives whether its addresses differ.
    fn answered(&mut self, outcome: Result<&Found, LookupError>) -> bool {
        let found = match outcome {
            Ok(found) => found,
            Err(error) => {
                self.lookup = Lookup::Failed(error);
                return false;
            }
        };
        let mut endpoints = found.endpoints.clone();
        if let Some(error) = found.missing {
            // Nobody knows whether the others are gone.
            let known = |old: &&Endpoint| endpoints.iter().all(|new| new.address != old.address);
            let kept: Vec<_> = self.endpoints.iter().filter(known).cloned().collect();
            endpoints.extend(kept);
            endpoints.sort_unstable();
            endpoints.truncate(MAX_ADDRESSES);
            self.lookup = Lookup::Failed(error);
        } else {
            self.lookup = Lookup::Found;
        }
        let differ = endpoints != self.endpoints;
        self.endpoints = endpoints;
        differ
    }
}

impl Lookup {
    fn name(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Pending => Some("pending"),
            Self::Found => Some("found"),
            Self::Failed(error) => Some(error.name()),
        }
    }
}

impl Pool {
    /// Follows another configuration. What that does not change goes on as it is.
    pub(super) fn renew(
        self: &Arc<Self>,
        config: config::Pool,
        (sources, supply): (Vec<Source>, Supply),
    ) {
        let asks_anew;
        {
            let mut state = self.lock();
            let now = now();
            state
                .backends
                .set_terms(config.terms(supply.limits.upstream_requests));
            state.budget.set_terms(config.retry.budget);
            state.patience.set_terms(config.queue);
            if config.probe == Probe::Off {
                state.backends.unprobed(now);
                state.probed.clear();
            }
            let old = std::mem::replace(&mut state.sources, sources);
            for source in &mut state.sources {
                source.inherit(&old);
            }
            let reused = supply.makes_the_same(&state.supply);
            asks_anew = supply.dns != state.supply.dns;
            state.supply = supply;
            let known = if reused {
                state.known()
            } else {
                HashMap::new()
            };
            self.config.store(Arc::new(config));
            state.assemble(known, now);
            self.take_effect(&mut state);
        }
        if asks_anew {
            self.forget_lookups();
        }
        self.tend();
    }

    /// Notes what looking up a name came to.
    pub(super) fn answered(
        self: &Arc<Self>,
        upstream: &config::Upstream,
        outcome: &Result<Found, LookupError>,
    ) {
        self.count(outcome);
        let differs = {
            let mut guard = self.lock();
            let state = &mut *guard;
            let mut sources = state.sources.iter_mut();
            let Some(source) = sources.find(|source| source.name() == Some(upstream)) else {
                return;
            };
            let was = source.lookup;
            let differs = source.answered(outcome.as_ref().map_err(|error| *error));
            let (name, addresses) = (&*upstream.authority, source.endpoints.len());
            let pool = &*self.name;
            match (source.lookup, differs) {
                (Lookup::Failed(error), _) if was != source.lookup => {
                    tracing::warn!(pool, name, addresses, %error, "a name has no whole answer");
                }
                (_, true) => tracing::info!(pool, name, addresses, "backends have changed"),
                (is, false) if was != is => tracing::info!(pool, name, "a name is answered again"),
                _ => {}
            }
            if differs {
                let known = state.known();
                state.assemble(known, now());
            }
            self.take_effect(state);
            differs
        };
        if differs {
            self.tend();
        }
    }

    /// Every backend.
    pub(super) fn backends(&self) -> Vec<BackendId> {
        let state = self.lock();
        state.backends.states(now()).map(|(id, ..)| id).collect()
    }

    /// What reaches a backend, while the pool has it.
    pub(super) fn upstream(&self, id: BackendId) -> Option<Arc<Upstream>> {
        self.lock().backends.handle(id).map(Arc::clone)
    }

    /// Every name that is to be looked up.
    pub(super) fn names(&self) -> Vec<config::Upstream> {
        let state = self.lock();
        let names = state.sources.iter().filter_map(Source::name);
        names.cloned().collect()
    }

    /// How names are looked up now.
    pub(super) fn dns(&self) -> config::Dns {
        self.lock().supply.dns.clone()
    }

    /// How every backend does, and every name that stands for none.
    pub(super) fn reports(&self) -> Vec<BackendReport> {
        let state = self.lock();
        let now = now();
        let lookups: HashMap<u64, Lookup> = state.lookups().collect();
        let reports = state
            .backends
            .states(now)
            .map(|(id, upstream, how)| BackendReport {
                unfit: how.unfit.map(Unfit::name),
                under_way: how.under_way,
                latency: how.latency,
                probe: state.probed.get(&id).map(|probed| ProbeReport {
                    outcome: probed.outcome,
                    ago: now.saturating_duration_since(probed.at),
                }),
                dns: lookups
                    .get(&upstream.identity)
                    .and_then(|lookup| lookup.name()),
                name: Arc::clone(&upstream.host),
                ..BackendReport::new(&self.name, Arc::clone(&upstream.name))
            });
        let without = state.sources.iter().filter(|it| it.endpoints.is_empty());
        let without = without.map(|source| {
            let name: Arc<str> = source.backend.upstream.authority.as_str().into();
            BackendReport {
                unfit: Some("unresolved"),
                dns: source.lookup.name(),
                ..BackendReport::new(&self.name, name)
            }
        });
        reports.chain(without).collect()
    }

    /// Lets everybody know which backends there are.
    fn take_effect(self: &Arc<Self>, state: &mut State) {
        self.settled.send_replace(state.is_settled());
        state.serve(self);
        self.gauge(state);
    }

    fn count(&self, outcome: &Result<Found, LookupError>) {
        let reason = match outcome {
            Ok(Found { missing: None, .. }) => "found",
            Ok(Found {
                missing: Some(error),
                ..
            })
            | Err(error) => error.name(),
        };
        let lookups = &self.metrics.pools.lookups;
        let label = |reason| PoolReason {
            pool: self.name.clone(),
            reason,
        };
        lookups.get_or_create(&label(reason)).inc();
        if let Ok(Found { beyond, .. }) = outcome
            && *beyond > 0
        {
            lookups.get_or_create(&label("too_many")).inc();
        }
    }
}

impl State {
    /// Makes the pool consist of what its sources stand for.
    pub(super) fn assemble(&mut self, mut known: HashMap<u64, Arc<Upstream>>, now: Instant) {
        let mut seen = HashSet::new();
        let mut members = Vec::new();
        for source in &self.sources {
            for endpoint in &source.endpoints {
                let member = self.supply.member(&source.backend, endpoint);
                if seen.insert(member.identity) {
                    let upstream = known.remove(&member.identity).map_or_else(
                        || {
                            self.supply
                                .upstream(&source.backend, endpoint)
                                .map(Arc::new)
                        },
                        Ok,
                    );
                    match upstream {
                        Ok(upstream) => members.push((member, upstream)),
                        // What the configuration names was checked; a record may name anything.
                        Err(error) => tracing::warn!(%error, "a backend is left out"),
                    }
                }
            }
        }
        self.backends.replace(members, now);
        let left: HashSet<BackendId> = self.backends.states(now).map(|(id, ..)| id).collect();
        self.probed.retain(|id, _| left.contains(id));
    }

    /// What became of looking up each backend, by its identity.
    fn lookups(&self) -> impl Iterator<Item = (u64, Lookup)> {
        self.sources.iter().flat_map(|source| {
            source.endpoints.iter().map(|endpoint| {
                let member = self.supply.member(&source.backend, endpoint);
                (member.identity, source.lookup)
            })
        })
    }

    fn known(&self) -> HashMap<u64, Arc<Upstream>> {
        let states = self.backends.states(now());
        states
            .map(|(_, upstream, _)| (upstream.identity, Arc::clone(upstream)))
            .collect()
    }

    /// Whether it has backends, or will have none for now.
    pub(super) fn is_settled(&self) -> bool {
        let pending = |source: &Source| source.lookup == Lookup::Pending;
        !self.backends.is_empty() || !self.sources.iter().any(pending)
    }

    /// Why a request gets no backend.
    pub(super) fn refusal(&self) -> RequestError {
        let failed = self.sources.iter().find_map(|source| match source.lookup {
            Lookup::Failed(error) => Some(error),
            _ => None,
        });
        match failed.filter(|_| self.backends.is_empty()) {
            Some(LookupError::Timeout) => RequestError::DnsTimeout,
            Some(LookupError::Empty | LookupError::Failed) => RequestError::DnsError,
            None => RequestError::NoBackend,
        }
    }
}

impl Endpoint {
    fn fixed(address: std::net::SocketAddr) -> Self {
        Self {
            priority: 0,
            address,
            weight: None,
            host: None,
        }
    }
}

/// The time until a name is looked up again, without the random part.
pub(super) fn next_lookup(
    outcome: &Result<Found, LookupError>,
    failures: u32,
    dns: &config::Dns,
) -> Duration {
    let max = dns.max_ttl.max(dns.min_ttl);
    match outcome {
        Ok(found) if found.missing.is_none() => found.ttl.clamp(dns.min_ttl, max),
        _ => {
            let doubled = dns
                .min_ttl
                .saturating_mul(1 << failures.saturating_sub(1).min(16));
            doubled.min(max)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::UpstreamProtocol;

    fn source() -> Source {
        let backend = config::Backend::new(config::Upstream {
            protocol: UpstreamProtocol::Http1,
            authority: "app.test:80".into(),
        });
        Source::new(&backend).unwrap()
    }

    fn found(addresses: &[&str], missing: Option<LookupError>) -> Found {
        let endpoint = |text: &&str| Endpoint::fixed(text.parse().unwrap());
        Found {
            endpoints: addresses.iter().map(endpoint).collect(),
            ttl: Duration::from_secs(5),
            missing,
            beyond: 0,
        }
    }

    fn addresses(source: &Source) -> Vec<String> {
        let endpoints = source.endpoints.iter();
        endpoints.map(|it| it.address.to_string()).collect()
    }

    #[test]
    fn an_answer_replaces_the_addresses_and_a_failed_one_does_not() {
        let mut source = source();
        assert!(source.answered(Ok(&found(&["192.0.2.1:80", "192.0.2.2:80"], None))));
        assert!(!source.answered(Err(LookupError::Empty)));
        assert_eq!(source.lookup, Lookup::Failed(LookupError::Empty));
        assert_eq!(addresses(&source), ["192.0.2.1:80", "192.0.2.2:80"]);
        assert!(source.answered(Ok(&found(&["192.0.2.2:80"], None))));
        assert_eq!(addresses(&source), ["192.0.2.2:80"]);
        assert!(!source.answered(Ok(&found(&["192.0.2.2:80"], None))));
    }

    #[test]
    fn an_answer_of_which_a_part_is_missing_takes_no_address_away() {
        let mut source = source();
        source.answered(Ok(&found(&["192.0.2.1:80", "[2001:db8::1]:80"], None)));
        let part = found(&["192.0.2.2:80"], Some(LookupError::Timeout));
        assert!(source.answered(Ok(&part)));
        let all = ["192.0.2.1:80", "192.0.2.2:80", "[2001:db8::1]:80"];
        assert_eq!(addresses(&source), all);
        assert_eq!(source.lookup, Lookup::Failed(LookupError::Timeout));
    }

    #[test]
    fn names_are_asked_for_by_their_ttl_within_bounds_and_with_patience_after_failures() {
        let dns = config::Dns::default();
        let after = |seconds| {
            let ttl = Duration::from_secs(seconds);
            let found = Found {
                ttl,
                ..found(&["192.0.2.1:80"], None)
            };
            next_lookup(&Ok(found), 0, &dns).as_secs()
        };
        assert_eq!([0, 1, 7, 60, 86_400].map(after), [1, 1, 7, 60, 60]);
        let failed = |failures| {
            let outcome = Err(LookupError::Timeout);
            next_lookup(&outcome, failures, &dns).as_secs()
        };
        assert_eq!([1, 2, 3, 6, 7, u32::MAX].map(failed), [1, 2, 4, 32, 60, 60]);
        let part = found(&["192.0.2.1:80"], Some(LookupError::Failed));
        assert_eq!(next_lookup(&Ok(part), 2, &dns).as_secs(), 2);
    }
}

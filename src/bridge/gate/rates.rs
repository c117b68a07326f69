use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use crate::balance::{ClientBuckets, ClientKey, ClientPrefixes, RateLimit, RateTerms, TooMany};
use crate::config;
use crate::request::{RequestError, clock};
use crate::telemetry::{GateMetrics, RateLabel, RouteLabel};

/// The rates of one route: that of each client, and that of all together.
#[derive(Debug)]
pub(super) struct Rates {
    clients: Option<Clients>,
    route: Option<(Mutex<RateLimit>, Counter)>,
}

/// All that rates follow from. While it is the same, they go on over reloads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RatesOf {
    /// Its host, or `*`, and its path, which no other route has.
    route: String,
    clients: Option<(RateTerms, ClientPrefixes, u32)>,
    all: Option<RateTerms>,
}

/// The clients of a route, in parts with a lock each.
#[derive(Debug)]
struct Clients {
    parts: Box<[Mutex<ClientBuckets>]>,
    prefixes: ClientPrefixes,
    seed: u64,
    refused: Counter,
    used: Gauge,
    displaced: Counter,
}

impl RatesOf {
    pub(super) fn new(route: &config::Route, (prefixes, clients): (ClientPrefixes, u32)) -> Self {
        Self {
            route: format!("{}{}", route.host.as_deref().unwrap_or("*"), route.path),
            clients: route
                .gate
                .client_terms()
                .map(|terms| (terms, prefixes, clients)),
            all: route.gate.rate_terms(),
        }
    }

    /// Whether there is anything to count.
    pub(super) fn any(&self) -> bool {
        self.clients.is_some() || self.all.is_some()
    }
}

impl Rates {
    pub(super) fn new(of: &RatesOf, metrics: &GateMetrics, seed: u64) -> Self {
        let refused = |limit| {
            let route = of.route.clone();
            let label = RateLabel { route, limit };
            metrics.rate_limited.get_or_create(&label).clone()
        };
        let label = RouteLabel {
            route: of.route.clone(),
        };
        let now = clock::now().into_std();
        Self {
            clients: of.clients.map(|(terms, prefixes, clients)| Clients {
                parts: (0..PARTS)
                    .map(|_| ClientBuckets::new(terms, clients.div_ceil(PARTS), seed, now))
                    .map(Mutex::new)
                    .collect(),
                prefixes,
                seed,
                refused: refused("client"),
                used: metrics.rate_clients.get_or_create(&label).clone(),
                displaced: metrics.rate_displaced.get_or_create(&label).clone(),
            }),
            route: of
                .all
                .map(|terms| (Mutex::new(RateLimit::new(terms, now)), refused("route"))),
        }
    }

    /// Counts a request for its client, and if that may send it, for the route.
    pub(super) fn count(&self, address: IpAddr) -> Result<(), RequestError> {
        let limited = |TooMany { after }| RequestError::RateLimited { after };
        if let Some(clients) = &self.clients {
            clients.take(address).map_err(limited)?;
        }
        if let Some((limit, refused)) = &self.route {
            let taken = lock(limit).take(clock::now().into_std());
            taken.map_err(|many| {
                refused.inc();
                limited(many)
            })?;
        }
        Ok(())
    }
}

impl Clients {
    fn take(&self, address: IpAddr) -> Result<(), TooMany> {
        let client = ClientKey::new(address, self.prefixes);
        let part = client.hash(self.seed) >> (u64::BITS - PARTS.trailing_zeros());
        let part = &self.parts[usize::try_from(part).unwrap_or_default()];
        let mut part = lock(part);
        let before = part.used();
        let counted = part.take(client, clock::now().into_std());
        let more = part.used() - before;
        drop(part);
        self.used.inc_by(i64::try_from(more).unwrap_or_default());
        self.displaced.inc_by(counted.displaced.into());
        counted.verdict.inspect_err(|_many| {
            self.refused.inc();
        })
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        let used: usize = self.parts.iter().map(|part| lock(part).used()).sum();
        self.used.dec_by(i64::try_from(used).unwrap_or_default());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A power of two, and more than there are workers.
const PARTS: u32 = 64;

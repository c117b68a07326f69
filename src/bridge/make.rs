//! From the configuration to routes and pools.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::rand;

use super::BridgeError;
use super::answer::Answer;
use super::dressing::Dressing;
use super::gate::Gates;
use super::members::Source;
use super::pool::Pool;
use super::route::{Destination, Route};
use super::routes::Routes;
use super::supply::{Common, Supply};
use super::udp::UdpRoute;
use crate::config::{self, Config};
use crate::telemetry::Metrics;

/// Makes routes and pools from a configuration.
pub(super) struct Maker<'a> {
    config: &'a Config,
    metrics: &'a Metrics,
    supply: Common,
    /// The pools that there are already.
    old: &'a [Named],
    pools: Vec<Named>,
    changes: Vec<Change>,
}

/// A pool, and what it is known by from one configuration to the next.
#[derive(Clone, Debug)]
pub(super) struct Named {
    key: Key,
    pub(super) pool: Arc<Pool>,
}

impl Named {
    pub(super) fn pool(&self) -> Arc<Pool> {
        Arc::clone(&self.pool)
    }
}

/// What a pool is known by. One that a route has for itself is another if the route is: its requests
/// under way must not go elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Key {
    Name(String),
    Route(String, Option<String>, String),
}

/// What making a configuration's routes has come to.
pub(super) struct Made {
    pub(super) routes: Routes<Route>,
    pub(super) pools: Vec<Named>,
    /// In pools that are kept, to be put into effect.
    pub(super) changes: Vec<Change>,
    /// Pools that there are no more.
    pub(super) gone: Vec<Arc<Pool>>,
}

/// A pool that is kept and follows another configuration.
#[derive(Debug)]
pub(super) struct Change {
    pool: Arc<Pool>,
    config: config::Pool,
    sources: Vec<Source>,
    supply: Supply,
}

impl Change {
    pub(super) fn apply(self) {
        self.pool.renew(self.config, (self.sources, self.supply));
    }
}

impl<'a> Maker<'a> {
    pub(super) fn new(config: &'a Config, metrics: &'a Metrics, old: &'a [Named]) -> Self {
        Self {
            config,
            metrics,
            supply: Common::new(config),
            old,
            pools: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// The routes, and every pool that they and the configuration name. Pools that there are already stay,
    /// and are as they were until the changes are put into effect.
    pub(super) fn routes(mut self, gates: &Gates<'_>) -> Result<Made, BridgeError> {
        let mut named: HashMap<&str, Arc<Pool>> = HashMap::new();
        for pool in &self.config.pool {
            let made = self.pool(Key::Name(pool.name.clone()), pool.clone())?;
            named.insert(&pool.name, made);
        }
        let mut routes = Routes::new();
        for (number, route) in self.config.route.iter().enumerate() {
            let name = format!("route.{number}");
            let destination = match (&route.answer, &route.connect_udp, &route.pool) {
                (Some(answer), _, _) => Destination::Answer(Answer::new(answer, number)?),
                (None, Some(allow), _) => {
                    Destination::Udp(UdpRoute::new(&route.path, allow.clone()))
                }
                (None, None, Some(pool)) => {
                    let made = named.get(pool.as_str());
                    let made = made.ok_or(BridgeError::UnknownPool(number))?;
                    Destination::Pool(Arc::clone(made), pool.as_str().into())
                }
                (None, None, None) if route.to.is_empty() => {
                    return Err(BridgeError::NoUpstream(number));
                }
                (None, None, None) => {
                    let key = Key::Route(name.clone(), route.host.clone(), route.path.clone());
                    let pool = config::Pool::new(name.clone(), route.to.clone());
                    Destination::Pool(self.pool(key, pool)?, name.as_str().into())
                }
            };
            let gate = gates.gate(number, route)?;
            let dressing = Dressing::new(route, number)?;
            let made = Route::new(&name, &route.path, gate, destination, dressing);
            if !routes.add(route.host.as_deref(), &route.path, made) {
                return Err(BridgeError::Duplicate(number));
            }
        }
        let stays = |old: &&Named| self.pools.iter().any(|it| Arc::ptr_eq(&it.pool, &old.pool));
        let gone = self.old.iter().filter(|old| !stays(old));
        Ok(Made {
            routes,
            gone: gone.map(|old| Arc::clone(&old.pool)).collect(),
            pools: self.pools,
            changes: self.changes,
        })
    }

    fn pool(&mut self, key: Key, mut config: config::Pool) -> Result<Arc<Pool>, BridgeError> {
        config.total.get_or_insert(self.config.timeouts.total);
        let sources = config.backend.iter().map(Source::new);
        let sources = sources.collect::<Result<Vec<_>, _>>()?;
        let supply = self.supply.of(&config, self.metrics)?;
        for backend in &config.backend {
            supply.check(&backend.upstream)?;
        }
        let pool = if let Some(old) = self.old.iter().find(|old| old.key == key) {
            self.changes.push(Change {
                pool: Arc::clone(&old.pool),
                config,
                sources,
                supply,
            });
            Arc::clone(&old.pool)
        } else {
            let mut seed = [0; 8];
            rand::fill(&mut seed).map_err(|_unspecified| BridgeError::Random)?;
            let seed = (u64::from_ne_bytes(seed), self.metrics);
            Arc::new(Pool::new(config, sources, supply, seed))
        };
        self.pools.push(Named {
            key,
            pool: Arc::clone(&pool),
        });
        Ok(pool)
    }
}

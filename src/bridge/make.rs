//! From the configuration to routes and pools.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::rand;
use http::uri::Authority;

use super::BridgeError;
use super::answer::Answer;
use super::dressing::Dressing;
use super::pool::{Pool, member};
use super::route::{Destination, Route};
use super::routes::Routes;
use super::udp::UdpRoute;
use super::upstream::{self, Tasks, Upstream};
use crate::config::{self, Config};
use crate::telemetry::Metrics;

/// Makes routes and pools from a configuration.
pub(super) struct Maker<'a> {
    config: &'a Config,
    metrics: &'a Metrics,
    tasks: Tasks,
    connections: upstream::Pool,
}

impl<'a> Maker<'a> {
    pub(super) fn new(config: &'a Config, metrics: &'a Metrics) -> Self {
        let tasks = Tasks::default();
        Self {
            connections: upstream::pool(&tasks, &config.limits, &config.timeouts),
            config,
            metrics,
            tasks,
        }
    }

    /// The routes, and every pool that they and the configuration name.
    pub(super) fn routes(&self) -> Result<(Routes<Route>, Vec<Arc<Pool>>), BridgeError> {
        let mut pools = Vec::new();
        let mut named: HashMap<&str, Arc<Pool>> = HashMap::new();
        for pool in &self.config.pool {
            let made = self.pool(pool.clone())?;
            pools.push(Arc::clone(&made));
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
                    let made = self.pool(config::Pool::new(name.clone(), route.to.clone()))?;
                    pools.push(Arc::clone(&made));
                    Destination::Pool(made, name.as_str().into())
                }
            };
            let dressing = Dressing::new(route, number)?;
            let made = Route::new(&name, &route.path, destination, dressing);
            if !routes.add(route.host.as_deref(), &route.path, made) {
                return Err(BridgeError::Duplicate(number));
            }
        }
        Ok((routes, pools))
    }

    fn pool(&self, pool: config::Pool) -> Result<Arc<Pool>, BridgeError> {
        let zone = self.config.node.zone.as_deref();
        let mut backends = Vec::with_capacity(pool.backend.len());
        for backend in &pool.backend {
            let authority = authority(&backend.upstream.authority)?;
            let member = member(backend, zone);
            let upstream = Upstream::new(
                (&backend.upstream, member.identity),
                authority,
                &self.connections,
                &self.tasks,
                &self.config.timeouts,
            );
            backends.push((member, Arc::new(upstream)));
        }
        let mut seed = [0; 8];
        rand::fill(&mut seed).map_err(|_unspecified| BridgeError::Random)?;
        let seed = (u64::from_ne_bytes(seed), self.metrics);
        let requests = self.config.limits.upstream_requests;
        Ok(Arc::new(Pool::new(pool, backends, requests, seed)))
    }
}

fn authority(text: &str) -> Result<Authority, BridgeError> {
    Authority::try_from(text)
        .ok()
        .filter(|authority| authority.port_u16().is_some() && !text.contains('@'))
        .ok_or_else(|| BridgeError::Authority(text.to_owned()))
}

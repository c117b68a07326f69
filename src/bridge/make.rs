//! From the configuration to routes and pools.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::rand;
use http::uri::{Authority, Scheme};

use super::BridgeError;
use super::dial::{Bound, Dialer, Way};
use super::http1::Keep;
use super::pool::{Pool, member};
use super::route::{Destination, Route};
use super::routes::Routes;
use super::udp::UdpRoute;
use super::upstream::{Tasks, Upstream};
use crate::config::{self, Config, UpstreamProtocol};
use crate::request::Protocol;
use crate::telemetry::{Metrics, PoolLabel};

/// Makes routes and pools from a configuration.
pub(super) struct Maker<'a> {
    config: &'a Config,
    metrics: &'a Metrics,
    tasks: Tasks,
}

impl<'a> Maker<'a> {
    pub(super) fn new(config: &'a Config, metrics: &'a Metrics) -> Self {
        Self {
            config,
            metrics,
            tasks: Tasks::default(),
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
            let destination = match (&route.connect_udp, &route.pool) {
                (Some(allow), _) => Destination::Udp(UdpRoute::new(&route.path, allow.clone())),
                (None, Some(name)) => {
                    let pool = named.get(name.as_str());
                    Destination::Pool(Arc::clone(pool.ok_or(BridgeError::UnknownPool(number))?))
                }
                (None, None) if route.to.is_empty() => {
                    return Err(BridgeError::NoUpstream(number));
                }
                (None, None) => {
                    let name = format!("route.{number}");
                    let made = self.pool(config::Pool::new(name, route.to.clone()))?;
                    pools.push(Arc::clone(&made));
                    Destination::Pool(made)
                }
            };
            if !routes.add(route.host.as_deref(), &route.path, Route::new(destination)) {
                return Err(BridgeError::Duplicate(number));
            }
        }
        Ok((routes, pools))
    }

    fn pool(&self, pool: config::Pool) -> Result<Arc<Pool>, BridgeError> {
        let zone = self.config.node.zone.as_deref();
        let mut backends = Vec::with_capacity(pool.backend.len());
        let keep = Keep {
            idle: usize::try_from(self.config.limits.upstream_idle).unwrap_or(usize::MAX),
            time: self.config.timeouts.upstream_idle,
        };
        for backend in &pool.backend {
            check(&backend.upstream.authority)?;
            let member = member(backend, zone);
            let upstream = Upstream::new(
                (&backend.upstream, member.identity),
                self.dialer(&pool, backend),
                keep,
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

    /// What makes the connections to one backend.
    fn dialer(&self, pool: &config::Pool, backend: &config::Backend) -> Dialer {
        let label = PoolLabel {
            pool: pool.name.clone(),
        };
        let open = self.metrics.pools.connections.get_or_create(&label).clone();
        Dialer {
            name: backend.upstream.authority.as_str().into(),
            connect: self.config.timeouts.connect,
            bound: Bound::new(pool.connections, pool.queue.burst),
            way: Way {
                protocol: match backend.upstream.protocol {
                    UpstreamProtocol::Http1 => Protocol::Http1,
                    UpstreamProtocol::Http2 => Protocol::Http2,
                },
                scheme: Scheme::HTTP,
            },
            open,
        }
    }
}

/// Checks that an authority is `host:port`.
fn check(text: &str) -> Result<(), BridgeError> {
    Authority::try_from(text)
        .ok()
        .filter(|authority| authority.port_u16().is_some() && !text.contains('@'))
        .map(drop)
        .ok_or_else(|| BridgeError::Authority(text.to_owned()))
}

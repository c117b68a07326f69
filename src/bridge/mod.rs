//! From requests to backends: routes, upstream connections, streaming both ways.
//!
//! Bodies are never collected. A client that does not read stops the upstream by flow control, and
//! one that goes away takes its request from the upstream at once.

mod delivery;
mod download;
mod error;
mod headers;
mod http2;
mod key;
mod origin;
mod pool;
mod probe;
mod replay;
mod routes;
mod sticky;
#[cfg(test)]
mod tests;
mod tunnel;
mod udp;
mod upload;
mod upstream;

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::rand;
use http::uri::Authority;
use http::{Method, Request, Response};
use tokio::task::JoinSet;

use self::delivery::Delivery;
use self::pool::{Pool, member};
use self::routes::Routes;
use self::udp::{UdpProxy, UdpRoute};
use self::upstream::{Tasks, Upstream};
use crate::config::{self, Config};
use crate::request::{BackendReport, Body, ClientFacts, Handler, RequestError};
use crate::telemetry::Metrics;

pub use origin::{Origin, pattern};

/// The [`Handler`] that passes requests to backends.
///
/// Connections are made when a request needs them and kept for the next one. Dropping the bridge
/// closes them when their requests have ended.
#[derive(Debug)]
pub struct Bridge {
    routes: Routes<Destination>,
    pools: Vec<Arc<Pool>>,
    udp: UdpProxy,
    /// Those of the pools, which end with the bridge.
    probes: JoinSet<()>,
}

/// Where the requests of a route go.
#[derive(Debug)]
enum Destination {
    Pool(Arc<Pool>),
    Udp(UdpRoute),
}

/// Why routes cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BridgeError {
    /// A route names no backend; give it one in `to`, or a pool.
    #[error("route {0} has no upstream")]
    NoUpstream(usize),
    /// A route names a pool that there is not.
    #[error("route {0} names an unknown pool")]
    UnknownPool(usize),
    /// Two routes match the same requests; remove one or join their backends.
    #[error("route {0} has the host and path of an earlier one")]
    Duplicate(usize),
    /// A backend is not `host:port`.
    #[error("upstream {0} is not host:port")]
    Authority(String),
    /// The system gave no random bytes.
    #[error("no random bytes")]
    Random,
}

impl Bridge {
    /// Makes the routes and pools of a configuration; connects to nothing. Routes are numbered from 0 in
    /// errors.
    pub fn new(config: &Config, metrics: &Metrics) -> Result<Self, BridgeError> {
        let maker = Maker::new(config, metrics);
        let mut pools = Vec::new();
        let mut named: HashMap<&str, Arc<Pool>> = HashMap::new();
        for pool in &config.pool {
            let made = maker.pool(pool.clone())?;
            pools.push(Arc::clone(&made));
            named.insert(&pool.name, made);
        }
        let mut table = Routes::new();
        for (number, route) in config.route.iter().enumerate() {
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
                    let made = maker.pool(config::Pool::new(name, route.to.clone()))?;
                    pools.push(Arc::clone(&made));
                    Destination::Pool(made)
                }
            };
            if !table.add(route.host.as_deref(), &route.path, destination) {
                return Err(BridgeError::Duplicate(number));
            }
        }
        Ok(Self {
            routes: table,
            probes: JoinSet::new(),
            pools,
            udp: UdpProxy::new(config.connect_udp.clone(), metrics.udp.clone()),
        })
    }

    /// Probes the backends of pools that want it, from here on.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[must_use]
    pub fn probing(mut self) -> Self {
        self.probes = probe::start(&self.pools);
        self
    }
}

impl Handler for Bridge {
    async fn handle(
        &self,
        request: Request<Body>,
        client: ClientFacts,
    ) -> Result<Response<Body>, RequestError> {
        let uri = request.uri();
        let host = uri.host().unwrap_or_default();
        let destination = self.routes.find(host, uri.path());
        let pool = match destination.ok_or(RequestError::NoRoute)? {
            Destination::Pool(pool) => pool,
            Destination::Udp(route) => return self.udp.handle(route, request, &client).await,
        };
        if *request.method() == Method::CONNECT && !tunnel::is_passed_on(&request) {
            return Err(RequestError::NotImplemented);
        }
        if *request.method() == Method::CONNECT {
            return Box::pin(tunnel::handle(pool, request, client)).await;
        }
        Delivery::new(pool, request, &client).run().await
    }

    fn backends(&self) -> Vec<BackendReport> {
        self.pools.iter().flat_map(|pool| pool.reports()).collect()
    }
}

/// Makes pools from a configuration.
struct Maker<'a> {
    config: &'a Config,
    metrics: &'a Metrics,
    tasks: Tasks,
    connections: upstream::Pool,
}

impl<'a> Maker<'a> {
    fn new(config: &'a Config, metrics: &'a Metrics) -> Self {
        let tasks = Tasks::default();
        Self {
            connections: upstream::pool(&tasks, &config.limits, &config.timeouts),
            config,
            metrics,
            tasks,
        }
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

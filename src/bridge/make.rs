//! From the configuration to routes and pools.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::rand;
use http::uri::Authority;

use super::BridgeError;
use super::dial::{Bound, Dialer, Security};
use super::gate::Gates;
use super::http1::Keep;
use super::pool::{Pool, member};
use super::route::{Destination, Route};
use super::routes::Routes;
use super::tls::{PoolTls, PoolTlsError};
use super::udp::UdpRoute;
use super::upstream::{Tasks, Upstream};
use crate::config::{self, Alpn, Config, ProxyProtocol, UpstreamProtocol};
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
    pub(super) fn routes(
        &self,
        gates: &Gates<'_>,
    ) -> Result<(Routes<Route>, Vec<Arc<Pool>>), BridgeError> {
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
            let made = Route::new(gates.gate(number, route)?, destination);
            if !routes.add(route.host.as_deref(), &route.path, made) {
                return Err(BridgeError::Duplicate(number));
            }
        }
        Ok((routes, pools))
    }

    fn pool(&self, pool: config::Pool) -> Result<Arc<Pool>, BridgeError> {
        let zone = self.config.node.zone.as_deref();
        let mut backends = Vec::with_capacity(pool.backend.len());
        let tls = tls(&pool)?;
        let keep = Keep {
            idle: usize::try_from(self.config.limits.upstream_idle).unwrap_or(usize::MAX),
            time: self.config.timeouts.upstream_idle,
        };
        for backend in &pool.backend {
            check(&backend.upstream.authority)?;
            let member = member(backend, zone);
            let upstream = Upstream::new(
                (&backend.upstream, pool.tls.alpn, member.identity),
                self.dialer((&pool, &tls), &backend.upstream)?,
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
    fn dialer(
        &self,
        (pool, tls): (&config::Pool, &Option<PoolTls>),
        upstream: &config::Upstream,
    ) -> Result<Dialer, BridgeError> {
        let label = PoolLabel {
            pool: pool.name.clone(),
        };
        let security = match (upstream.protocol, tls) {
            (UpstreamProtocol::Http2, _) => Security::Cleartext(Protocol::Http2),
            (UpstreamProtocol::Https, Some(tls)) => {
                let host = host(&upstream.authority);
                let tls = tls.to(host).map_err(|error| no_tls(pool, &error))?;
                Security::Tls(Box::new(tls))
            }
            (UpstreamProtocol::Http1 | UpstreamProtocol::Https, _) => {
                Security::Cleartext(Protocol::Http1)
            }
        };
        Ok(Dialer {
            name: upstream.authority.as_str().into(),
            connect: self.config.timeouts.connect,
            bound: Bound::new(pool.connections, pool.queue.burst),
            security,
            announce: pool.proxy_protocol,
            open: self.metrics.pools.connections.get_or_create(&label).clone(),
        })
    }
}

/// The TLS to backends of a pool, if one of them wants it.
fn tls(pool: &config::Pool) -> Result<Option<PoolTls>, BridgeError> {
    let mut backends = pool.backend.iter();
    if !backends.any(|backend| backend.upstream.protocol == UpstreamProtocol::Https) {
        return Ok(None);
    }
    let mut tls = pool.tls.clone();
    if pool.proxy_protocol == ProxyProtocol::V2 {
        // A connection of HTTP/2 would be for many clients.
        tls.alpn = Alpn::Http1;
    }
    let loaded = PoolTls::load(&tls);
    loaded.map(Some).map_err(|error| no_tls(pool, &error))
}

fn no_tls(pool: &config::Pool, error: &PoolTlsError) -> BridgeError {
    BridgeError::Tls {
        pool: pool.name.clone(),
        reason: error.to_string(),
    }
}

/// The host of an authority that has a port.
fn host(authority: &str) -> &str {
    authority
        .rsplit_once(':')
        .map_or(authority, |(host, _)| host)
}

/// Checks that an authority is `host:port`.
fn check(text: &str) -> Result<(), BridgeError> {
    Authority::try_from(text)
        .ok()
        .filter(|authority| authority.port_u16().is_some() && !text.contains('@'))
        .map(drop)
        .ok_or_else(|| BridgeError::Authority(text.to_owned()))
}

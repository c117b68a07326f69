//! What backends are made from.

use std::net::SocketAddr;
use std::time::Duration;

use http::uri::Authority;
use prometheus_client::metrics::gauge::Gauge;

use super::BridgeError;
use super::dial::{Bound, Dialer, Security};
use super::dns::{Endpoint, split};
use super::http1::Keep;
use super::pool::hash;
use super::tls::{PoolTls, PoolTlsError};
use super::upstream::{Tasks, Upstream};
use crate::balance::{Member, Zone};
use crate::config::{
    self, Alpn, Config, Dns, Limits, ProxyProtocol, Timeouts, UpstreamProtocol, UpstreamTls,
};
use crate::request::Protocol;
use crate::telemetry::{Metrics, PoolLabel};

/// What all backends of a configuration have in common.
#[derive(Clone, Debug)]
pub(super) struct Common {
    limits: Limits,
    timeouts: Timeouts,
    dns: Dns,
    zone: Option<String>,
    tasks: Tasks,
}

/// What all backends of a pool have in common.
#[derive(Clone, Debug)]
pub(super) struct Supply {
    pub(super) limits: Limits,
    timeouts: Timeouts,
    pub(super) dns: Dns,
    zone: Option<String>,
    tasks: Tasks,
    pool: String,
    /// How many connections each may have, and how long a request waits for one.
    bound: (Option<u32>, Duration),
    announce: ProxyProtocol,
    terms: UpstreamTls,
    tls: Option<PoolTls>,
    open: Gauge,
}

impl Common {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            limits: config.limits.clone(),
            timeouts: config.timeouts.clone(),
            dns: config.dns.clone(),
            zone: config.node.zone.clone(),
            tasks: Tasks::default(),
        }
    }

    /// What the backends of one pool are made from.
    ///
    /// # Errors
    /// There can be no TLS to one of them.
    pub(super) fn of(&self, pool: &config::Pool, metrics: &Metrics) -> Result<Supply, BridgeError> {
        let label = PoolLabel {
            pool: pool.name.clone(),
        };
        let tls = tls(pool).map_err(|error| no_tls(&pool.name, &error))?;
        Ok(Supply {
            limits: self.limits.clone(),
            timeouts: self.timeouts.clone(),
            dns: self.dns.clone(),
            zone: self.zone.clone(),
            tasks: self.tasks.clone(),
            pool: pool.name.clone(),
            bound: (pool.connections, pool.queue.burst),
            announce: pool.proxy_protocol,
            terms: pool.tls.clone(),
            tls,
            open: metrics.pools.connections.get_or_create(&label).clone(),
        })
    }
}

impl Supply {
    /// Whether a backend that another supply has made is like one of its own.
    pub(super) fn makes_the_same(&self, other: &Self) -> bool {
        let of = |supply: &Self| {
            let Timeouts {
                connect,
                first_byte,
                upstream_idle,
                tunnel_idle,
                ..
            } = supply.timeouts;
            let times = [connect, first_byte, upstream_idle, tunnel_idle];
            (
                supply.limits.upstream_idle,
                times,
                supply.bound,
                supply.announce,
            )
        };
        of(self) == of(other) && self.terms == other.terms && self.tls == other.tls
    }

    /// What the pool is told of a backend at one of its addresses.
    pub(super) fn member(&self, backend: &config::Backend, endpoint: &Endpoint) -> Member {
        let elsewhere = match (&self.zone, &backend.zone) {
            (Some(own), Some(zone)) => own != zone,
            _ => false,
        };
        let weight = endpoint.weight.filter(|_| backend.weight > 0);
        Member {
            identity: identity(&backend.upstream, endpoint.address),
            weight: weight.unwrap_or(backend.weight),
            zone: if elsewhere { Zone::Other } else { Zone::Own },
            priority: endpoint.priority,
        }
    }

    /// Makes what reaches a backend at one of its addresses; connects to nothing.
    ///
    /// # Errors
    /// Its name cannot be that of a certificate.
    pub(super) fn upstream(
        &self,
        backend: &config::Backend,
        endpoint: &Endpoint,
    ) -> Result<Upstream, BridgeError> {
        let host = endpoint.host.as_ref();
        let host = host.map(|host| format!("{host}:{}", endpoint.address.port()));
        let upstream = config::Upstream {
            authority: host.unwrap_or_else(|| backend.upstream.authority.clone()),
            ..backend.upstream.clone()
        };
        let security = match (upstream.protocol, &self.tls) {
            (UpstreamProtocol::Http2, _) => Security::Cleartext(Protocol::Http2),
            (UpstreamProtocol::Https, Some(tls)) => {
                let host = split(&upstream.authority).map_or("", |(host, _)| host);
                let tls = tls.to(host).map_err(|error| no_tls(&self.pool, &error))?;
                Security::Tls(Box::new(tls))
            }
            (UpstreamProtocol::Http1 | UpstreamProtocol::Https, _) => {
                Security::Cleartext(Protocol::Http1)
            }
        };
        let dialer = Dialer {
            name: endpoint.address.to_string().into(),
            connect: self.timeouts.connect,
            bound: Bound::new(self.bound.0, self.bound.1),
            security,
            announce: self.announce,
            open: self.open.clone(),
        };
        let keep = Keep {
            idle: usize::try_from(self.limits.upstream_idle).unwrap_or(usize::MAX),
            time: self.timeouts.upstream_idle,
        };
        let identity = identity(&backend.upstream, endpoint.address);
        Ok(Upstream::new(
            (&upstream, self.terms.alpn, identity),
            dialer,
            keep,
            &self.tasks,
            &self.timeouts,
        ))
    }

    /// Checks what can be without an address.
    ///
    /// # Errors
    /// A name that the configuration has cannot be that of a certificate.
    pub(super) fn check(&self, upstream: &config::Upstream) -> Result<(), BridgeError> {
        if let (UpstreamProtocol::Https, Some(tls)) = (upstream.protocol, &self.tls)
            && let Some((host, _)) = split(&upstream.authority)
        {
            tls.to(host).map_err(|error| no_tls(&self.pool, &error))?;
        }
        Ok(())
    }
}

/// The TLS to backends of a pool, if one of them wants it.
fn tls(pool: &config::Pool) -> Result<Option<PoolTls>, PoolTlsError> {
    let mut backends = pool.backend.iter();
    if !backends.any(|backend| backend.upstream.protocol == UpstreamProtocol::Https) {
        return Ok(None);
    }
    let mut tls = pool.tls.clone();
    if pool.proxy_protocol == ProxyProtocol::V2 {
        // A connection of HTTP/2 would be for many clients.
        tls.alpn = Alpn::Http1;
    }
    PoolTls::load(&tls).map(Some)
}

fn no_tls(pool: &str, error: &PoolTlsError) -> BridgeError {
    BridgeError::Tls {
        pool: pool.to_owned(),
        reason: error.to_string(),
    }
}

/// The address of a backend that needs no looking up.
///
/// # Errors
/// It is neither `host:port` nor the name of a service.
pub(super) fn fixed_address(
    upstream: &config::Upstream,
) -> Result<Option<SocketAddr>, BridgeError> {
    let text = upstream.authority.as_str();
    if upstream.is_service() {
        return Ok(None);
    }
    if let Ok(address) = text.parse() {
        return Ok(Some(address));
    }
    let legal = Authority::try_from(text).is_ok() && !text.contains('@') && split(text).is_some();
    legal
        .then_some(None)
        .ok_or_else(|| BridgeError::Authority(text.to_owned()))
}

/// A hash by which every node knows a backend.
fn identity(upstream: &config::Upstream, address: SocketAddr) -> u64 {
    let (protocol, authority) = (upstream.protocol, &upstream.authority);
    let name = if authority.parse() == Ok(address) {
        format!("{protocol:?} {authority}")
    } else {
        format!("{protocol:?} {authority} {address}")
    };
    hash(name.as_bytes())
}

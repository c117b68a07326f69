//! What backends are made from.

use std::net::SocketAddr;

use http::uri::Authority;

use super::BridgeError;
use super::dns::{Endpoint, split};
use super::pool::hash;
use super::upstream::{self, Tasks, Upstream};
use crate::balance::{Member, Zone};
use crate::config::{self, Config, Dns, Limits, Timeouts};

/// What all backends of a configuration have in common.
#[derive(Clone, Debug)]
pub(super) struct Supply {
    pub(super) limits: Limits,
    pub(super) timeouts: Timeouts,
    pub(super) dns: Dns,
    zone: Option<String>,
    tasks: Tasks,
}

impl Supply {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            limits: config.limits.clone(),
            timeouts: config.timeouts.clone(),
            dns: config.dns.clone(),
            zone: config.node.zone.clone(),
            tasks: Tasks::default(),
        }
    }

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
            (supply.limits.upstream_idle, times)
        };
        of(self) == of(other)
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
    pub(super) fn upstream(&self, backend: &config::Backend, endpoint: &Endpoint) -> Upstream {
        let address = endpoint.address.to_string();
        let authority = Authority::try_from(address).expect("an address and a port are one");
        let host = endpoint.host.as_ref();
        let host = host.map(|host| format!("{host}:{}", endpoint.address.port()));
        let upstream = config::Upstream {
            authority: host.unwrap_or_else(|| backend.upstream.authority.clone()),
            ..backend.upstream.clone()
        };
        let connections = upstream::pool(&self.tasks, &self.limits, &self.timeouts);
        Upstream::new(
            (&upstream, identity(&backend.upstream, endpoint.address)),
            authority,
            &connections,
            &self.tasks,
            &self.timeouts,
        )
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

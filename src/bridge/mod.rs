//! From requests to backends: routes, upstream connections, streaming both ways.
//!
//! Bodies are never collected. A client that does not read stops the upstream by flow control, and
//! one that goes away takes its request from the upstream at once.

mod answer;
mod delivery;
mod download;
mod dressing;
mod error;
mod headers;
mod http2;
mod key;
mod make;
mod origin;
mod pool;
mod probe;
mod replay;
mod route;
mod routes;
mod sticky;
mod template;
#[cfg(test)]
mod tests;
mod tunnel;
mod udp;
mod upload;
mod upstream;

use std::sync::Arc;

use http::{Request, Response};
use tokio::task::JoinSet;

use self::make::Maker;
use self::pool::Pool;
use self::route::Route;
use self::routes::Routes;
use self::udp::UdpProxy;
use crate::config::Config;
use crate::request::{BackendReport, Body, ClientFacts, Handler, RequestError};
use crate::telemetry::Metrics;

pub use origin::{Origin, pattern};

/// The [`Handler`] that passes requests to backends.
///
/// Connections are made when a request needs them and kept for the next one. Dropping the bridge
/// closes them when their requests have ended.
#[derive(Debug)]
pub struct Bridge {
    routes: Routes<Route>,
    pools: Vec<Arc<Pool>>,
    udp: UdpProxy,
    /// Those of the pools, which end with the bridge.
    probes: JoinSet<()>,
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
    /// A route answers with what is no response, or asks for what is no host.
    #[error("route {0} has no response or host")]
    Answer(usize),
    /// The system gave no random bytes.
    #[error("no random bytes")]
    Random,
}

impl Bridge {
    /// Makes the routes and pools of a configuration; connects to nothing. Routes are numbered from 0 in
    /// errors.
    pub fn new(config: &Config, metrics: &Metrics) -> Result<Self, BridgeError> {
        let (routes, pools) = Maker::new(config, metrics).routes()?;
        Ok(Self {
            routes,
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
        let route = self.routes.find(host, uri.path());
        let route = route.ok_or(RequestError::NoRoute)?;
        route.handle(&self.udp, request, client).await
    }

    fn backends(&self) -> Vec<BackendReport> {
        self.pools.iter().flat_map(|pool| pool.reports()).collect()
    }
}

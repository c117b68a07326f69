//! From requests to backends: routes, upstream connections, streaming both ways.
//!
//! Bodies are never collected. A client that does not read stops the upstream by flow control, and
//! one that goes away takes its request from the upstream at once.

mod delivery;
mod dial;
mod download;
mod error;
mod gate;
mod headers;
mod http1;
mod http2;
mod key;
mod make;
mod origin;
mod pool;
mod probe;
mod proxy_protocol;
mod replay;
mod route;
mod routes;
mod sticky;
#[cfg(test)]
mod tests;
mod tls;
mod tunnel;
mod udp;
mod upload;
mod upstream;

use std::sync::Arc;

use http::{Request, Response};
use tokio::task::JoinSet;

use self::gate::{Gates, Tokens};
use self::make::Maker;
use self::pool::Pool;
use self::route::Route;
use self::routes::Routes;
use self::udp::UdpProxy;
use crate::config::Config;
use crate::request::{BackendReport, Body, ClientFacts, Handler, RequestError};
use crate::telemetry::Metrics;

pub use gate::Kept;
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
    tokens: Vec<Arc<Tokens>>,
    /// Those that probe pools and follow the keys of tokens, which end with the bridge.
    tasks: JoinSet<()>,
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
    /// There can be no TLS to the backends of a pool; the text says why, and names the file if it is one.
    #[error("pool {pool}: {reason}")]
    Tls {
        /// The name of the pool.
        pool: String,
        /// What is wrong.
        reason: String,
    },
    /// A route names tokens that there are not.
    #[error("route {0} names unknown tokens")]
    UnknownTokens(usize),
    /// Tokens cannot be verified as they are configured, for this reason.
    #[error("tokens {0}: {1}")]
    Tokens(String, String),
    /// The system gave no random bytes.
    #[error("no random bytes")]
    Random,
}

impl Bridge {
    /// Makes the routes and pools of a configuration; connects to nothing. Routes are numbered from 0 in
    /// errors.
    pub fn new(config: &Config, metrics: &Metrics) -> Result<Self, BridgeError> {
        Self::keeping(config, metrics, &Kept::default())
    }

    /// The same, going on with what another bridge has kept.
    pub fn keeping(config: &Config, metrics: &Metrics, kept: &Kept) -> Result<Self, BridgeError> {
        let gates = Gates::new(config, metrics, kept)?;
        let (routes, pools) = Maker::new(config, metrics).routes(&gates)?;
        Ok(Self {
            routes,
            tasks: JoinSet::new(),
            tokens: gates.into_tokens(),
            pools,
            udp: UdpProxy::new(config.connect_udp.clone(), metrics.udp.clone()),
        })
    }

    /// Probes the backends of pools that want it, and keeps the keys of tokens up to date, from here on.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[must_use]
    pub fn probing(mut self) -> Self {
        self.tasks = probe::start(&self.pools);
        gate::follow(&self.tokens, &mut self.tasks);
        self
    }
}

impl Bridge {
    fn route(&self, request: &Request<Body>) -> Option<&Route> {
        let uri = request.uri();
        self.routes.find(uri.host().unwrap_or_default(), uri.path())
    }
}

impl Handler for Bridge {
    async fn handle(
        &self,
        request: Request<Body>,
        client: ClientFacts,
    ) -> Result<Response<Body>, RequestError> {
        let route = self.route(&request).ok_or(RequestError::NoRoute)?;
        route.handle(&self.udp, request, client).await
    }

    fn body_bytes(&self, request: &Request<Body>) -> Option<u64> {
        self.route(request)?.body_bytes()
    }

    fn backends(&self) -> Vec<BackendReport> {
        self.pools.iter().flat_map(|pool| pool.reports()).collect()
    }
}

//! From requests to backends: routes, upstream connections, streaming both ways.
//!
//! Bodies are never collected. A client that does not read stops the upstream by flow control, and
//! one that goes away takes its request from the upstream at once.

mod answer;
mod delivery;
mod dial;
mod dns;
mod download;
mod dressing;
mod driven;
mod error;
mod gate;
mod grpc;
mod headers;
mod http1;
mod http2;
mod key;
mod make;
mod members;
mod origin;
mod pool;
mod probe;
mod proxy_protocol;
mod replay;
mod route;
mod routes;
mod sticky;
mod supply;
mod template;
mod tend;
#[cfg(test)]
mod tests;
mod tls;
mod tunnel;
mod udp;
mod upload;
mod upstream;
mod waiting;

use std::sync::{Arc, Mutex, PoisonError};

use http::{Request, Response};
use tokio::task::JoinSet;

use self::gate::{Gates, Kept, Tokens};
use self::make::{Change, Maker, Named};
use self::pool::Pool;
use self::route::Route;
use self::routes::{Ambiguous, Routes};
use self::udp::UdpProxy;
use crate::config::Config;
use crate::request::{BackendReport, Body, ClientFacts, Handler, RequestError};
use crate::telemetry::Metrics;

pub use origin::{Origin, pattern};

/// The [`Handler`] that passes requests to backends.
///
/// Connections are made when a request needs them and kept for the next one. Dropping the bridge, and
/// those that were made from it, closes them when their requests have ended.
#[derive(Debug)]
pub struct Bridge {
    routes: Routes<Route>,
    pools: Vec<Named>,
    udp: UdpProxy,
    tokens: Vec<Arc<Tokens>>,
    kept: Kept,
    /// Those that follow the keys of tokens, which end with the bridge.
    tasks: Tasks,
}

type Tasks = Arc<Mutex<JoinSet<()>>>;

/// What another bridge changes in the pools that it shares with the one before it.
#[derive(Debug, Default)]
#[must_use]
pub struct Takeover {
    changes: Vec<Change>,
    begin: Vec<Arc<Pool>>,
    gone: Vec<Arc<Pool>>,
    tokens: Vec<Arc<Tokens>>,
    tasks: Tasks,
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
    /// A route names tokens that there are not.
    #[error("route {0} names unknown tokens")]
    UnknownTokens(usize),
    /// Tokens cannot be verified as they are configured, for this reason.
    #[error("tokens {0}: {1}")]
    Tokens(String, String),
    /// There can be no TLS to the backends of a pool; the text says why, and names the file if it is one.
    #[error("pool {pool}: {reason}")]
    Tls {
        /// The name of the pool.
        pool: String,
        /// What is wrong.
        reason: String,
    },
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
        Self::first(config, metrics).map(|(bridge, _)| bridge)
    }

    /// Makes them where there was no bridge before.
    pub fn first(config: &Config, metrics: &Metrics) -> Result<(Self, Takeover), BridgeError> {
        Self::made(config, metrics, (&[], Kept::default()))
    }

    /// Makes the routes and pools of another configuration. Pools that both have in common are the same:
    /// their backends keep what is known of them and their connections. So are the rates of clients, and the
    /// keys of tokens. Until the takeover is put into
    /// effect, they are as they were.
    pub fn renewed(
        &self,
        config: &Config,
        metrics: &Metrics,
    ) -> Result<(Self, Takeover), BridgeError> {
        Self::made(config, metrics, (&self.pools, self.kept.clone()))
    }

    /// Looks up the names of backends, probes them, and follows the keys of tokens, from here on.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[must_use]
    pub fn started(self) -> Self {
        for named in &self.pools {
            named.pool.start();
        }
        follow(&self.tokens, &self.tasks);
        self
    }

    /// Gives all of its pools up.
    pub fn given_up(&self) -> Takeover {
        Takeover {
            gone: self.pools.iter().map(Named::pool).collect(),
            ..Takeover::default()
        }
    }

    fn made(
        config: &Config,
        metrics: &Metrics,
        (old, kept): (&[Named], Kept),
    ) -> Result<(Self, Takeover), BridgeError> {
        let gates = Gates::new(config, metrics, &kept)?;
        let made = Maker::new(config, metrics, old).routes(&gates)?;
        let tokens = gates.into_tokens();
        let tasks = Tasks::default();
        let is_old = |pool: &Arc<Pool>| old.iter().any(|old| Arc::ptr_eq(&old.pool, pool));
        let begin = made.pools.iter().map(Named::pool);
        let takeover = Takeover {
            begin: begin.filter(|pool| !is_old(pool)).collect(),
            changes: made.changes,
            gone: made.gone,
            tokens: tokens.clone(),
            tasks: Arc::clone(&tasks),
        };
        let bridge = Self {
            routes: made.routes,
            pools: made.pools,
            udp: UdpProxy::new(config.connect_udp.clone(), metrics.udp.clone()),
            tokens,
            kept,
            tasks,
        };
        Ok((bridge, takeover))
    }
}

impl Takeover {
    /// Puts it into effect, without a step that could fail or wait.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn apply(self) {
        self.changes.into_iter().for_each(Change::apply);
        // First, because one that begins may have the name of one that ends.
        for pool in self.gone {
            pool.retire();
        }
        for pool in self.begin {
            pool.start();
        }
        follow(&self.tokens, &self.tasks);
    }
}

fn follow(tokens: &[Arc<Tokens>], tasks: &Tasks) {
    let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
    gate::follow(tokens, &mut tasks);
}

impl Bridge {
    fn route(&self, request: &Request<Body>) -> Result<&Route, RequestError> {
        let uri = request.uri();
        let found = self.routes.find(uri.host().unwrap_or_default(), uri.path());
        found
            .map_err(|Ambiguous| RequestError::Malformed("path could be another route's"))?
            .ok_or(RequestError::NoRoute)
    }
}

impl Handler for Bridge {
    async fn handle(
        &self,
        request: Request<Body>,
        client: ClientFacts,
    ) -> Result<Response<Body>, RequestError> {
        let route = self.route(&request)?;
        route.handle(&self.udp, request, client).await
    }

    fn body_bytes(&self, request: &Request<Body>) -> Option<u64> {
        self.route(request).ok()?.body_bytes()
    }

    fn backends(&self) -> Vec<BackendReport> {
        let reports = self.pools.iter().map(|named| named.pool.reports());
        reports.flatten().collect()
    }
}

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The metrics of pools of backends.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PoolMetrics {
    /// Connections to backends that are open.
    pub connections: Family<PoolLabel, Gauge>,
    /// Backends that get no more requests, by reason.
    pub ejections: Family<PoolReason, Counter>,
    /// Backends that are fit.
    pub fit: Family<PoolLabel, Gauge>,
    /// Look-ups of names of backends, by what they came to.
    pub lookups: Family<PoolReason, Counter>,
    /// Requests that went to a backend although too few were fit to look at that.
    pub panics: Family<PoolLabel, Counter>,
    /// Requests sent again, by reason, and those for which there was no budget.
    pub retries: Family<PoolReason, Counter>,
    /// Requests that wait for a place at a backend.
    pub waiting: Family<PoolLabel, Gauge>,
}

/// The label of a pool of backends.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PoolLabel {
    /// What the configuration calls it.
    pub pool: String,
}

/// The labels of what happened in a pool, and why.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PoolReason {
    /// What the configuration calls the pool.
    pub pool: String,
    /// The reason, one of a fixed set of words.
    pub reason: &'static str,
}

impl PoolMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "upstream_connections",
            "Connections to backends that are open",
            self.connections.clone(),
        );
        registry.register(
            "upstream_ejections",
            "Backends that get no more requests, by pool and reason",
            self.ejections.clone(),
        );
        registry.register(
            "upstream_fit",
            "Backends that are fit to get requests",
            self.fit.clone(),
        );
        registry.register(
            "upstream_lookups",
            "Look-ups of names of backends, by pool and what they came to",
            self.lookups.clone(),
        );
        registry.register(
            "upstream_panics",
            "Requests sent whatever their backend's health, because too few were fit",
            self.panics.clone(),
        );
        registry.register(
            "upstream_retries",
            "Requests sent again, by pool and reason, and those that had no budget",
            self.retries.clone(),
        );
        registry.register(
            "upstream_waiting",
            "Requests that wait for a place at a backend",
            self.waiting.clone(),
        );
    }
}

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The metrics of who may pass to a route.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct GateMetrics {
    /// Requests answered with 429, by route and whose limit it was.
    pub rate_limited: Family<RateLabel, Counter>,
    /// Places for the rates of clients that are taken.
    pub rate_clients: Family<RouteLabel, Gauge>,
    /// Clients forgotten for others before their rate allowed all again.
    pub rate_displaced: Family<RouteLabel, Counter>,
    /// Requests without a valid token, by reason.
    pub tokens_refused: Family<TokenReason, Counter>,
    /// Times that keys were read or fetched, by what came of it.
    pub key_reads: Family<KeyOutcome, Counter>,
    /// Keys in use.
    pub keys: Family<TokenLabel, Gauge>,
}

/// The label of a route.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RouteLabel {
    /// Its host, or `*` if it has none, and its path.
    pub route: String,
}

/// The labels of a request that was one too many.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RateLabel {
    /// The route's host, or `*` if it has none, and its path.
    pub route: String,
    /// Whose limit: `client` or `route`.
    pub limit: &'static str,
}

/// The label of tokens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TokenLabel {
    /// What the configuration calls them.
    pub jwt: String,
}

/// The labels of a request without a valid token.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TokenReason {
    /// What the configuration calls the tokens.
    pub jwt: String,
    /// The reason, one of a fixed set of words.
    pub reason: &'static str,
}

/// The labels of an attempt to read or fetch keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KeyOutcome {
    /// What the configuration calls the tokens.
    pub jwt: String,
    /// What came of it, one of a fixed set of words.
    pub outcome: &'static str,
}

impl GateMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "rate_limited",
            "Requests answered with 429, by route and whose limit it was",
            self.rate_limited.clone(),
        );
        registry.register(
            "rate_clients",
            "Places for the rates of clients that are taken, by route",
            self.rate_clients.clone(),
        );
        registry.register(
            "rate_displaced",
            "Clients forgotten before their rate allowed all again, by route",
            self.rate_displaced.clone(),
        );
        registry.register(
            "tokens_refused",
            "Requests without a valid token, by reason",
            self.tokens_refused.clone(),
        );
        registry.register(
            "token_key_reads",
            "Times that keys of tokens were read or fetched, by outcome",
            self.key_reads.clone(),
        );
        registry.register(
            "token_keys",
            "Keys that tokens are verified by",
            self.keys.clone(),
        );
    }
}

//! What is known of one request beside its message, gathered on its way.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use http::header::{HeaderName, HeaderValue};
use http::uri::Authority;

use super::forwarded::Scheme;
use super::trace::TraceId;

/// Where a request comes from, what it is called and where it went.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// The client's own address, if a trusted proxy says it.
    pub(crate) origin: Option<IpAddr>,
    /// How the client asked.
    pub(crate) scheme: Scheme,
    /// What the client asked for, if a trusted proxy says it.
    pub(crate) host: Option<Authority>,
    /// The field with the name of the request.
    pub(crate) request_id: Option<(HeaderName, HeaderValue)>,
    /// Its place in a trace.
    pub(crate) trace: Traced,
    route: OnceLock<Arc<str>>,
    pool: OnceLock<Arc<str>>,
    tries: AtomicU32,
}

/// The place of a request in a trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Traced {
    /// It has none; what it says of one is not well-formed.
    #[default]
    No,
    /// The one that it says.
    Passed(TraceId),
    /// One that begins here, with this `traceparent`.
    Started(TraceId, HeaderValue),
}

impl Account {
    /// Notes which route it took, and which pool.
    pub(crate) fn lead(&self, route: &Arc<str>, pool: Option<&Arc<str>>) {
        // A request is led once.
        self.route.get_or_init(|| Arc::clone(route));
        if let Some(pool) = pool {
            self.pool.get_or_init(|| Arc::clone(pool));
        }
    }

    /// Counts that a backend was asked.
    pub(crate) fn count_try(&self) {
        self.tries.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn route(&self) -> Option<Arc<str>> {
        self.route.get().cloned()
    }

    pub(crate) fn pool(&self) -> Option<Arc<str>> {
        self.pool.get().cloned()
    }

    pub(crate) fn tries(&self) -> u32 {
        self.tries.load(Ordering::Relaxed)
    }

    pub(crate) fn trace_id(&self) -> Option<TraceId> {
        match self.trace {
            Traced::No => None,
            Traced::Passed(id) | Traced::Started(id, _) => Some(id),
        }
    }
}

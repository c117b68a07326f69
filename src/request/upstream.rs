use std::sync::Arc;
use std::time::Duration;

/// The backend that answered, as `host:port`.
///
/// A handler puts it into the extensions of its response; it goes to the access log and never to the
/// client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AnsweredBy(pub Arc<str>);

/// How a backend does, for operators.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct BackendReport {
    /// What the configuration calls its pool.
    pub pool: String,
    /// Its `address:port`, or its name while that stands for no address.
    pub backend: Arc<str>,
    /// What it is called: `host:port` of the configuration, or of a service of the record that names it.
    pub name: Arc<str>,
    /// Why it gets no requests, in one of a fixed set of words, if so.
    pub unfit: Option<&'static str>,
    /// Requests under way to it.
    pub under_way: u32,
    /// The mean time to its answers, which leans to the slowest; none before the first.
    pub latency: Option<Duration>,
    /// The last probe, if there was one.
    pub probe: Option<ProbeReport>,
    /// What became of looking up its name, in one of a fixed set of words; none of an address.
    pub dns: Option<&'static str>,
}

/// What a probe came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeReport {
    /// `ok`, or why it failed, in one of a fixed set of words.
    pub outcome: &'static str,
    /// How long it has been over.
    pub ago: Duration,
}

impl BackendReport {
    /// One that is fit and has done nothing yet.
    pub fn new(pool: impl Into<String>, backend: Arc<str>) -> Self {
        Self {
            pool: pool.into(),
            name: Arc::clone(&backend),
            backend,
            unfit: None,
            under_way: 0,
            latency: None,
            probe: None,
            dns: None,
        }
    }
}

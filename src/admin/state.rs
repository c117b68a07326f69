use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use prometheus_client::registry::Registry;

/// What the admin listener shows.
pub struct AdminState {
    /// The metrics behind `/metrics`.
    pub registry: Registry,
    /// The phase behind `/readyz`.
    pub readiness: Readiness,
    /// Makes the object behind `/status`; called once a request, so it must not block.
    pub status: Box<dyn Fn() -> serde_json::Value + Send + Sync>,
}

impl fmt::Debug for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminState")
            .field("readiness", &self.readiness)
            .finish_non_exhaustive()
    }
}

/// The phase of a gateway's life, shared by all clones; a new one is [`Phase::Starting`].
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicU8>);

impl Readiness {
    /// Enters [`Phase::Ready`] for every clone.
    pub fn ready(&self) {
        self.0.store(READY, Ordering::Release);
    }

    /// Enters [`Phase::Draining`] for every clone.
    pub fn draining(&self) {
        self.0.store(DRAINING, Ordering::Release);
    }

    /// The phase now.
    pub fn phase(&self) -> Phase {
        match self.0.load(Ordering::Acquire) {
            READY => Phase::Ready,
            DRAINING => Phase::Draining,
            _ => Phase::Starting,
        }
    }
}

/// A phase of a gateway's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not every socket serves yet.
    Starting,
    /// New clients are welcome.
    Ready,
    /// The process is ending; new clients should go elsewhere.
    Draining,
}

impl Phase {
    /// The word in the body of `/readyz`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}

const READY: u8 = 1;
const DRAINING: u8 = 2;

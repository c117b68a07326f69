use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;

use super::fleet_handle::FleetHandle;
use super::hand_over::Reins;
use crate::config::{Config, Hooks};
use crate::edge::{CertificateFacts, Steering};
use crate::fleet::{InstanceId, NodeId};
use crate::lifecycle::{Lifecycle, Program};
use crate::request::SharedHandler;
use crate::telemetry::{CertificateLabel, Metrics};

/// What a running gateway and its handles share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) lifecycle: Lifecycle,
    /// What it runs with now.
    pub(super) config: watch::Sender<Arc<Config>>,
    pub(super) steering: Arc<Steering>,
    pub(super) metrics: Metrics,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) node: NodeId,
    pub(super) instance: InstanceId,
    pub(super) started: Instant,
    pub(super) reins: Arc<Reins>,
    /// What is started to take over.
    pub(super) program: Option<Program>,
    pub(super) fleet: Option<FleetHandle>,
    /// What answers requests now, which a reload may replace.
    pub(super) handler: Arc<Mutex<SharedHandler>>,
    /// What clients are shown now.
    pub(super) certificates: Mutex<Vec<(CertificateLabel, CertificateFacts)>>,
}

impl Shared {
    pub(super) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.borrow())
    }

    pub(super) fn hooks(&self) -> Hooks {
        self.config.borrow().hooks.clone()
    }

    /// Tells operators which certificates clients are shown from here on.
    pub(super) fn show(&self, certificates: Vec<(CertificateLabel, CertificateFacts)>) {
        let expiry = &self.metrics.certificate_expiry;
        expiry.clear();
        for (label, facts) in &certificates {
            let since_1970 = facts.expires.duration_since(SystemTime::UNIX_EPOCH);
            let seconds = since_1970.unwrap_or_default().as_secs();
            let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
            expiry.get_or_create(label).set(seconds);
        }
        *self.certificates.lock().expect("no holder panics") = certificates;
    }

    pub(super) fn uptime(&self) -> Duration {
        now().duration_since(self.started)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long a process has run is asked by operators, and decides nothing"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}

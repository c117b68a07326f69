use std::sync::Arc;

use serde_json::{Value, json};

use crate::cid::ConfigId;
use crate::config;
use crate::control::{Snapshot, SnapshotError, StaticFiles};
use crate::edge::{FleetDriver, SnapshotRefused};
use crate::fleet::{Epoch, Finding, PeerState, PeerStatus};

/// The fleet of a gateway that runs: what it knows of its peers, and the way to other members and keys.
#[derive(Clone, Debug)]
pub struct FleetHandle {
    driver: Arc<FleetDriver>,
    files: Option<Arc<StaticFiles>>,
}

/// Why the fleet's files are not followed; nothing has changed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FleetReloadError {
    /// They cannot be used.
    #[error(transparent)]
    Files(#[from] SnapshotError),
    /// This process cannot follow them.
    #[error(transparent)]
    Refused(#[from] SnapshotRefused),
    /// Members and keys come from a source of the embedder's.
    #[error("the fleet does not come from files")]
    NoFiles,
}

impl FleetHandle {
    pub(super) fn new(driver: Arc<FleetDriver>, files: Option<Arc<StaticFiles>>) -> Self {
        Self { driver, files }
    }

    pub(super) fn driver(&self) -> Arc<FleetDriver> {
        Arc::clone(&self.driver)
    }

    /// Whether members and keys come from files.
    pub(super) fn has_files(&self) -> bool {
        self.files.is_some()
    }

    /// Reads the key file and checks that this process could follow it and these members.
    ///
    /// # Errors
    /// [`FleetReloadError`]; nothing has changed then, nor has it otherwise.
    pub fn prepare(&self, fleet: &config::Fleet) -> Result<Snapshot, FleetReloadError> {
        if self.files.is_none() {
            return Err(FleetReloadError::NoFiles);
        }
        let snapshot = Snapshot::read(fleet)?;
        self.driver.check(&snapshot)?;
        Ok(snapshot)
    }

    /// Follows what was prepared: members join and leave, and keys change, while every connection goes
    /// on.
    pub fn commit(&self, snapshot: Snapshot) {
        if let Some(files) = &self.files {
            files.publish(snapshot);
        }
    }

    /// Tells the peers whether this node hands new connections to others.
    pub fn set_draining(&self, draining: bool) {
        self.driver.set_draining(draining);
    }

    /// The epoch whose key encrypts the connection IDs of a configuration, if one does.
    pub(super) fn epoch_of(&self, config: ConfigId) -> Option<Epoch> {
        self.driver.epoch_of(config)
    }

    /// What is known of the peers, as `/status` shows it.
    pub fn status(&self) -> Value {
        let status = self.driver.status();
        let epochs: Vec<_> = status.epochs.iter().map(|epoch| epoch.0).collect();
        json!({
            "minting_epoch": status.minting.0,
            "epochs": epochs,
            "peers": status.peers.iter().map(peer).collect::<Vec<_>>(),
        })
    }
}

fn peer(peer: &PeerStatus) -> Value {
    let state = match peer.state {
        PeerState::Live => "live",
        PeerState::Silent => "silent",
        PeerState::Dead => "dead",
    };
    let findings = peer.findings.iter();
    json!({
        "node": peer.node.get(),
        "relay": peer.relay,
        "state": state,
        "welcomes": peer.welcomes,
        "draining": peer.draining,
        "heard_ms_ago": peer.heard.map(|heard| heard.as_millis()),
        "instance": peer.process.map(|process| process.instance.0),
        "boot": peer.process.map(|process| format!("{:032x}", u128::from_be_bytes(process.boot.0))),
        "tunnel_version": peer.version,
        "epochs": peer.epochs.map(|epochs| [epochs.lowest.0, epochs.highest.0]),
        "minting_epoch": peer.minting.map(|epoch| epoch.0),
        "heard_by": peer.heard_by.iter().map(|node| node.get()).collect::<Vec<_>>(),
        "unheard_by": peer.unheard_by.iter().map(|node| node.get()).collect::<Vec<_>>(),
        "findings": findings.map(|finding: &Finding| finding.name()).collect::<Vec<_>>(),
    })
}

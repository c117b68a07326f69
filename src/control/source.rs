use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use super::{KeyFileError, read_key_file};
use crate::config::{Fleet, LinkMtuError, max_udp_payload};
use crate::fleet::{Keyring, Member, Roster, RosterError};

/// A fleet at one moment: its members and their keys.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The members, this node among them.
    pub roster: Roster,
    /// The keys in force.
    pub keyring: Keyring,
    /// The MTU of the links between nodes in bytes.
    pub link_mtu: u16,
}

/// Where a node learns what its fleet is: files by default, or whatever an embedder has.
///
/// A source that cannot be reached keeps its last snapshot; nodes go on with that.
pub trait Source: fmt::Debug + Send + Sync + 'static {
    /// The newest snapshot, which is always there, and notice of each further one.
    fn watch(&self) -> watch::Receiver<Arc<Snapshot>>;
}

/// The fleet's files, read when somebody says so.
#[derive(Debug)]
pub struct StaticFiles(watch::Sender<Arc<Snapshot>>);

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The key file cannot be used.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The members are no fleet.
    #[error("fleet.member: {0}")]
    Roster(#[from] RosterError),
}

impl Snapshot {
    /// Takes the members from a checked configuration, and reads the key file that it names.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub fn read(fleet: &Fleet) -> Result<Self, SnapshotError> {
        let members = fleet.member.iter().map(|member| Member {
            node: member.id,
            relay: member.relay,
        });
        Ok(Self {
            roster: Roster::new(members)?,
            keyring: read_key_file(&fleet.key_file)?,
            link_mtu: fleet.link_mtu,
        })
    }

    /// The largest UDP payload of a client that fits into an envelope between any two members.
    ///
    /// # Errors
    /// [`LinkMtuError`] when that is less than 1200 bytes.
    pub fn max_udp_payload(&self) -> Result<u16, LinkMtuError> {
        let relays = self.roster.members().iter().map(|member| member.relay);
        max_udp_payload(self.link_mtu, relays)
    }
}

impl StaticFiles {
    /// Starts with a snapshot.
    pub fn new(snapshot: Snapshot) -> Self {
        Self(watch::Sender::new(Arc::new(snapshot)))
    }

    /// Hands out another snapshot, from [`Snapshot::read`].
    pub fn publish(&self, snapshot: Snapshot) {
        self.0.send_replace(Arc::new(snapshot));
    }
}

impl Source for StaticFiles {
    fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{Epoch, FleetKey, NodeId};

    fn snapshot(epoch: u32) -> Snapshot {
        let member = Member {
            node: NodeId::new(1).unwrap(),
            relay: ([10, 0, 0, 1], 4434).into(),
        };
        Snapshot {
            roster: Roster::new([member]).unwrap(),
            keyring: Keyring::new(FleetKey::new(Epoch(epoch), [1; 32])),
            link_mtu: 1500,
        }
    }

    #[tokio::test]
    async fn a_published_snapshot_reaches_who_watches() {
        let files = StaticFiles::new(snapshot(1));
        let mut watch = files.watch();
        files.publish(snapshot(2));
        watch.changed().await.unwrap();
        let epoch = watch.borrow_and_update().keyring.current().epoch();
        assert_eq!(epoch, Epoch(2));
        assert!(!watch.has_changed().unwrap());
    }

    #[test]
    fn links_too_small_for_an_envelope_are_refused() {
        let mut snapshot = snapshot(1);
        assert_eq!(snapshot.max_udp_payload(), Ok(1403));
        snapshot.link_mtu = 1280;
        assert!(snapshot.max_udp_payload().is_err());
    }
}

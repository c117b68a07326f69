use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use super::Forwarder;
use crate::cid::{ConfigId, ServerId};
use crate::config;
use crate::control::Snapshot;
use crate::edge::cid_keys::SharedCidKeys;
use crate::edge::session_keys::SharedSessionKeys;
use crate::edge::steering::Steering;
use crate::fleet::{
    Epoch, Finding, Membership, NodeId, PeerState, PeerStatus, Reaction, Refusal, RosterError, View,
};
use crate::request::clock;
use crate::telemetry::{FleetFinding, Metrics, PeerLife};
use crate::wire::{BootId, Sealed};

/// The one owner of the membership: it passes on what follows from it to everything that steers,
/// issues and seals.
#[derive(Debug)]
pub(crate) struct FleetDriver {
    membership: Mutex<Membership>,
    forwarder: Arc<Forwarder>,
    followers: Followers,
    metrics: Metrics,
    named: Mutex<BTreeSet<(NodeId, Finding)>>,
    listening: AtomicBool,
}

/// What follows the fleet.
#[derive(Debug)]
pub(crate) struct Followers {
    pub(crate) steering: Arc<Steering>,
    pub(crate) cids: SharedCidKeys,
    pub(crate) sessions: SharedSessionKeys,
    /// The form of connection IDs.
    pub(crate) form: config::Cid,
    /// This process in them.
    pub(crate) own: ServerId,
    pub(crate) node: NodeId,
    /// What clients are told, for as long as the process lives.
    pub(crate) max_udp_payload: u16,
}

/// What `status` shows of the fleet.
#[derive(Clone, Debug)]
pub(crate) struct FleetStatus {
    /// The epoch of new connection IDs.
    pub(crate) minting: Epoch,
    /// The epochs that are read.
    pub(crate) epochs: Vec<Epoch>,
    pub(crate) peers: Vec<PeerStatus>,
}

/// Why a snapshot of the fleet is not followed; nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotRefused {
    /// This node would be no member.
    #[error("fleet.member: {0}")]
    Roster(#[from] RosterError),
    /// The connection IDs of an epoch cannot be made.
    #[error("connection IDs: {0}")]
    Cid(#[from] crate::cid::ConfigError),
    /// The links are too small for any QUIC packet.
    #[error("fleet.link_mtu: {0}")]
    LinkMtu(#[from] config::LinkMtuError),
    /// Clients were told of larger datagrams than would fit.
    #[error(
        "fleet.link_mtu: it leaves room for {fits} bytes, but clients were told {told} when this process \
         started; restart it, or upgrade it"
    )]
    SmallerLinks {
        /// What would fit.
        fits: u16,
        /// What clients send at most.
        told: u16,
    },
}

impl FleetDriver {
    /// Takes over a membership that follows this snapshot.
    pub(super) fn new(
        membership: Membership,
        snapshot: &Snapshot,
        forwarder: Arc<Forwarder>,
        followers: Followers,
        metrics: Metrics,
    ) -> Self {
        // A process that reads from its start keeps the boot that it was made with: what it answers before
        // its first tick would make peers confirm that one, and seal for it.
        let listening = followers.steering.reading().is_on();
        let driver = Self {
            membership: Mutex::new(membership),
            forwarder,
            followers,
            metrics,
            named: Mutex::default(),
            listening: AtomicBool::new(listening),
        };
        driver.reach(snapshot);
        driver.publish(&mut driver.lock());
        driver
    }

    /// Whether a snapshot could be followed.
    ///
    /// # Errors
    /// [`SnapshotRefused`].
    pub(crate) fn check(&self, snapshot: &Snapshot) -> Result<(), SnapshotRefused> {
        let Followers {
            form, own, node, ..
        } = &self.followers;
        snapshot
            .roster
            .get(*node)
            .ok_or(RosterError::NotAMember(*node))?;
        form.keys(&snapshot.keyring, *own)?;
        let (fits, told) = (snapshot.max_udp_payload()?, self.followers.max_udp_payload);
        if fits < told {
            return Err(SnapshotRefused::SmallerLinks { fits, told });
        }
        Ok(())
    }

    /// Follows a snapshot: members and all keys.
    ///
    /// # Errors
    /// [`SnapshotRefused`]; nothing has changed then.
    pub(crate) fn apply(&self, snapshot: &Snapshot) -> Result<(), SnapshotRefused> {
        self.check(snapshot)?;
        let Followers {
            steering,
            cids,
            sessions,
            form,
            own,
            ..
        } = &self.followers;
        let keys = form.keys(&snapshot.keyring, *own)?;
        let mut membership = self.lock();
        let sealing = membership.update(now(), &snapshot.roster, &snapshot.keyring)?;
        self.reach(snapshot);
        for (peer, outgoing) in sealing {
            self.forwarder.confirm(peer, outgoing);
        }
        sessions.replace(&snapshot.keyring);
        let tokens = &sessions.load().tokens;
        steering.follow(|steer| steer.with_keys(keys.configs().clone(), tokens));
        steering.use_resets(keys.resets().clone());
        // After steering, which reads what is minted from here on.
        cids.replace(keys, membership.minting());
        self.publish(&mut membership);
        Ok(())
    }

    /// Says in heartbeats whether this node drains.
    pub(crate) fn set_draining(&self, draining: bool) {
        self.lock().set_draining(draining);
    }

    /// The epoch whose key encrypts the connection IDs of a configuration, if one does.
    pub(crate) fn epoch_of(&self, config: ConfigId) -> Option<Epoch> {
        let in_force = self.followers.cids.load();
        let mut epochs = in_force.keys.epochs().iter();
        let found = epochs.find(|epoch| epoch.config.id() == config)?;
        found.config.is_encrypted().then_some(found.epoch)
    }

    /// What is known of the fleet.
    pub(crate) fn status(&self) -> FleetStatus {
        let in_force = self.followers.cids.load();
        let epochs = in_force.keys.epochs().iter();
        FleetStatus {
            minting: in_force.minting,
            epochs: epochs.map(|epoch| epoch.epoch).collect(),
            peers: self.lock().peers(now()),
        }
    }

    /// What is to be sent now, and when to ask again.
    pub(super) fn tick(&self) -> (Vec<(SocketAddr, Vec<u8>)>, Instant) {
        let mut membership = self.lock();
        let (now, wall) = (now(), wall());
        if !self.listens(&mut membership, now) {
            return (Vec::new(), now + PAUSE);
        }
        let mut drawn = true;
        let random = |bytes: &mut [u8]| drawn &= aws_lc_rs::rand::fill(bytes).is_ok();
        let messages = membership.tick(now, wall, random);
        self.publish(&mut membership);
        self.name_findings(&membership, now);
        let next = membership.next_tick();
        // A challenge that is not random proves nothing; the system has no more random bytes.
        let messages = messages.into_iter().filter(|_| drawn);
        let addressed = |(peer, message)| Some((self.forwarder.relay(peer)?, message));
        (messages.filter_map(addressed).collect(), next)
    }

    /// Takes a heartbeat; gives what is to be sent back.
    pub(super) fn on_heartbeat(
        &self,
        message: &[u8],
    ) -> Result<Option<(SocketAddr, Vec<u8>)>, Refusal> {
        let mut membership = self.lock();
        let Reaction {
            peer,
            answer,
            confirmed,
        } = membership.on_heartbeat(now(), wall(), message)?;
        if let Some(outgoing) = confirmed {
            tracing::info!(%peer, "peer confirmed");
            self.forwarder.confirm(peer, outgoing);
        }
        self.publish(&mut membership);
        Ok(self.forwarder.relay(peer).zip(answer))
    }

    /// Checks a datagram in an envelope.
    pub(super) fn open(&self, sealed: &Sealed<'_>) -> Result<(), Refusal> {
        self.lock().open(sealed)
    }

    /// Notes what was refused, if it came from where a member should be.
    pub(super) fn refused(&self, from: SocketAddr, refusal: Refusal) {
        if let Some(peer) = self.forwarder.peer_at(from) {
            self.lock().refused(now(), peer, refusal);
        }
    }

    /// Whether this process has the sockets of its node: peers are to hear of the process that reads,
    /// and of no other. One that begins to read is another boot to its peers.
    fn listens(&self, membership: &mut Membership, now: Instant) -> bool {
        let reads = self.followers.steering.reading().is_on();
        if reads && !self.listening.load(Ordering::Relaxed) {
            let mut boot = [0; 16];
            if aws_lc_rs::rand::fill(&mut boot).is_err() {
                return false;
            }
            membership.resume(now, BootId(boot));
        }
        self.listening.store(reads, Ordering::Relaxed);
        reads
    }

    fn lock(&self) -> MutexGuard<'_, Membership> {
        self.membership.lock().expect("no holder panics")
    }

    fn reach(&self, snapshot: &Snapshot) {
        let own = self.followers.node;
        let members = snapshot.roster.members().iter();
        let peers = members.filter(|member| member.node != own);
        let relays = peers.map(|member| (member.node, member.relay));
        self.forwarder.follow(relays);
    }

    /// Passes on what has changed.
    fn publish(&self, membership: &mut Membership) {
        let minting = membership.minting();
        self.metrics.fleet_epoch.set(minting.0.into());
        if self.followers.cids.mint(minting) {
            tracing::info!(epoch = %minting, "new connection IDs are of another epoch");
        }
        let Some(view) = membership.take_change() else {
            return;
        };
        let steering = &self.followers.steering;
        log_changes(steering.current().view(), &view);
        self.count(&view);
        steering.follow(|steer| steer.with_peers(view.clone()));
    }

    fn count(&self, view: &View) {
        for (state, label) in PeerLife::ALL {
            let peers = view.peers().iter().filter(|peer| peer.state == state);
            let count = i64::try_from(peers.count()).unwrap_or(i64::MAX);
            self.metrics.fleet_peers.get_or_create(&label).set(count);
        }
    }

    /// Logs each finding when it begins and when it ends.
    fn name_findings(&self, membership: &Membership, now: Instant) {
        let found: BTreeSet<_> = membership.findings(now).into_iter().collect();
        let mut named = self.named.lock().expect("no holder panics");
        if *named == found {
            return;
        }
        for (peer, finding) in found.difference(&named) {
            tracing::warn!(%peer, finding = finding.name(), "{finding}");
        }
        for (peer, finding) in named.difference(&found) {
            tracing::info!(%peer, finding = finding.name(), "no longer found");
        }
        for finding in Finding::ALL {
            let count = found.iter().filter(|(_, found)| *found == finding).count();
            let gauge = self
                .metrics
                .fleet_findings
                .get_or_create(&FleetFinding::of(finding));
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        *named = found;
    }
}

fn log_changes(before: &View, after: &View) {
    for peer in after.peers() {
        let known = before.peers().iter().find(|known| known.node == peer.node);
        if known.is_some_and(|known| known.state == peer.state) {
            continue;
        }
        let node = peer.node;
        match peer.state {
            PeerState::Live => tracing::info!(peer = %node, "peer is live"),
            PeerState::Silent => tracing::warn!(peer = %node, "peer is silent"),
            PeerState::Dead => tracing::warn!(peer = %node, "peer is dead"),
        }
    }
}

fn wall() -> Duration {
    let since = clock::time_of_day().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default()
}

fn now() -> Instant {
    clock::now().into_std()
}

/// How soon a process that does not read looks again whether it does.
const PAUSE: Duration = Duration::from_millis(20);

use std::num::NonZeroU16;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::GatewayError;
use super::fleet_handle::FleetHandle;
use super::supply::Supply;
use crate::cid::{ConfigId, FirstOctet, ServerId, WorkerHash};
use crate::config::{self, Config};
use crate::control::{Snapshot, Source, StaticFiles};
use crate::edge::{Followers, SharedCidKeys, SharedSessionKeys, Steering, Tunnel};
use crate::fleet::{
    ConfigDigest, Epoch, FleetKey, Identity, InstanceId, Keyring, NodeId, Own, ResetKeys, Timing,
    View,
};
use crate::request::clock;
use crate::steer::{Slots, Steer};
use crate::telemetry::Metrics;
use crate::wire::BootId;

/// Everything that identifies this process and its fleet.
#[derive(Debug)]
pub(super) struct Membership {
    pub(super) keyring: Keyring,
    pub(super) identity: Identity,
    pub(super) node: NodeId,
    pub(super) instance: InstanceId,
    pub(super) cids: SharedCidKeys,
    pub(super) slots: Slots,
    fleet: Option<FleetSource>,
    form: config::Cid,
}

/// Where the members and keys of the fleet come from.
#[derive(Debug)]
struct FleetSource {
    watch: watch::Receiver<Arc<Snapshot>>,
    /// The source, if it is the configured files.
    files: Option<Arc<StaticFiles>>,
    snapshot: Arc<Snapshot>,
    timing: Timing,
}

/// The tunnel with what it delivers to.
#[derive(Debug)]
pub(super) struct BoundTunnel {
    pub(super) tunnel: Tunnel,
    pub(super) steering: Arc<Steering>,
}

/// What a tunnel is made of, besides the membership.
#[derive(Debug)]
pub(super) struct TunnelParts<'a> {
    pub(super) supply: &'a mut Supply,
    pub(super) steering: Arc<Steering>,
    pub(super) session_keys: SharedSessionKeys,
    pub(super) max_udp_payload: u16,
    pub(super) metrics: &'a Metrics,
}

impl BoundTunnel {
    pub(super) async fn serve(self, stop: CancellationToken) {
        self.tunnel.serve(self.steering, stop).await;
    }
}

impl FleetSource {
    /// The given source, or else the configured files; none for a node without a fleet.
    fn new(config: &Config, given: Option<Arc<dyn Source>>) -> Result<Option<Self>, GatewayError> {
        let timing = config
            .fleet
            .as_ref()
            .map_or(Timing::DEFAULT, config::Fleet::timing);
        let (source, files): (Arc<dyn Source>, _) = match (given, &config.fleet) {
            (Some(given), _) => (given, None),
            (None, None) => return Ok(None),
            (None, Some(fleet)) => {
                let files = Arc::new(StaticFiles::new(Snapshot::read(fleet)?));
                (Arc::clone(&files) as Arc<dyn Source>, Some(files))
            }
        };
        let mut watch = source.watch();
        let snapshot = Arc::clone(&watch.borrow_and_update());
        Ok(Some(Self {
            watch,
            files,
            snapshot,
            timing,
        }))
    }
}

impl Membership {
    /// Takes the keys of the fleet. A node without a fleet has the key of the process that it takes over
    /// from, or draws one.
    pub(super) fn new(
        config: &Config,
        (instance, workers): (InstanceId, NonZeroU16),
        source: Option<Arc<dyn Source>>,
        before: Option<Keyring>,
    ) -> Result<Self, GatewayError> {
        let node = config.node.id;
        let fleet = FleetSource::new(config, source)?;
        let keyring = match (&fleet, before) {
            (None, Some(before)) => before,
            (None, None) => Keyring::new(FleetKey::new(Epoch::default(), random()?)),
            (Some(FleetSource { snapshot, .. }), _) if snapshot.roster.get(node).is_none() => {
                return Err(GatewayError::NotAMember(node));
            }
            (Some(FleetSource { snapshot, .. }), _) => snapshot.keyring.clone(),
        };
        let identity = match config.cid.aws_server_id {
            None => Identity::Node(node, instance),
            Some(id) => Identity::Opaque(ServerId::new(&id).expect("8 bytes are a server ID")),
        };
        let keys = config.cid.keys(&keyring, identity.server_id())?;
        let form = &keys.epochs()[0].config;
        if identity.server_id().len() != form.server_id_len() {
            return Err(GatewayError::ServerId);
        }
        let hash = WorkerHash::new(random()?);
        let listeners = u16::try_from(config.listen.len())
            .ok()
            .and_then(NonZeroU16::new)
            .ok_or(GatewayError::Listeners(config.listen.len()))?;
        let slots = Slots::new(hash, form.cid_len(), listeners, workers)
            .map_err(|_too_many| GatewayError::Listeners(config.listen.len()))?;
        Ok(Self {
            cids: SharedCidKeys::new(keys, keyring.current().epoch()),
            keyring,
            identity,
            node,
            instance,
            slots,
            fleet,
            form: config.cid.clone(),
        })
    }

    /// The steering rules that follow from it; the tunnel adds the peers.
    pub(super) fn steer(&self) -> Steer {
        let configs = self.cids.load().keys.configs().clone();
        Steer::new(configs, View::new(self.identity, []), self.slots)
    }

    /// The keys of the stateless reset tokens.
    pub(super) fn reset_keys(&self) -> ResetKeys {
        self.cids.load().keys.resets().clone()
    }

    /// The largest UDP payload that a client may send.
    pub(super) fn max_udp_payload(&self, config: &Config) -> Result<u16, GatewayError> {
        let configured = config.quic.max_udp_payload;
        match &self.fleet {
            None => Ok(configured),
            Some(fleet) => Ok(configured.min(fleet.snapshot.max_udp_payload()?)),
        }
    }

    /// Opens this node's end of the tunnels on the member's relay address; none without a fleet.
    pub(super) fn tunnel(
        &self,
        parts: TunnelParts<'_>,
    ) -> Result<Option<(BoundTunnel, FleetHandle)>, GatewayError> {
        let Some(fleet) = &self.fleet else {
            return Ok(None);
        };
        let Snapshot {
            roster, keyring, ..
        } = &*fleet.snapshot;
        let member = roster.get(self.node);
        let relay = member.ok_or(GatewayError::NotAMember(self.node))?.relay;
        let bind_error = |source| GatewayError::Bind {
            address: format!("relay {relay}"),
            source,
        };
        let socket = parts.supply.relay(relay)?;
        socket.set_nonblocking(true).map_err(bind_error)?;
        let own = Own {
            identity: self.identity,
            node: self.node,
            instance: self.instance,
            boot: BootId(random()?),
            config: config_digest(&self.form),
        };
        let now = clock::now().into_std();
        let membership = crate::fleet::Membership::new(now, own, roster, keyring, fleet.timing)?;
        let followers = Followers {
            steering: Arc::clone(&parts.steering),
            cids: self.cids.clone(),
            sessions: parts.session_keys,
            form: self.form.clone(),
            own: self.identity.server_id(),
            node: self.node,
            max_udp_payload: parts.max_udp_payload,
        };
        let snapshots = (&*fleet.snapshot, fleet.watch.clone());
        let metrics = parts.metrics.clone();
        let tunnel = Tunnel::new(socket, membership, snapshots, followers, metrics);
        let tunnel = tunnel.map_err(bind_error)?;
        parts.steering.connect(tunnel.forwarder());
        let handle = FleetHandle::new(tunnel.driver(), fleet.files.clone());
        let bound = BoundTunnel {
            tunnel,
            steering: parts.steering,
        };
        Ok(Some((bound, handle)))
    }
}

/// A digest of the settings of connection IDs, in which all members must agree.
fn config_digest(form: &config::Cid) -> ConfigDigest {
    let config::Cid {
        profile,
        config_id,
        nonce_len,
        first_octet,
        ..
    } = form;
    let profile = match profile {
        config::Profile::Wayhold => 0,
        config::Profile::AwsNlb => 1,
    };
    let first_octet = match first_octet {
        FirstOctet::Random => 0,
        FirstOctet::Length => 1,
    };
    ConfigDigest::new(&[profile, ConfigId::get(*config_id), *nonce_len, first_octet])
}

/// Draws random bytes from the operating system's generator.
pub(super) fn random<const N: usize>() -> Result<[u8; N], GatewayError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_unspecified| GatewayError::Random)?;
    Ok(bytes)
}

use std::num::NonZeroU16;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::GatewayError;
use super::supply::Supply;
use crate::cid::{CidConfig, ConfigSet, ServerId, WorkerHash};
use crate::config::{Config, Fleet};
use crate::control::read_key_file;
use crate::edge::{Peer, Steering, Tunnel};
use crate::fleet::{
    Association, Counters, Epoch, FleetKey, Identity, InstanceId, Keyring, NodeId, PairKeys, Party,
    PeerView, ResetKeys, View,
};
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
    pub(super) cid: CidConfig,
    pub(super) slots: Slots,
    configs: ConfigSet,
    peers: Vec<NodeId>,
}

/// The tunnel with what it delivers to.
#[derive(Debug)]
pub(super) struct BoundTunnel {
    pub(super) tunnel: Tunnel,
    pub(super) steering: Arc<Steering>,
}

impl BoundTunnel {
    pub(super) async fn serve(self, stop: CancellationToken) {
        self.tunnel.serve(self.steering, stop).await;
    }
}

impl Membership {
    /// Reads the key file. A node without a fleet has the key of the process that it takes over from,
    /// or draws one.
    pub(super) fn new(
        config: &Config,
        instance: InstanceId,
        before: Option<Keyring>,
        workers: NonZeroU16,
    ) -> Result<Self, GatewayError> {
        let node = config.node.id;
        let (keyring, peers) = match &config.fleet {
            None => {
                let keyring = match before {
                    Some(before) => before,
                    None => Keyring::new(FleetKey::new(Epoch::default(), random()?)),
                };
                (keyring, Vec::new())
            }
            Some(fleet) => {
                let ids: Vec<_> = fleet.member.iter().map(|member| member.id).collect();
                if !ids.contains(&node) {
                    return Err(GatewayError::NotAMember(node));
                }
                (read_key_file(&fleet.key_file)?, ids)
            }
        };
        let cid = config
            .cid
            .form::<GatewayError>(|| Ok(keyring.current().clone()))?;
        let identity = match config.cid.aws_server_id {
            None => Identity::Node(node, instance),
            Some(id) => Identity::Opaque(ServerId::new(&id).expect("8 bytes are a server ID")),
        };
        if identity.server_id().len() != cid.server_id_len() {
            return Err(GatewayError::ServerId);
        }
        let configs = [cid.clone()].into_iter().collect();
        let hash = WorkerHash::new(random()?);
        let listeners = u16::try_from(config.listen.len())
            .ok()
            .and_then(NonZeroU16::new)
            .ok_or(GatewayError::Listeners(config.listen.len()))?;
        let slots = Slots::new(hash, cid.cid_len(), listeners, workers)
            .map_err(|_too_many| GatewayError::Listeners(config.listen.len()))?;
        Ok(Self {
            keyring,
            identity,
            node,
            instance,
            cid,
            slots,
            configs,
            peers,
        })
    }

    /// The steering rules that follow from it.
    pub(super) fn steer(&self) -> Steer {
        Steer::new(
            self.configs.clone(),
            View::new(
                self.identity,
                self.peers.iter().copied().map(PeerView::live),
            ),
            self.slots,
        )
    }

    /// The keys of the stateless reset tokens.
    pub(super) fn reset_keys(&self) -> ResetKeys {
        let key = self.keyring.current().clone();
        ResetKeys::new(key, self.configs.clone(), self.identity.server_id())
    }

    /// Opens this node's end of the tunnels on the member's relay address.
    pub(super) fn tunnel(
        &self,
        fleet: &Fleet,
        supply: &mut Supply,
        metrics: &Metrics,
    ) -> Result<Tunnel, GatewayError> {
        let relay = fleet
            .member
            .iter()
            .find(|member| member.id == self.node)
            .ok_or(GatewayError::NotAMember(self.node))?
            .relay;
        let bind_error = |source| GatewayError::Bind {
            address: format!("relay {relay}"),
            source,
        };
        let socket = supply.relay(relay)?;
        socket.set_nonblocking(true).map_err(bind_error)?;
        let own = Party {
            node: self.node,
            instance: self.instance,
            boot: BootId(random()?),
        };
        let counters = Counters::new();
        let others = fleet.member.iter().filter(|member| member.id != self.node);
        let peers = others.map(|member| {
            let keys = PairKeys::new(&self.keyring, self.node, member.id);
            let counters = Arc::clone(&counters);
            Peer::new(
                member.relay,
                Association::new(own, member.id, keys, counters),
            )
        });
        Tunnel::new(socket, self.node, peers, metrics.clone()).map_err(bind_error)
    }
}

/// The largest UDP payload that a client may send.
pub(super) fn max_udp_payload(config: &Config) -> Result<u16, GatewayError> {
    let configured = config.quic.max_udp_payload;
    match &config.fleet {
        None => Ok(configured),
        Some(fleet) => Ok(configured.min(fleet.max_udp_payload()?)),
    }
}

/// Draws random bytes from the operating system's generator.
pub(super) fn random<const N: usize>() -> Result<[u8; N], GatewayError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_unspecified| GatewayError::Random)?;
    Ok(bytes)
}

//! Composition: from a checked configuration to a running gateway. The only module that knows every
//! module of the rim.

mod builder;
mod check;
mod conductor;
mod console;
mod fleet;
mod fleet_handle;
mod ground;
mod hand_over;
mod handle;
mod identities;
mod listener;
mod plan;
mod reload;
mod shared;
mod status;
mod supply;

use std::future::Future;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use builder::{GatewayBuilder, Sockets};
pub use check::check;
pub use fleet_handle::{FleetHandle, FleetReloadError};
pub use hand_over::{HandOver, Upgraded};
pub use handle::{Applied, GatewayEnded, GatewayHandle, LocateError};
pub use identities::DevelopmentCertificate;
pub use listener::Protocols;
pub use reload::ReloadError;

use self::conductor::Conductor;
use self::fleet::BoundTunnel;
use self::listener::Listener;
use self::shared::Shared;
use crate::admin::{Admin, AdminError, AdminState};
use crate::control::InstancesError;
use crate::edge::{SiblingReceiver, TlsError};
use crate::fleet::InstanceId;
use crate::lifecycle::{InheritedError, SocketName, State};
use crate::telemetry::Metrics;

/// A gateway whose sockets are bound and which serves nothing yet.
///
/// The gateway installs no signal handler, no global subscriber and no runtime, and never exits the
/// process: it runs on the caller's tokio runtime until the caller's future resolves.
#[derive(Debug)]
pub struct Gateway {
    listeners: Vec<Listener>,
    tunnel: Option<Box<BoundTunnel>>,
    fleet: Option<FleetHandle>,
    admin: Option<Admin>,
    admin_state: Arc<AdminState>,
    development: Option<DevelopmentCertificate>,
    shared: Arc<Shared>,
    conductor: Conductor,
    handle: GatewayHandle,
    sibling_receiver: SiblingReceiver,
}

/// Why a gateway could not start or ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// A socket could not be bound.
    #[error("cannot bind {address}: {source}")]
    Bind {
        /// What was to be bound.
        address: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// A certificate or key cannot be used.
    #[error("{0}")]
    Tls(Box<dyn std::error::Error + Send + Sync>),
    /// The admin listener could not be bound.
    #[error("the admin listener: {0}")]
    Admin(#[from] AdminError),
    /// The fleet's files cannot be used.
    #[error("{0}")]
    Fleet(#[from] crate::control::SnapshotError),
    /// The connection ID settings do not go together; the configuration check refuses them too.
    #[error("connection IDs: {0}")]
    Cid(#[from] crate::cid::ConfigError),
    /// `cid.aws_server_id` is not present exactly under the `aws-nlb` profile; the configuration
    /// check refuses that too.
    #[error("the profile aws-nlb, and no other, needs AWS_LBC_QUIC_SERVER_ID")]
    ServerId,
    /// This node is not among the fleet's members.
    #[error("node {0} is not a member of the fleet")]
    NotAMember(crate::fleet::NodeId),
    /// The members are no fleet.
    #[error("fleet.member: {0}")]
    Roster(#[from] crate::fleet::RosterError),
    /// There are no listeners, or more than 65,535.
    #[error("{0} listeners; there are 1 to 65535")]
    Listeners(usize),
    /// The fleet's links are too small for a QUIC packet in an envelope.
    #[error("fleet.link_mtu: {0}")]
    LinkMtu(#[from] crate::config::LinkMtuError),
    /// This process cannot be registered among those of its node.
    #[error("{0}")]
    Instances(#[from] InstancesError),
    /// A socket that another process opened cannot be used.
    #[error("{0}")]
    Inherited(#[from] InheritedError),
    /// A socket that another process opened is not where the configuration wants it.
    #[error(
        "the socket {name} that was handed over is at {found}, not at {wanted}; restart to move it"
    )]
    Moved {
        /// The socket.
        name: SocketName,
        /// Where the configuration wants it.
        wanted: SocketAddr,
        /// Where it is.
        found: SocketAddr,
    },
    /// A listener has another number of sockets than it is to have workers; their number is fixed while
    /// the sockets live.
    #[error(
        "the listener {listener} has {sockets} sockets and is to have {workers} workers; restart to change them"
    )]
    Workers {
        /// The listener's index.
        listener: usize,
        /// How many sockets there are.
        sockets: usize,
        /// How many there are to be.
        workers: NonZeroU16,
    },
    /// Two processes of one node would have the same instance.
    #[error(
        "node.instance is fixed, so two processes of this node cannot be told apart; leave it out"
    )]
    FixedInstance,
    /// The profile `aws-nlb` has no place for an instance in connection IDs.
    #[error("the profile aws-nlb cannot tell two processes of a node apart; restart instead")]
    NoInstances,
    /// Connection IDs would be written in another way than those of the process before, whose packets
    /// nobody could tell any more.
    #[error("an upgrade cannot change cid, nor whether there is a fleet; restart to change them")]
    OtherCids,
    /// The process from which this one takes over is of another node, or registered elsewhere.
    #[error(
        "the process before is not in {}: an upgrade cannot change node.id or runtime_dir, which is in \
         state_dir by default; restart to change them",
        .0.display()
    )]
    OtherPlace(PathBuf),
    /// The directory of traces cannot be used.
    #[error("log.qlog_dir: {0}")]
    Qlog(std::io::Error),
    /// The routes cannot be built.
    #[error("routes: {0}")]
    Routes(String),
    /// This part of the configuration is on, and an application cannot have it.
    #[error("{0} is for HTTP alone; turn it off for an application")]
    HttpOnly(&'static str),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random,
    /// A listener, the tunnel or the admin listener ended by itself, which none should; the rest was
    /// drained. Start again, and report it with the log.
    #[error("a part of the gateway ended by itself")]
    PartEnded,
    /// So many connections had not ended when the shutdown grace ran out; they were cut off.
    #[error("the shutdown grace ran out with {0} connections still open")]
    GraceExpired(usize),
}

impl From<TlsError> for GatewayError {
    fn from(error: TlsError) -> Self {
        Self::Tls(Box::new(error))
    }
}

impl Gateway {
    /// Starts with the default configuration, the bridge as handler and a new metrics registry.
    pub fn builder() -> GatewayBuilder {
        GatewayBuilder::default()
    }

    /// The addresses that were bound, in the order of `config.listen`, with ports resolved.
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(Listener::address).collect()
    }

    /// Where the admin listener is, in words; `None` when it is off.
    pub fn admin_address(&self) -> Option<String> {
        self.admin.as_ref().map(|admin| admin.local().to_owned())
    }

    /// The development certificate, if a listener uses it.
    pub fn development_certificate(&self) -> Option<&DevelopmentCertificate> {
        self.development.as_ref()
    }

    /// The fleet that this node is a member of, if any; it can be used while the gateway serves.
    pub fn fleet(&self) -> Option<FleetHandle> {
        self.fleet.clone()
    }

    /// The counters of this gateway.
    pub fn metrics(&self) -> Metrics {
        self.shared.metrics.clone()
    }

    /// What commands the gateway while it serves.
    pub fn handle(&self) -> GatewayHandle {
        self.handle.clone()
    }

    /// The instance that stands in the connection IDs of this gateway.
    pub fn instance(&self) -> InstanceId {
        self.shared.instance
    }

    /// Reads the sockets from here on; [`Gateway::serve`] does it too. For a gateway that takes over,
    /// when the one before has stopped.
    pub fn take_over(&self) {
        self.shared.reins.begin_reading();
    }

    /// Serves until `shutdown` resolves. Then it sends clients elsewhere as
    /// [`GatewayHandle::drain`] does, takes no new connection, and lets the requests under way come to
    /// their end for at most `shutdown.grace`.
    ///
    /// # Errors
    /// [`GatewayError::GraceExpired`] when connections had to be cut off, and
    /// [`GatewayError::PartEnded`].
    pub async fn serve(
        self,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), GatewayError> {
        let Self {
            shared,
            mut conductor,
            handle: _kept,
            ..
        } = self;
        let (course, end) = (shared.lifecycle.course(), CancellationToken::new());
        let mut edges = JoinSet::new();
        let mut services = JoinSet::new();
        if let Some(tunnel) = self.tunnel {
            services.spawn(tunnel.serve(end.clone()));
        }
        if let Some(admin) = self.admin {
            services.spawn(admin.serve(self.admin_state, end.clone().cancelled_owned()));
        }
        let requests: Vec<_> = self.listeners.iter().map(Listener::service).collect();
        for listener in self.listeners {
            listener.spawn(&mut edges, &course, shared.steering.reading());
        }
        let reins = &shared.reins;
        if let Some(siblings) = reins.siblings.clone() {
            let (receiver, end) = (self.sibling_receiver, end.clone());
            services.spawn(async move { siblings.serve(receiver, end).await });
        }
        reins.begin_reading();
        reins.notifier.tell(State::Ready);

        let told = tokio::select! {
            () = shutdown => true,
            () = reins.given_way(|| shared.config().upgrade.keep, &shared.metrics) => true,
            Some(()) = ended(&mut edges) => false,
            Some(()) = ended(&mut services) => false,
            never = Box::pin(conductor.run()) => match never {},
        };
        drop(conductor);
        let superseded = reins.stop();
        if superseded {
            shared.lifecycle.end_superseded();
        } else {
            shared.lifecycle.end(&shared.hooks()).await;
        }
        reins.let_go(superseded);
        let grace = shared.config().shutdown.grace;
        let expire = async {
            tokio::time::sleep(grace).await;
            for service in &requests {
                service.cut_off();
            }
            shared.lifecycle.over();
            std::future::pending().await
        };
        // A panic goes on here: no task of the gateway itself may end before it is told to.
        let left: Vec<usize> = tokio::select! {
            left = edges.join_all() => left,
            never = expire => never,
        };
        end.cancel();
        services.join_all().await;
        if let Some(siblings) = &reins.siblings {
            siblings.leave();
        }
        match (told, left.iter().sum()) {
            (false, _) => Err(GatewayError::PartEnded),
            (true, 0) => Ok(()),
            // What was left after `upgrade.keep` is what an upgrade is said to cost.
            (true, _) if superseded => Ok(()),
            (true, left) => Err(GatewayError::GraceExpired(left)),
        }
    }
}

/// Waits for the next task, if there is any left. A panic is passed on: those of connections do not
/// come this far, so it is of the gateway itself.
async fn ended<T: 'static>(tasks: &mut JoinSet<T>) -> Option<()> {
    match tasks.join_next().await? {
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Ok(_) | Err(_) => Some(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[should_panic(expected = "planted")]
    async fn a_panic_of_a_part_is_passed_on() {
        let mut parts = JoinSet::new();
        parts.spawn(async { panic!("planted") });
        let _ended: Option<()> = ended::<()>(&mut parts).await;
    }
}

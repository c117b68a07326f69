use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::listener::Bound;
use crate::admin::{self, Admin};
use crate::control::Entry;
use crate::edge::{Siblings, Steering};
use crate::fleet::InstanceId;
use crate::lifecycle::{Inherited, Notifier, Program, SocketName, State, Successor, UpgradeError};
use crate::steer::Slots;
use crate::sys::worker_program;
use crate::telemetry::{Metrics, Transport};

/// What a process gives to the one that takes over, and what it needs to go back.
#[derive(Debug)]
pub(super) struct Reins {
    steering: Arc<Steering>,
    /// `None` without a runtime directory, or where connection IDs do not tell processes apart.
    pub(super) siblings: Option<Arc<Siblings>>,
    /// A duplicate of every socket, until this process ends.
    sockets: Mutex<Inherited>,
    admin: Option<admin::Owner>,
    pub(super) notifier: Notifier,
    stage: watch::Sender<Stage>,
    fixed_instance: bool,
    slots: Slots,
}

/// Who reads the sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// Another process, which this one is to take over from, or nobody yet.
    #[default]
    Prepared,
    /// This process.
    Reading,
    /// This process, which prepares to give way.
    Giving,
    /// Another process, which took over from this one.
    Superseded,
    /// Whoever it is, this process ends.
    Ending,
}

/// A hand-over that has begun and is not complete. Dropping it leaves everything as it was: this
/// process reads.
#[derive(Debug)]
pub struct HandOver {
    reins: Arc<Reins>,
}

/// The process that took over.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Upgraded {
    /// Its process ID.
    pub pid: Option<u32>,
    /// Its instance.
    pub instance: InstanceId,
    /// Its version.
    pub version: String,
}

impl fmt::Display for Upgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("another process has taken over:")?;
        if let Some(pid) = self.pid {
            write!(f, " pid={pid}")?;
        }
        let Self {
            instance, version, ..
        } = self;
        write!(f, " instance={instance} version={version}")
    }
}

impl Reins {
    pub(super) fn new(
        bound: &Bound<'_>,
        (siblings, sockets): (Option<Arc<Siblings>>, Inherited),
        admin: Option<&Admin>,
        notifier: Notifier,
    ) -> Self {
        let steering = bound.steering;
        if let Some(siblings) = &siblings {
            steering.join(Arc::clone(siblings));
            siblings.refresh(steering);
        }
        Self {
            steering: Arc::clone(steering),
            siblings,
            sockets: Mutex::new(sockets),
            admin: admin.map(Admin::owner),
            notifier,
            stage: watch::Sender::default(),
            fixed_instance: bound.plan.config.node.instance.is_some(),
            slots: bound.membership.slots,
        }
    }

    /// Begins to read, as the process to which the sockets belong from here on.
    fn take(&self) {
        self.enter(Stage::Reading);
        if let Some(admin) = &self.admin {
            admin.set(true);
        }
        self.choose_workers();
        self.steering.reading().resume();
    }

    /// Begins to read, unless this process does so already or has given way since.
    pub(super) fn begin_reading(&self) {
        if *self.stage.borrow() == Stage::Prepared {
            self.take();
        }
    }

    /// Lets the kernel choose workers by this process's hash, in place of that of the process that
    /// read before. Where it cannot, user space hands datagrams from worker to worker.
    fn choose_workers(&self) {
        if self.steering.ignores_kernel() {
            return;
        }
        let held = self.sockets.lock().expect("no holder panics");
        let mut groups = BTreeMap::<usize, Vec<_>>::new();
        for (name, socket) in held.sockets() {
            if let SocketName::Udp(listener) = name {
                groups.entry(*listener).or_default().push(socket);
            }
        }
        for (listener, group) in groups {
            let workers = u16::try_from(group.len()).ok().and_then(NonZeroU16::new);
            let Some(workers) = workers.filter(|workers| workers.get() > 1) else {
                continue;
            };
            let (hash, cid_len) = (self.slots.hash(), self.slots.cid_len());
            if let Err(error) = worker_program::attach(group[0], hash, cid_len, workers) {
                tracing::warn!(listener, %error, "the kernel does not choose among workers");
            }
        }
    }

    /// Begins the end: nobody takes over any more. Gives whether another process reads.
    pub(super) fn stop(&self) -> bool {
        let superseded = self.enter(Stage::Ending) == Stage::Superseded;
        if !superseded {
            self.notifier.tell(State::Stopping);
        }
        superseded
    }

    /// Lets go of the sockets, which would stay open otherwise, and tells the processes from which this
    /// one took over that the node ends.
    pub(super) fn let_go(&self, superseded: bool) {
        *self.sockets.lock().expect("no holder panics") = Inherited::default();
        if let (Some(siblings), false) = (&self.siblings, superseded) {
            siblings.announce_ending();
        }
    }

    /// Begins to give way.
    ///
    /// # Errors
    /// [`UpgradeError`] says why it cannot.
    pub(super) fn begin(self: &Arc<Self>) -> Result<HandOver, UpgradeError> {
        if self.steering.current().view().own().node().is_none() {
            return Err(UpgradeError::NoInstances);
        }
        if self.fixed_instance {
            return Err(UpgradeError::FixedInstance);
        }
        if self.siblings.is_none() {
            return Err(UpgradeError::NotRegistered);
        }
        let mut refused = None;
        self.stage.send_if_modified(|stage| {
            refused = match stage {
                Stage::Reading => None,
                Stage::Prepared | Stage::Giving => Some(UpgradeError::Busy),
                Stage::Superseded => Some(UpgradeError::Superseded),
                Stage::Ending => Some(UpgradeError::Ending),
            };
            if refused.is_none() {
                *stage = Stage::Giving;
            }
            refused.is_none()
        });
        match refused {
            Some(refusal) => Err(refusal),
            None => Ok(HandOver {
                reins: Arc::clone(self),
            }),
        }
    }

    /// Starts a program and lets it take over.
    ///
    /// # Errors
    /// [`UpgradeError`]; this process reads on then.
    pub(super) async fn upgrade(
        self: &Arc<Self>,
        program: &Program,
        limit: Duration,
    ) -> Result<Upgraded, UpgradeError> {
        let hand_over = self.begin()?;
        let own = self.own().ok_or(UpgradeError::NotRegistered)?;
        let sockets = hand_over.sockets()?;
        let mut successor = Successor::start(program)?;
        let pid = successor.pid();
        let prepared = successor.prepare(own.birth, &sockets, limit).await?;
        hand_over.pause();
        successor.take_over().await?;
        hand_over.complete();
        if let Some(pid) = pid {
            self.notifier.tell(State::MainPid(pid));
        }
        Ok(Upgraded {
            pid,
            instance: prepared.instance,
            version: prepared.version,
        })
    }

    /// Resolves when this process, which gave way, is to end: its time is over, its connections are,
    /// or the node ends. Never for a process that reads; one whose successors are all gone reads again.
    pub(super) async fn given_way(&self, keep: impl Fn() -> Duration, metrics: &Metrics) {
        let Some(siblings) = &self.siblings else {
            return std::future::pending().await;
        };
        let mut stage = self.stage.subscribe();
        let mut census = siblings.census();
        loop {
            // Both senders live as long as `self`.
            drop(stage.wait_for(|stage| *stage == Stage::Superseded).await);
            tokio::select! {
                () = sleep(keep()) => return,
                () = idle(metrics) => return,
                news = census.wait_for(|census| census.ending || !census.superseded) => {
                    if news.is_ok_and(|census| census.ending) {
                        return;
                    }
                }
            }
            tracing::error!("the process that took over is gone; this one reads again");
            self.take();
        }
    }

    pub(super) fn own(&self) -> Option<Entry> {
        self.siblings.as_ref().map(|siblings| siblings.own())
    }

    fn enter(&self, stage: Stage) -> Stage {
        self.stage.send_replace(stage)
    }
}

impl HandOver {
    /// Duplicates of all sockets, for [`GatewayBuilder::inherited`](super::GatewayBuilder::inherited)
    /// of the gateway that takes over.
    ///
    /// # Errors
    /// When there are too many open files.
    pub fn sockets(&self) -> io::Result<Inherited> {
        let mut sockets = match self.reins.own() {
            Some(own) => Inherited::from_predecessor(own.birth),
            None => Inherited::default(),
        };
        let held = self.reins.sockets.lock().expect("no holder panics");
        if let Some(keyring) = held.keyring() {
            sockets.keep_keyring(keyring.clone());
        }
        if let Some(kept) = held.kept() {
            sockets.keep(kept.clone());
        }
        for (name, socket) in held.sockets() {
            sockets.push(*name, socket.try_clone()?);
        }
        Ok(sockets)
    }

    /// Stops reading; what arrives from here on waits for whoever reads next. To be called when the
    /// other gateway is bound, and followed by its [`Gateway::take_over`](super::Gateway::take_over).
    pub fn pause(&self) {
        self.reins.steering.reading().pause();
    }

    /// Ends the hand-over: the other gateway reads. This one keeps its connections for `upgrade.keep`
    /// or until they have ended, and then ends in order. It reads again if every gateway that took
    /// over from it is gone.
    pub fn complete(self) {
        self.pause();
        if let Some(admin) = &self.reins.admin {
            admin.set(false);
        }
        if let Some(siblings) = &self.reins.siblings {
            // Without a look it would seem that nobody took over.
            siblings.refresh(&self.reins.steering);
        }
        self.reins.stage.send_if_modified(|stage| {
            let giving = *stage == Stage::Giving;
            if giving {
                *stage = Stage::Superseded;
            }
            giving
        });
        tracing::info!("another process reads; this one keeps its connections");
    }
}

impl Drop for HandOver {
    fn drop(&mut self) {
        if *self.reins.stage.borrow() == Stage::Giving {
            self.reins.take();
        }
    }
}

/// Resolves when no connection has been open for as long as a handshake may take.
async fn idle(metrics: &Metrics) {
    let mut looks = interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let open = |transport| metrics.connections.get_or_create(&transport).get();
    let mut quiet = 0;
    while quiet < QUIET_LOOKS {
        looks.tick().await;
        if open(Transport::QUIC) + open(Transport::TCP) == 0 {
            quiet += 1;
        } else {
            quiet = 0;
        }
    }
}

const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Ten seconds, the default of `timeouts.handshake`: a connection is counted when it is established.
const QUIET_LOOKS: u32 = 20;

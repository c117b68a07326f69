//! The steps of a process's life after its start: ready, drained and back, and its end.
//!
//! Who may come in changes here and nowhere else; what a reload may change is judged here too, and so
//! is how one process gives way to another.

mod files;
mod fixed;
mod hooks;
mod inherited;
mod notify;
mod upgrade;

use std::sync::Arc;

use tokio::sync::watch;

pub(crate) use files::Watched;
pub(crate) use fixed::{changed, fixed, remedy};
pub(crate) use inherited::Kept;
pub use inherited::{Inherited, InheritedError, SocketName};
pub use notify::{Notifier, State};
pub use upgrade::{Predecessor, Prepared, Program, Successor, UpgradeError};

use self::hooks::Hook;
use crate::config::Hooks;
use crate::edge::{Course, FleetDriver, Phase, Steering};
use crate::fleet::NodeId;
use crate::steer::Intake;
use crate::telemetry::{Metrics, Reason};

/// Leads every part of a process from phase to phase.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    phase: watch::Sender<Phase>,
    steering: Arc<Steering>,
    fleet: Option<Arc<FleetDriver>>,
    node: NodeId,
    metrics: Metrics,
}

impl Lifecycle {
    /// Begins at [`Phase::Starting`].
    pub(crate) fn new(
        steering: Arc<Steering>,
        fleet: Option<Arc<FleetDriver>>,
        node: NodeId,
        metrics: Metrics,
    ) -> Self {
        Self {
            phase: watch::Sender::new(Phase::Starting),
            steering,
            fleet,
            node,
            metrics,
        }
    }

    /// What the parts follow.
    pub(crate) fn course(&self) -> Course {
        Course::of(&self.phase)
    }

    /// The phase now.
    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Everything serves: new clients are welcome.
    pub(crate) async fn ready(&self, hooks: &Hooks) {
        self.enter(Phase::Ready);
        self.run(Hook::Announce, "ready", hooks).await;
    }

    /// Sends new clients elsewhere, once the network had its time to do so; what is drained already
    /// stays so.
    pub(crate) async fn drain(&self, hooks: &Hooks) {
        if self.phase() < Phase::Draining {
            self.withdraw("drain", hooks).await;
            self.enter(Phase::Draining);
        }
    }

    /// Takes a drain back; connections that were told to go still go.
    pub(crate) async fn undrain(&self, hooks: &Hooks) {
        if self.phase() == Phase::Draining {
            self.set_intake(Intake::Open);
            self.enter(Phase::Ready);
            self.run(Hook::Announce, "undrain", hooks).await;
        }
    }

    /// Drains for good: no new connection from here on.
    pub(crate) async fn end(&self, hooks: &Hooks) {
        if self.phase() < Phase::Draining {
            self.withdraw("shutdown", hooks).await;
        }
        self.enter(Phase::Ending);
    }

    /// Ends as a process to which no new client comes any more: nobody is told to go elsewhere.
    pub(crate) fn end_superseded(&self) {
        self.enter(Phase::Ending);
    }

    /// Cuts off what is left.
    pub(crate) fn over(&self) {
        self.enter(Phase::Over);
    }

    async fn withdraw(&self, event: &'static str, hooks: &Hooks) {
        self.enter(Phase::Withdrawing);
        if !hooks.withdraw.is_empty() {
            self.run(Hook::Withdraw, event, hooks).await;
            tokio::time::sleep(hooks.settle).await;
        }
        self.set_intake(Intake::HandOver);
    }

    fn set_intake(&self, intake: Intake) {
        self.steering.set_intake(intake);
        if let Some(fleet) = &self.fleet {
            fleet.set_draining(intake == Intake::HandOver);
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
        tracing::info!(phase = phase.name(), "the gateway enters a phase");
    }

    /// A hook that fails is told and counted, and changes nothing: a drain that needs the operator's
    /// command to succeed would never end.
    async fn run(&self, hook: Hook, event: &'static str, hooks: &Hooks) {
        let Some(command) = hook.command(hooks) else {
            return;
        };
        let occasion = hooks::Occasion {
            event,
            node: self.node,
        };
        let ended = hooks::run(command, occasion, hooks.timeout).await;
        let (hook, output) = (hook.name(), ended.output.as_str());
        match ended.outcome {
            Ok(()) => tracing::info!(hook, event, output, "the hook is done"),
            Err(error) => {
                let reason = Reason {
                    reason: error.reason(),
                };
                self.metrics.hook_failures.get_or_create(&reason).inc();
                tracing::warn!(hook, event, %error, output, "the hook failed");
            }
        }
    }
}

//! A link between hosts that this process plays: every packet passes through it, is delayed, lost or
//! sent another way as a [model](crate::link) says, and is written down.
//!
//! [`Network`] makes the hosts and an [`Emulator`] between them. It needs no privilege, only
//! [namespaces](super::lab::enclose).

mod capture;
mod lateness;
mod network;
mod pump;
mod recorder;
mod router;
mod trace;

use std::io::{self, PipeWriter, pipe};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

pub use capture::Capture;
pub use lateness::Lateness;
pub use network::Network;
pub use trace::{Direction, Fate, Packet, Trace};

use crate::link::Profile;
use crate::testbed::lab::Tap;
use pump::{Ports, Pump};
use router::Router;

/// What an [`Emulator`] starts with.
#[derive(Debug)]
pub struct EmulatorPlan {
    /// The cable of the client.
    pub client: Tap,
    /// The cables of the nodes; the client's packets go to the first.
    pub nodes: Vec<Tap>,
    /// The longest IP packet of these cables, in bytes.
    pub mtu: u16,
    /// What is written down at most.
    pub limits: Limits,
}

/// How much an [`Emulator`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes under way; packets beyond are lost as by a full queue.
    pub under_way: usize,
    /// Packets in a trace; those beyond are left out.
    pub packets: usize,
    /// Bytes of all packets in a trace; packets beyond are left out.
    pub bytes: usize,
}

/// Which packets of a direction are lost whatever the model says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// Their numbers, from 1.
    pub numbers: Vec<u64>,
    /// Only packets of this TCP or UDP port of the client are counted; without one, all are.
    pub client_port: Option<u16>,
}

/// A thread that passes packets on between a client and nodes, as links of a [`Profile`] for each
/// direction would. It ends with this.
///
/// At first packets take no time.
#[derive(Debug)]
pub struct Emulator {
    shared: Arc<Shared>,
    /// Its end wakes the thread if it sleeps.
    wake: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Emulator {
    /// Starts passing packets on.
    ///
    /// # Errors
    /// There is no node, or the system's.
    pub fn start(plan: EmulatorPlan) -> io::Result<Self> {
        if plan.nodes.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "an emulator needs a node",
            ));
        }
        let (woken, wake) = pipe()?;
        let shared = Arc::new(Shared {
            ports: Ports::new(plan.client, plan.nodes),
            state: Mutex::new(State {
                router: Router::new(plan.limits),
                failure: None,
                stop: false,
            }),
        });
        let pump = Pump::new(Arc::clone(&shared), woken, plan.mtu)?;
        let thread = std::thread::Builder::new()
            .name("emulator".into())
            .spawn(|| pump.run())?;
        Ok(Self {
            shared,
            wake: Some(wake),
            thread: Some(thread),
        })
    }

    /// Starts both directions anew, with their randomness from this seed. What is under way arrives
    /// as it would have.
    pub fn set_profiles(&self, to_node: Profile, to_client: Profile, seed: u64) {
        self.state().router.set_profiles(to_node, to_client, seed);
    }

    /// Loses packets by their numbers, of those that are sent from now on in a direction, in place of
    /// what was chosen for it before.
    pub fn choose_losses(&self, direction: Direction, chosen: Chosen) {
        self.state().router.choose_losses(direction, chosen);
    }

    /// Leads what the client sends from now on to the node of this index. What is under way goes where
    /// it would have.
    ///
    /// # Errors
    /// There is no such node.
    pub fn set_route(&self, node: usize) -> io::Result<()> {
        if node >= self.shared.ports.nodes() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("there is no node {node}"),
            ));
        }
        self.state().router.set_route(node);
        Ok(())
    }

    /// Begins a trace, in place of one that was not taken.
    pub fn record(&self) {
        self.state().router.record();
    }

    /// Ends the trace and gives it; an empty one if none was begun.
    ///
    /// Whatever a receiver has got of before is delivered in it.
    ///
    /// # Errors
    /// Why the emulator has stopped passing packets on.
    pub fn take(&self) -> io::Result<Trace> {
        Ok(self.running()?.router.take())
    }

    /// How late packets were since the start.
    ///
    /// # Errors
    /// Why the emulator has stopped passing packets on.
    pub fn lateness(&self) -> io::Result<Lateness> {
        let lateness = self.running()?.router.lateness();
        Ok(Lateness {
            dropped: self.shared.ports.dropped()?,
            ..lateness
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    fn running(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state();
        let ended = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
        let failure = match &state.failure {
            Some(failure) => io::Error::new(failure.kind(), failure.to_string()),
            None if ended => io::Error::other("its thread has panicked"),
            None => return Ok(state),
        };
        let text = format!("the link emulator has stopped: {failure}");
        Err(io::Error::new(failure.kind(), text))
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.state().stop = true;
        drop(self.wake.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            under_way: 64 << 20,
            packets: 100_000,
            bytes: 64 << 20,
        }
    }
}

/// What the thread and its owner share.
#[derive(Debug)]
struct Shared {
    ports: Ports,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    router: Router,
    /// Why no packet is passed on any more.
    failure: Option<io::Error>,
    /// Whether none is to be.
    stop: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;

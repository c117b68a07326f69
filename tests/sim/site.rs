//! A node as the world sees it: a machine on which processes come and go.

use std::time::Instant;

use wayhold::fleet::{InstanceId, Keyring, NodeId, Roster};

use crate::process::{Process, ProcessId};

/// One machine of the fleet.
pub(crate) struct Site {
    pub(crate) node: NodeId,
    /// The processes that run; the last one reads the sockets.
    pub(crate) processes: Vec<Process>,
    /// Whether routes lead here.
    pub(crate) announced: bool,
    /// Whether it belongs to the fleet, whoever knows that yet.
    pub(crate) member: bool,
    pub(crate) roster: Roster,
    pub(crate) keyring: Keyring,
    /// When heartbeats are due.
    pub(crate) tick_at: Option<Instant>,
    /// Whether something that takes time is done to it.
    pub(crate) busy: bool,
    instances: u8,
}

impl Site {
    pub(crate) fn new(node: NodeId, roster: Roster, keyring: Keyring) -> Self {
        Self {
            node,
            processes: Vec::new(),
            announced: false,
            member: true,
            roster,
            keyring,
            tick_at: None,
            busy: false,
            instances: 0,
        }
    }

    /// The name of the next process.
    pub(crate) fn next_process(&mut self) -> ProcessId {
        self.instances += 1;
        ProcessId {
            node: self.node,
            instance: InstanceId(self.instances),
        }
    }

    /// The process that reads the sockets.
    pub(crate) fn reader(&mut self) -> Option<&mut Process> {
        self.processes.last_mut()
    }

    pub(crate) fn process(&mut self, id: ProcessId) -> Option<&mut Process> {
        self.processes.iter_mut().find(|process| process.id == id)
    }

    pub(crate) fn connections(&self) -> usize {
        self.processes.iter().map(Process::connections).sum()
    }

    /// Tells every process which others run.
    pub(crate) fn introduce(&mut self) {
        let instances: Vec<_> = self
            .processes
            .iter()
            .map(|process| process.id.instance)
            .collect();
        for process in &mut self.processes {
            let own = process.id.instance;
            let others = instances
                .iter()
                .copied()
                .filter(|instance| *instance != own);
            process.set_siblings(others);
        }
    }
}

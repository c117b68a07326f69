//! What goes wrong, and what operators do.

use std::sync::atomic::Ordering;
use std::time::Duration;

use wayhold::link::Link;
use wayhold::steer::Intake;

use crate::client::Wishes;
use crate::event::Event;
use crate::keys::{Step, keyring};
use crate::plan::{Fault, below, ms};
use crate::process::ProcessId;
use crate::site::Site;
use crate::world::{World, roster};

/// What follows from a fault later.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Then {
    /// A fault that could not happen yet.
    Strike(Fault),
    /// Routes no longer lead to a node.
    Withdraw(usize),
    /// Routes lead to a node.
    Announce(usize),
    /// A node begins to hand over.
    Drain(usize),
    /// A node takes new connections again.
    Undrain(usize),
    /// A node leaves if it has no connections; it was asked so often.
    TryLeave(usize, u32),
    /// A node learns who the members are.
    Learn(usize),
    /// All members know each other.
    Counted,
    /// A machine is off.
    Off(usize),
    /// A machine starts again.
    On(usize),
    /// A process that was succeeded ends if it has no connections.
    TryEnd(usize, ProcessId),
    /// Links between nodes are whole again.
    Heal,
    /// A client's links are whole again.
    Reach(usize),
    /// A node gets the keyring of this step of the rotation from an epoch.
    Keys(usize, u32, Step),
    /// More resets are called for than are sent.
    FloodResets(usize),
    /// More connections are handed over than may be.
    FloodInitials(usize),
}

impl World {
    /// Does what the plan says.
    pub(crate) fn strike(&mut self, fault: Fault) {
        self.trace.note(self.now, &format!("{fault:?}"), 0, 0);
        match fault {
            Fault::Flip { client, node } => self.flip(client, node),
            Fault::Scatter { client } => {
                self.scattered[client] ^= true;
                self.happened("scatter");
            }
            Fault::Outage { client, time } => {
                self.uplinks[client].cut();
                self.downlinks[client].cut();
                self.happened("outage");
                self.later(time, Then::Reach(client));
            }
            Fault::Rebind { client }
            | Fault::Migrate { client, .. }
            | Fault::UpdateAndMigrate { client, .. } => self.move_client(client, fault),
            Fault::Spoof { client } => {
                self.adversary.aim(client);
                let site = below(&mut self.random, self.sites.len());
                self.spoof_initial(site);
                self.happened("spoof");
            }
            Fault::Mutations { node } => match self.mutate(node) {
                0 => self.later(ms(200), Then::Strike(fault)),
                _ => self.happened("mutation"),
            },
            Fault::Replay { node } => match self.replay(node) {
                0 => self.later(ms(200), Then::Strike(fault)),
                _ => self.happened("replay"),
            },
            Fault::Drain { node, time } => self.drain(node, time),
            Fault::Leave { node } => self.leave(node),
            Fault::Join => self.join(),
            Fault::Upgrade { node } => self.upgrade(node),
            Fault::Crash { node, back_after } => self.crash(node, back_after),
            Fault::CutPair { one, other, time } => self.cut([(one, other)], time),
            Fault::Isolate { node, time } => {
                let others = (0..self.sites.len()).filter(|other| *other != node);
                let pairs: Vec<_> = others.map(|other| (node, other)).collect();
                self.cut(pairs, time);
            }
            Fault::Rotate => self.rotate(),
            Fault::FloodOfResets { node } => {
                let other = (node + 1) % self.sites.len();
                self.crash(other, None);
                self.later(ms(2500), Then::FloodResets(node));
            }
            Fault::FloodOfInitials { node } => {
                let other = (node + 1) % self.sites.len();
                self.drain(node, ms(1500));
                self.later(ms(300), Then::Drain(other));
                self.later(ms(301), Then::FloodInitials(node));
                self.later(ms(1500), Then::Undrain(other));
            }
        }
    }

    /// Does what follows from something that was done.
    pub(crate) fn then(&mut self, then: Then) {
        match then {
            Then::Strike(fault) => self.strike(fault),
            Then::Withdraw(site) => {
                let others = self.sites.iter().filter(|site| site.announced).count() > 1;
                self.sites[site].announced &= !others;
            }
            Then::Announce(site) => {
                self.sites[site].announced = !self.sites[site].processes.is_empty();
            }
            Then::Drain(site) => self.set_intake(site, Intake::HandOver),
            Then::Undrain(site) => {
                self.set_intake(site, Intake::Open);
                self.sites[site].busy = false;
                self.later(ms(100), Then::Announce(site));
            }
            Then::TryLeave(site, tries) => self.try_leave(site, tries),
            Then::Learn(site) => {
                self.sites[site].roster = roster(self.members());
                self.update(site);
            }
            Then::Counted => self.count_members(),
            Then::Off(site) => self.stop(site),
            Then::On(site) => {
                self.checker.count("restart");
                self.start_process(site);
                self.sites[site].busy = false;
                self.later(ms(100), Then::Announce(site));
            }
            Then::TryEnd(site, process) => self.try_end(site, process),
            Then::Heal => self.relays.values_mut().for_each(Link::join),
            Then::Reach(client) => {
                self.uplinks[client].join();
                self.downlinks[client].join();
            }
            Then::Keys(site, epoch, step) => {
                self.sites[site].keyring = keyring(epoch, step);
                self.update(site);
            }
            Then::FloodResets(site) => self.flood_resets(site),
            Then::FloodInitials(site) => self.flood_initials(site),
        }
    }

    pub(crate) fn later(&mut self, after: Duration, then: Then) {
        self.at(self.now + after, Event::Then(then));
    }

    /// Within this time, by chance.
    pub(crate) fn within(&mut self, most: Duration) -> Duration {
        self.random.up_to(most)
    }

    /// Notes a fault that had an effect.
    pub(crate) fn happened(&mut self, what: &'static str) {
        self.faults += 1;
        self.checker.count(what);
    }

    fn flip(&mut self, client: usize, node: usize) {
        let before = self.routes[client];
        self.routes[client] = if node == before {
            (node + 1) % self.sites.len()
        } else {
            node
        };
        self.happened("flip");
    }

    /// A NAT that rebinds inside a handshake ends it, so only confirmed connections move.
    fn move_client(&mut self, number: usize, fault: Fault) {
        if !self.clients[number].is_confirmed() {
            if !self.clients[number].done {
                self.later(ms(200), Then::Strike(fault));
            }
            return;
        }
        self.happened(match fault {
            Fault::Migrate { .. } => "address change",
            Fault::UpdateAndMigrate { .. } => "key update",
            _ => "rebind",
        });
        self.client(number, |client, now, out| match fault {
            Fault::Migrate { network, .. } => client.migrate(now, network, out),
            Fault::UpdateAndMigrate { network, .. } => {
                client.update_keys();
                client.migrate(now, network, out)
            }
            _ => {
                client.rebind();
                Wishes::default()
            }
        });
    }

    /// Whether a site may be taken out of service: it is, with two others that stay.
    pub(crate) fn is_dispensable(&self, site: usize) -> bool {
        let serving = |site: &&Site| site.announced && !site.busy && !site.processes.is_empty();
        let others = self.sites.iter().filter(serving).count();
        self.sites.get(site).is_some_and(|site| serving(&site)) && others > 2
    }

    pub(crate) fn drain(&mut self, site: usize, time: Duration) {
        if !self.is_dispensable(site) {
            return;
        }
        self.happened("drain");
        self.sites[site].busy = true;
        self.set_intake(site, Intake::HandOver);
        let withdraw = self.within(ms(500));
        self.later(withdraw, Then::Withdraw(site));
        self.later(time, Then::Undrain(site));
    }

    pub(crate) fn set_intake(&mut self, site: usize, intake: Intake) {
        if let Some(process) = self.sites[site].reader() {
            process.set_intake(intake);
        }
    }

    fn upgrade(&mut self, site: usize) {
        let Some(before) = self.sites[site].reader() else {
            return;
        };
        let before = before.id;
        if self.sites[site].busy {
            return;
        }
        self.happened("upgrade");
        self.start_process(site);
        if let Some(process) = self.sites[site].process(before) {
            process.going_away.store(true, Ordering::Relaxed);
        }
        self.later(ms(300), Then::TryEnd(site, before));
    }

    fn try_end(&mut self, site: usize, process: ProcessId) {
        let open = self.sites[site]
            .process(process)
            .map(|process| process.connections());
        match open {
            None => {}
            Some(0) => {
                self.checker.count("upgrade ended");
                self.sites[site]
                    .processes
                    .retain(|other| other.id != process);
                self.checker.stopped(process);
                self.sites[site].introduce();
            }
            Some(_) => self.later(ms(300), Then::TryEnd(site, process)),
        }
    }

    fn crash(&mut self, site: usize, back_after: Option<Duration>) {
        if !self.is_dispensable(site) {
            return;
        }
        self.happened("crash");
        self.sites[site].busy = true;
        self.last_kill = Some(self.now);
        self.stop(site);
        self.remember_the_dead();
        let withdraw = ms(100) + self.within(ms(500));
        self.later(withdraw, Then::Withdraw(site));
        if let Some(back_after) = back_after {
            self.later(back_after, Then::On(site));
            self.later(back_after.max(withdraw) + ms(10), Then::Announce(site));
        }
    }

    fn stop(&mut self, site: usize) {
        for process in std::mem::take(&mut self.sites[site].processes) {
            self.checker.stopped(process.id);
        }
        self.sites[site].tick_at = None;
    }

    fn cut(&mut self, pairs: impl IntoIterator<Item = (usize, usize)>, time: Duration) {
        // One direction alone may fail too.
        let directions = if below(&mut self.random, 3) == 0 {
            1
        } else {
            2
        };
        for (one, other) in pairs {
            for pair in [(one, other), (other, one)].into_iter().take(directions) {
                if let Some(link) = self.relays.get_mut(&pair) {
                    link.cut();
                }
            }
        }
        self.happened("cut");
        self.later(time, Then::Heal);
    }
}

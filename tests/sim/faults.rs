//! What goes wrong, and what operators do.

use std::sync::atomic::Ordering;
use std::time::Duration;

use wayhold::link::Link;
use wayhold::steer::Intake;

use crate::client::Wishes;
use crate::event::Event;
use crate::issuer::CID_LIFETIME;
use crate::keys::{Step, keyring};
use crate::plan::{Fault, Toggle, below, ms};
use crate::process::ProcessId;
use crate::site::Site;
use crate::worker::IDLE_TIMEOUT;
use crate::world::{World, node, roster};

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
    /// A node learns that this one has left.
    Forget { at: usize, gone: usize },
    /// A node learns of all that have joined.
    Learn(usize),
    /// All members know each other.
    Counted,
    /// A machine is off.
    Off(usize),
    /// A machine starts again.
    On(usize),
    /// A process that was succeeded ends if it has no connections.
    TryEnd(usize, ProcessId),
    /// Links are whole again.
    Heal,
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
            Fault::Flip { client, node } => self.routes[client] = node,
            Fault::Scatter { client, on } => self.scattered[client] = on == Toggle::On,
            Fault::Rebind { client }
            | Fault::Migrate { client, .. }
            | Fault::UpdateAndMigrate { client, .. } => self.move_client(client, fault),
            Fault::Spoof { client } => {
                self.adversary.aim(client);
                let site = below(&mut self.random, self.sites.len());
                self.spoof_initial(site);
            }
            Fault::Mutations { node } => self.mutate(node),
            Fault::Replay { node } => self.replay(node),
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
            Then::Forget { at, gone } => {
                let known = self.sites[at]
                    .roster
                    .members()
                    .iter()
                    .map(|member| member.node);
                let left = (0..self.sites.len()).filter(|other| *other != gone);
                let known: Vec<_> = known.collect();
                let left = left.filter(|other| known.contains(&node(*other)));
                self.sites[at].roster = roster(left);
                self.update(at);
            }
            Then::Learn(site) => {
                self.sites[site].roster = roster(0..self.sites.len());
                self.update(site);
            }
            Then::Counted => self.count_members(),
            Then::Off(site) => self.stop(site),
            Then::On(site) => {
                self.start_process(site);
                self.sites[site].busy = false;
                self.later(ms(100), Then::Announce(site));
            }
            Then::TryEnd(site, process) => self.try_end(site, process),
            Then::Heal => self.relays.values_mut().for_each(Link::join),
            Then::Keys(site, epoch, step) => {
                self.sites[site].keyring = keyring(epoch, step);
                self.update(site);
            }
            Then::FloodResets(site) => self.flood_resets(site),
            Then::FloodInitials(site) => self.flood_initials(site),
        }
    }

    fn later(&mut self, after: Duration, then: Then) {
        self.at(self.now + after, Event::Then(then));
    }

    /// Within this time, by chance.
    fn within(&mut self, most: Duration) -> Duration {
        self.random.up_to(most)
    }

    /// A NAT that rebinds inside a handshake ends it, so only confirmed connections move.
    fn move_client(&mut self, number: usize, fault: Fault) {
        if !self.clients[number].is_confirmed() {
            if !self.clients[number].done {
                self.later(ms(200), Then::Strike(fault));
            }
            return;
        }
        self.checker.count("move");
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
    fn is_dispensable(&self, site: usize) -> bool {
        let serving = |site: &&Site| site.announced && !site.busy && !site.processes.is_empty();
        let others = self.sites.iter().filter(serving).count();
        self.sites.get(site).is_some_and(|site| serving(&site)) && others > 2
    }

    fn drain(&mut self, site: usize, time: Duration) {
        if !self.is_dispensable(site) {
            return;
        }
        self.checker.count("drain");
        self.sites[site].busy = true;
        self.set_intake(site, Intake::HandOver);
        let withdraw = self.within(ms(500));
        self.later(withdraw, Then::Withdraw(site));
        self.later(time, Then::Undrain(site));
    }

    fn set_intake(&mut self, site: usize, intake: Intake) {
        if let Some(process) = self.sites[site].reader() {
            process.set_intake(intake);
        }
    }

    fn leave(&mut self, site: usize) {
        if self.sites[site].roster.members().len() < 4 {
            return self.drain(site, ms(2000));
        }
        if !self.is_dispensable(site) {
            return;
        }
        self.checker.count("leave");
        self.sites[site].busy = true;
        self.set_intake(site, Intake::HandOver);
        self.later(ms(300), Then::Withdraw(site));
        self.later(ms(1000), Then::TryLeave(site, 0));
    }

    fn try_leave(&mut self, site: usize, tries: u32) {
        if self.sites[site].connections() > 0 {
            let next = if tries < 20 {
                Then::TryLeave(site, tries + 1)
            } else {
                Then::Undrain(site)
            };
            return self.later(ms(200), next);
        }
        self.checker.count("left");
        for at in (0..self.sites.len()).filter(|at| *at != site) {
            let after = self.within(ms(400));
            self.later(after, Then::Forget { at, gone: site });
        }
        self.later(ms(500), Then::Off(site));
        self.later(ms(600), Then::Counted);
    }

    fn join(&mut self) {
        let number = self.sites.len();
        if number > self.plan.nodes {
            return;
        }
        self.checker.count("join");
        let keyring = self.sites[0].keyring.clone();
        self.sites
            .push(Site::new(node(number), roster(0..=number), keyring));
        self.start_process(number);
        let announced = self.within(ms(800));
        self.later(announced, Then::Announce(number));
        for site in 0..number {
            let after = self.within(ms(800));
            self.later(after, Then::Learn(site));
        }
        self.later(ms(900), Then::Counted);
        for route in self.routes.iter_mut().step_by(3) {
            *route = number;
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
        self.checker.count("upgrade");
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
        self.checker.count("crash");
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
        let both = [below(&mut self.random, 3), 0][0] > 0;
        for (one, other) in pairs {
            for pair in [(one, other), (other, one)]
                .into_iter()
                .take(1 + usize::from(both))
            {
                if let Some(link) = self.relays.get_mut(&pair) {
                    link.cut();
                }
            }
        }
        self.checker.count("cut");
        self.later(time, Then::Heal);
    }

    fn rotate(&mut self) {
        let epoch = self.sites[0].keyring.current().epoch().0;
        if self
            .sites
            .iter()
            .any(|site| site.keyring.epochs().lowest != site.keyring.epochs().highest)
        {
            return;
        }
        self.checker.count("rotation");
        for site in 0..self.sites.len() {
            let known = self.within(ms(800));
            self.later(known, Then::Keys(site, epoch, Step::Distributed));
            // An operator who does not wait until all know the next key harms nobody.
            let used = known + ms(1) + self.within(ms(800));
            self.later(used, Then::Keys(site, epoch, Step::Used));
            // Everything that the key before made has ended by then.
            let alone = ms(1700) + 2 * CID_LIFETIME + IDLE_TIMEOUT;
            self.later(alone, Then::Keys(site, epoch, Step::Alone));
        }
    }

    /// Lets every process of a site follow its roster and its keyring.
    fn update(&mut self, number: usize) {
        let site = &mut self.sites[number];
        let (now, roster, keyring) = (self.now, &site.roster, &site.keyring);
        for process in &mut site.processes {
            process.update(now, roster, keyring);
        }
        self.plan_tick(number);
    }
}

//! Who belongs to the fleet, and with which keys.

use wayhold::steer::Intake;

use crate::faults::Then;
use crate::issuer::CID_LIFETIME;
use crate::keys::Step;
use crate::plan::ms;
use crate::site::Site;
use crate::worker::IDLE_TIMEOUT;
use crate::world::{World, node, roster};

impl World {
    pub(crate) fn leave(&mut self, site: usize) {
        if self.sites[site].roster.members().len() < 4 {
            return self.drain(site, ms(2000));
        }
        if !self.is_dispensable(site) {
            return;
        }
        self.happened("leave");
        self.sites[site].busy = true;
        self.set_intake(site, Intake::HandOver);
        self.later(ms(300), Then::Withdraw(site));
        self.later(ms(1000), Then::TryLeave(site, 0));
    }

    pub(crate) fn try_leave(&mut self, site: usize, tries: u32) {
        if self.sites[site].connections() > 0 {
            let next = if tries < 20 {
                Then::TryLeave(site, tries + 1)
            } else {
                Then::Undrain(site)
            };
            return self.later(ms(200), next);
        }
        self.checker.count("left");
        self.sites[site].member = false;
        for at in (0..self.sites.len()).filter(|at| *at != site) {
            let after = self.within(ms(400));
            self.later(after, Then::Learn(at));
        }
        self.later(ms(500), Then::Off(site));
        self.later(ms(600), Then::Counted);
    }

    pub(crate) fn join(&mut self) {
        let number = self.sites.len();
        if number > self.plan.nodes {
            return;
        }
        self.happened("join");
        let keyring = self.sites[0].keyring.clone();
        self.sites
            .push(Site::new(node(number), roster([number]), keyring));
        self.sites[number].roster = roster(self.members());
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

    pub(crate) fn rotate(&mut self) {
        let epoch = self.sites[0].keyring.current().epoch().0;
        if self
            .sites
            .iter()
            .any(|site| site.keyring.epochs().lowest != site.keyring.epochs().highest)
        {
            return;
        }
        self.happened("rotation");
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
    pub(crate) fn update(&mut self, number: usize) {
        let site = &mut self.sites[number];
        let (now, roster, keyring) = (self.now, &site.roster, &site.keyring);
        for process in &mut site.processes {
            process.update(now, roster, keyring);
        }
        self.plan_tick(number);
    }
}

//! A fleet, its clients and everything between them in virtual time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use wayhold::fleet::{Keyring, Member, NodeId, Roster};
use wayhold::link::{Link, Random};
use wayhold::steer::Arrival;
use wayhold::wire::BootId;

use crate::adversary::Adversary;
use crate::checker::Checker;
use crate::client::{Client, Wishes};
use crate::clock::{WallClock, beginning};
use crate::defect::Defect;
use crate::endpoint::Output;
use crate::event::Event;
use crate::keys::fleet_key;
use crate::network::HOP;
use crate::plan::{Plan, ms};
use crate::process::{Action, Process, ProcessId, Scene, Start};
use crate::site::Site;
use crate::trace::{Keep, Trace};

/// Everything there is.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) now: Instant,
    pub(crate) sites: Vec<Site>,
    pub(crate) clients: Vec<Client>,
    pub(crate) checker: Checker,
    pub(crate) trace: Trace,
    pub(crate) random: Random,
    pub(crate) adversary: Adversary,
    /// The node to which each client's packets go.
    pub(crate) routes: Vec<usize>,
    /// Clients whose packets each take a way of their own.
    pub(crate) scattered: Vec<bool>,
    /// How many faults had an effect.
    pub(crate) faults: usize,
    /// When a node's process was killed last.
    pub(crate) last_kill: Option<Instant>,
    clock: WallClock,
    defect: Option<Defect>,
    pub(crate) uplinks: Vec<Link>,
    pub(crate) downlinks: Vec<Link>,
    /// When the last of what each client has sent arrives.
    pub(crate) latest: Vec<Option<Instant>>,
    pub(crate) relays: BTreeMap<(usize, usize), Link>,
    pub(crate) homes: BTreeMap<SocketAddr, usize>,
    queue: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    order: u64,
}

impl World {
    pub(crate) fn new(plan: Plan, defect: Option<Defect>, keep: Keep) -> Self {
        let mut random = Random::new(plan.seed);
        let now = beginning();
        let clients = (0..).zip(&plan.clients).map(|(number, client)| {
            Client::new(number, client.hello, now + plan.end, random.fork())
        });
        let clients: Vec<Client> = clients.collect();
        let count = clients.len();
        let mut link = |profile| Link::new(profile, random.number());
        let uplinks = (0..count).map(|_| link(plan.access)).collect();
        let downlinks = (0..count).map(|_| link(plan.access)).collect();
        let pairs = (0..=plan.nodes).flat_map(|from| (0..=plan.nodes).map(move |to| (from, to)));
        let relays = pairs.map(|pair| (pair, link(plan.relay))).collect();
        let mut world = Self {
            now,
            routes: plan.clients.iter().map(|client| client.node).collect(),
            scattered: vec![false; count],
            homes: BTreeMap::new(),
            sites: Vec::new(),
            checker: Checker::new(count),
            trace: Trace::new(keep),
            adversary: Adversary::default(),
            faults: 0,
            last_kill: None,
            clock: WallClock::default(),
            queue: BinaryHeap::new(),
            order: 0,
            defect,
            clients,
            uplinks,
            downlinks,
            latest: vec![None; count],
            relays,
            random,
            plan,
        };
        world.found();
        world
    }

    /// Starts the nodes, and plans what clients do and what happens to them.
    fn found(&mut self) {
        let roster = roster(0..self.plan.nodes);
        for number in 0..self.plan.nodes {
            let keyring = Keyring::new(fleet_key(0));
            self.sites
                .push(Site::new(node(number), roster.clone(), keyring));
            self.start_process(number);
            self.sites[number].announced = true;
        }
        self.count_members();
        for client in 0..self.clients.len() {
            self.homes.insert(self.clients[client].address, client);
            // Nodes hear each other before clients come.
            let start = ms(600) + self.plan.clients[client].start;
            self.at(self.now + start, Event::GoOn(client));
        }
        for fault in 0..self.plan.faults.len() {
            self.at(self.now + self.plan.faults[fault].0, Event::Fault(fault));
        }
    }

    /// Runs until all clients have what they want and everything has ended; an error says what was
    /// wrong.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        let patience = self.now + self.plan.end + PATIENCE;
        while let Some(Reverse((at, _, event))) = self.queue.pop() {
            self.now = self.now.max(at);
            self.clock.set(self.now);
            self.handle(event);
            if let Some(violation) = self.checker.violation.take() {
                return Err(violation);
            }
            if self.clients.iter().all(|client| client.done) {
                return self.end();
            }
            if self.now > patience {
                let waiting = (0..self.clients.len()).filter(|client| !self.clients[*client].done);
                let waiting: Vec<_> = waiting.collect();
                return Err(format!("clients {waiting:?} do not come to an end"));
            }
        }
        Err("nothing happens any more".to_owned())
    }

    /// Lets what is left end: nothing may stay behind.
    fn end(&mut self) -> Result<(), String> {
        let (connections, faults) = (self.checker.connections_made(), self.faults);
        if connections < self.clients.len() || faults < self.plan.faults.len().min(LEAST_FAULTS) {
            return Err(format!("{connections} connections and {faults} faults"));
        }
        let last = self.now + FAREWELL;
        while let Some(Reverse((at, _, event))) = self.queue.pop() {
            if at > last {
                break;
            }
            self.now = self.now.max(at);
            self.clock.set(self.now);
            self.handle(event);
            if let Some(violation) = self.checker.violation.take() {
                return Err(violation);
            }
            if self.sites.iter().all(|site| site.connections() == 0) {
                return Ok(());
            }
        }
        let left: Vec<_> = self.sites.iter().map(Site::connections).collect();
        if left.iter().any(|left| *left > 0) {
            return Err(format!("connections stay behind: {left:?}"));
        }
        Ok(())
    }

    /// Plans an event.
    pub(crate) fn at(&mut self, at: Instant, event: Event) {
        self.order += 1;
        self.queue.push(Reverse((at, self.order, event)));
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Service(site, received) => self.at_service(site, received),
            Event::Relay(site, bytes) => {
                if let Some(process) = self.reader_of(site) {
                    self.with(site, process, |process, scene| {
                        process.tunnelled(scene, &bytes);
                    });
                    self.plan_tick(site);
                }
            }
            Event::Sibling(site, process, received) => {
                self.with(site, process, |process, scene| {
                    process.arrive(scene, received, Arrival::Sibling);
                });
            }
            Event::Client(to, received) => self.at_client(to, &received),
            Event::Wake(site, process, worker, handle) => {
                self.with(site, process, |process, scene| {
                    process.wake(scene, worker, handle);
                });
            }
            Event::WakeClient(client, handle) => {
                self.client(client, |client, now, out| client.wake(now, handle, out));
            }
            Event::GoOn(client) => self.client(client, Client::go_on),
            Event::Tick(site) => self.tick(site),
            Event::Fault(fault) => {
                let (_, fault) = self.plan.faults[fault];
                self.strike(fault);
            }
            Event::Then(then) => self.then(then),
        }
    }

    pub(crate) fn reader_of(&mut self, site: usize) -> Option<ProcessId> {
        self.sites[site].reader().map(|process| process.id)
    }

    /// Lets a process of a site do something, if it still runs, and what it wants.
    pub(crate) fn with(
        &mut self,
        site: usize,
        id: ProcessId,
        act: impl FnOnce(&mut Process, &mut Scene<'_>),
    ) {
        let mut out = Vec::new();
        let mut scene = Scene {
            now: self.now,
            checker: &mut self.checker,
            trace: &mut self.trace,
            out: &mut out,
        };
        if let Some(process) = self.sites[site].process(id) {
            act(process, &mut scene);
        }
        for action in out {
            self.act(site, id, action);
        }
    }

    fn act(&mut self, site: usize, by: ProcessId, action: Action) {
        match action {
            Action::Answer(sent) => self.answer(by, sent),
            Action::Tunnel(peer, bytes) => {
                if let Some(to) = self.sites.iter().position(|site| site.node == peer) {
                    self.adversary.capture_tunnelled(to, &bytes);
                    self.relay(site, to, &bytes);
                }
            }
            Action::Sibling(instance, received) => {
                let to = ProcessId {
                    node: by.node,
                    instance,
                };
                self.at(self.now + HOP, Event::Sibling(site, to, received));
            }
            Action::Alarm(worker, handle, at) => {
                self.at(at, Event::Wake(site, by, worker, handle));
            }
        }
    }

    /// Lets a client do something, and what it wants.
    pub(crate) fn client(
        &mut self,
        number: usize,
        act: impl FnOnce(&mut Client, Instant, &mut Output<crate::app::Asking>) -> Wishes,
    ) {
        let mut out = Output::default();
        let (before, from) = (self.clients[number].current, self.clients[number].address);
        let wishes = act(&mut self.clients[number], self.now, &mut out);
        let client = &self.clients[number];
        if client.current.is_some() && client.current != before {
            self.checker.client_connects(number);
        }
        if let Some(reason) = wishes.lost {
            let since = client.connecting_since;
            // Which process held it is not known before it has answered.
            let unknown = self.checker.owner_of(number).is_none();
            let excused = unknown
                && self
                    .last_kill
                    .is_some_and(|kill| since.is_none_or(|since| since < kill));
            self.checker.lost(number, &reason, excused);
        }
        if let Some(fault) = out.fault {
            self.checker.fail(format!("client {number}: {fault}"));
        }
        if self.clients[number].address != from {
            self.homes.remove(&from);
            self.homes.insert(self.clients[number].address, number);
        }
        if let Some(think) = wishes.think {
            self.at(self.now + think, Event::GoOn(number));
        }
        for (handle, at) in out.alarms {
            self.at(at, Event::WakeClient(number, handle));
        }
        for sent in out.sent {
            self.client_sends(number, sent);
        }
    }

    /// Starts a process at a site; it reads the sockets from now on.
    pub(crate) fn start_process(&mut self, number: usize) {
        let site = &mut self.sites[number];
        let id = site.next_process();
        let mut boot = [0; 16];
        self.random.fill(&mut boot);
        if self.defect == Some(Defect::CountersReused) {
            boot = [number as u8; 16];
        }
        let process = Process::new(
            self.now,
            Start {
                id,
                boot: BootId(boot),
                workers: NonZeroU16::new(self.plan.workers).expect("at least one"),
                roster: &site.roster,
                keyring: &site.keyring,
                retry: self.plan.retry[number],
                early_data: self.plan.early_data,
                cid_lifetime: self.plan.cid_lifetime,
                clock: self.clock.clone(),
                random: self.random.fork(),
                defect: self.defect,
            },
        );
        self.checker.started(id);
        site.processes.push(process);
        site.introduce();
        self.plan_tick(number);
    }

    fn tick(&mut self, site: usize) {
        if self.sites[site].tick_at != Some(self.now) {
            return;
        }
        self.sites[site].tick_at = None;
        if let Some(process) = self.reader_of(site) {
            self.with(site, process, Process::tick);
            self.plan_tick(site);
        }
    }

    /// Only the process that reads the tunnel's socket sends heartbeats.
    pub(crate) fn plan_tick(&mut self, number: usize) {
        let earliest = self.now + Duration::from_micros(1);
        let site = &mut self.sites[number];
        let Some(next) = site.reader().map(|reader| reader.next_tick().max(earliest)) else {
            return;
        };
        if site.tick_at.is_none_or(|at| next < at) {
            site.tick_at = Some(next);
            self.at(next, Event::Tick(number));
        }
    }

    /// The sites that belong to the fleet.
    pub(crate) fn members(&self) -> Vec<usize> {
        let sites = 0..self.sites.len();
        sites.filter(|site| self.sites[*site].member).collect()
    }

    /// Tells the checker who the members are.
    pub(crate) fn count_members(&mut self) {
        let members = self.members().into_iter().map(node);
        self.checker.hearing.set_members(members.collect());
    }
}

/// The fleet of these nodes.
pub(crate) fn roster(numbers: impl IntoIterator<Item = usize>) -> Roster {
    let member = |number: usize| Member {
        node: node(number),
        relay: SocketAddr::from(([10, 255, 0, number as u8 + 1], 4434)),
    };
    Roster::new(numbers.into_iter().map(member)).unwrap()
}

/// The ID of a site's node.
pub(crate) fn node(number: usize) -> NodeId {
    NodeId::new(number as u32 + 1).unwrap()
}

/// Longer than any connection may last without its client: three probe timeouts where those are long, which
/// they are after a cut, and as much again after what a node sends of its own (RFC 9000, section 10.1).
const FAREWELL: Duration = Duration::from_secs(90);
/// Of a plan that has so many.
const LEAST_FAULTS: usize = 3;
/// Longer than it takes to lose a connection, connect anew and fetch once.
const PATIENCE: Duration = Duration::from_secs(25);

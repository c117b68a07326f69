//! One process of a node: the core of the gateway around QUIC endpoints, as `edge` composes it, without
//! sockets and tasks.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use wayhold::cid::WorkerHash;
use wayhold::fleet::{
    ConfigDigest, Identity, InstanceId, Keyring, Membership, NodeId, Outgoing, Own, PeerState,
    Roster, Timing, View,
};
use wayhold::link::Random;
use wayhold::session::SessionKeys;
use wayhold::steer::{
    Arrival, EarlyKey, EarlyTable, Inbound, Intake, Slot, Slots, Steer, Tables, Verdict, Waiting,
};
use wayhold::wire::{BootId, Datagram, Ecn, RESET_RANDOM, stateless_reset, version_negotiation};

use crate::checker::{Checker, Decision, name_of};
use crate::clock::WallClock;
use crate::defect::Defect;
use crate::endpoint::{Received, Sent};
use crate::issuer::CID_LEN;
use crate::keys::{ResetSigner, cid_keys, config_of};
use crate::plan::EarlyData;
use crate::tls::SharedKeys;
use crate::trace::Trace;
use crate::worker::{Settings, Worker};

/// A process of the fleet: no two share it, whenever they live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ProcessId {
    pub(crate) node: NodeId,
    pub(crate) instance: InstanceId,
}

/// What a process is started with.
pub(crate) struct Start<'a> {
    pub(crate) id: ProcessId,
    pub(crate) boot: BootId,
    pub(crate) workers: NonZeroU16,
    pub(crate) roster: &'a Roster,
    pub(crate) keyring: &'a Keyring,
    pub(crate) retry: bool,
    pub(crate) early_data: EarlyData,
    pub(crate) cid_lifetime: Duration,
    pub(crate) clock: WallClock,
    pub(crate) random: Random,
    pub(crate) defect: Option<Defect>,
}

/// A running process.
pub(crate) struct Process {
    pub(crate) id: ProcessId,
    pub(crate) boot: BootId,
    pub(crate) workers: Vec<Worker>,
    pub(crate) going_away: Arc<AtomicBool>,
    keyring: Keyring,
    pub(crate) membership: Membership,
    pub(crate) outgoing: BTreeMap<NodeId, Arc<Outgoing>>,
    steer: Steer,
    tables: Tables,
    waiting: Waiting<Received>,
    resets: ResetSigner,
    sessions: SharedKeys,
    pub(crate) clock: WallClock,
    random: Random,
    pub(crate) defect: Option<Defect>,
}

/// What a process sees of the world while it handles something.
pub(crate) struct Scene<'a> {
    pub(crate) now: Instant,
    pub(crate) checker: &'a mut Checker,
    pub(crate) trace: &'a mut Trace,
    pub(crate) out: &'a mut Vec<Action>,
}

/// What a process wants done.
pub(crate) enum Action {
    /// Send to a client.
    Answer(Sent),
    /// Send to a peer's end of the tunnel.
    Tunnel(NodeId, Vec<u8>),
    /// Hand to another process of the node.
    Sibling(InstanceId, Received),
    /// Wake a connection of a worker.
    Alarm(u16, usize, Instant),
}

impl Process {
    pub(crate) fn new(now: Instant, start: Start<'_>) -> Self {
        let mut random = start.random;
        let identity = Identity::Node(start.id.node, start.id.instance);
        let mut key = [0; 8];
        random.fill(&mut key);
        let hash = WorkerHash::new(key);
        let slots = Slots::new(hash, CID_LEN, NonZeroU16::MIN, start.workers).unwrap();
        let own = Own {
            identity,
            node: start.id.node,
            instance: start.id.instance,
            boot: start.boot,
            config: ConfigDigest::new(b"simulation"),
        };
        let membership =
            Membership::new(now, own, start.roster, start.keyring, Timing::default()).unwrap();
        let sessions: SharedKeys = Arc::new(Mutex::new(Arc::new(SessionKeys::new(start.keyring))));
        let keys = cid_keys(start.keyring, identity.server_id());
        let configs = keys.configs().clone();
        let resets = ResetSigner {
            keys: Arc::new(Mutex::new(keys)),
            shared: (start.defect == Some(Defect::SharedResetKey)).then(shared_reset_key),
        };
        let going_away = Arc::new(AtomicBool::new(false));
        let workers = (0..start.workers.get()).map(|worker| {
            let minted_by = match start.defect {
                Some(Defect::WrongWorkerHash) => WorkerHash::new([0x5a; 8]),
                _ => hash,
            };
            Worker::new(&Settings {
                server_id: identity.server_id(),
                lane: slots.lane(Slot(worker)),
                hash: minted_by,
                resets: resets.clone(),
                sessions: Arc::clone(&sessions),
                clock: start.clock.clone(),
                random: random.fork(),
                going_away: Arc::clone(&going_away),
                retry: start.retry,
                cid_lifetime: start.cid_lifetime,
                names_owner: start.early_data == EarlyData::Owner,
                lax: start.defect == Some(Defect::LaxValidate),
            })
        });
        let workers = workers.collect();
        let mut steer = Steer::new(configs, View::new(identity, []), slots);
        if start.early_data == EarlyData::Owner {
            steer = steer.with_owners(sessions.lock().unwrap().tokens.clone());
        }
        let mut process = Self {
            id: start.id,
            boot: start.boot,
            workers,
            going_away,
            keyring: start.keyring.clone(),
            membership,
            outgoing: BTreeMap::new(),
            steer,
            waiting: Waiting::default(),
            tables: Tables::new(random.number()),
            resets,
            sessions,
            clock: start.clock,
            random,
            defect: start.defect,
        };
        process.follow();
        process
    }

    /// When [`Process::tick`] is due.
    pub(crate) fn next_tick(&self) -> Instant {
        self.membership.next_tick()
    }

    /// Sends heartbeats and follows what has changed.
    pub(crate) fn tick(&mut self, scene: &mut Scene<'_>) {
        let random = &mut self.random;
        let wall = self.clock.since_epoch();
        let messages = self
            .membership
            .tick(scene.now, wall, |bytes| random.fill(bytes));
        let tunnel = |(peer, bytes)| Action::Tunnel(peer, bytes);
        scene.out.extend(messages.into_iter().map(tunnel));
        self.follow();
    }

    /// Takes a client's datagram, however it came.
    pub(crate) fn arrive(&mut self, scene: &mut Scene<'_>, received: Received, arrival: Arrival) {
        let steered_as = match self.defect {
            Some(Defect::NoHopLimit) if arrival == Arrival::Tunnel => Arrival::Direct,
            _ => arrival,
        };
        if self.defect == Some(Defect::NoEarlyTable) {
            self.tables.early = EarlyTable::default();
        }
        let inbound = Inbound {
            datagram: &received.bytes,
            source: received.from,
            arrival: steered_as,
        };
        let tables = &mut self.tables;
        let verdict = self.steer.handle(scene.now, &inbound, || tables);
        let chosen = match verdict {
            Verdict::Local(Slot(chosen)) | Verdict::Accept(chosen) => u64::from(chosen),
            Verdict::Forward(node) => u64::from(node.get()),
            Verdict::Sibling(instance) => u64::from(instance.0),
            _ => 0,
        };
        let place = self.place() * 100 + chosen;
        let len = received.bytes.len();
        scene.trace.note(scene.now, name_of(verdict), place, len);
        let decision = Decision {
            by: self.id,
            inbound: Inbound { arrival, ..inbound },
            verdict,
            view: self.steer.view(),
        };
        scene.checker.decided(scene.now, &decision);
        let (early, waiting) = (self.tables.early.len(), self.waiting.len());
        scene.checker.tables(self.id, early, waiting);
        self.carry_out(scene, verdict, received);
        self.release(scene);
    }

    fn carry_out(&mut self, scene: &mut Scene<'_>, verdict: Verdict, received: Received) {
        match verdict {
            Verdict::Local(Slot(worker)) | Verdict::Accept(worker) => {
                self.deliver(scene, worker, &received);
            }
            Verdict::Sibling(instance) => scene.out.push(Action::Sibling(instance, received)),
            Verdict::Forward(peer) => self.forward(scene, peer, &received),
            Verdict::Wait => self.hold(scene, received),
            Verdict::Reset => self.reset(scene, &received),
            Verdict::Negotiate => self.negotiate(scene, &received),
            Verdict::Drop(_) => {}
        }
    }

    /// Hands a datagram to an endpoint without asking where it belongs: a stray copy must do no harm.
    pub(crate) fn stray(&mut self, scene: &mut Scene<'_>, worker: u16, received: &Received) {
        self.deliver(scene, worker % self.workers.len() as u16, received);
    }

    /// Wakes a connection.
    pub(crate) fn wake(&mut self, scene: &mut Scene<'_>, worker: u16, handle: usize) {
        self.workers[usize::from(worker)].wake(scene, (self.id, worker), handle);
    }

    /// Follows other members and keys.
    pub(crate) fn update(&mut self, now: Instant, roster: &Roster, keyring: &Keyring) {
        let outgoing = self.membership.update(now, roster, keyring).unwrap();
        self.outgoing.extend(outgoing);
        self.keyring = keyring.clone();
        let keys = cid_keys(keyring, self.steer.view().own().server_id());
        let sessions = SessionKeys::new(keyring);
        self.steer = self
            .steer
            .with_keys(keys.configs().clone(), &sessions.tokens);
        *self.resets.keys.lock().unwrap() = keys;
        *self.sessions.lock().unwrap() = Arc::new(sessions);
        self.follow();
    }

    /// Hands new connections to peers, or no longer.
    pub(crate) fn set_intake(&mut self, intake: Intake) {
        let draining = intake == Intake::HandOver;
        self.membership.set_draining(draining);
        self.going_away.store(draining, Ordering::Relaxed);
        self.steer = self.steer.clone().with_intake(intake);
    }

    /// Sets the other live processes of the node.
    pub(crate) fn set_siblings(&mut self, siblings: impl IntoIterator<Item = InstanceId>) {
        self.membership.set_siblings(siblings);
        self.follow();
    }

    /// Connections of all workers.
    pub(crate) fn connections(&self) -> usize {
        let open = |worker: &Worker| worker.endpoint.inner.open_connections();
        self.workers.iter().map(open).sum()
    }

    pub(crate) fn place(&self) -> u64 {
        u64::from(self.id.node.get()) * 100 + u64::from(self.id.instance.0)
    }

    /// Steers by the view of now, and mints under the epoch of now.
    pub(crate) fn follow(&mut self) {
        let keys = self.resets.keys.lock().unwrap();
        let place = keys.place_of(self.membership.minting());
        let minting = keys.epochs()[place].config.id();
        drop(keys);
        for worker in &self.workers {
            worker.issuer.rotate(self.steer.configs(), minting);
        }
        let Some(view) = self.membership.take_change() else {
            return;
        };
        let view = match self.defect {
            Some(Defect::MajorityIgnored) => without_majority(&view),
            _ => view,
        };
        let siblings = view.siblings().to_vec();
        self.steer = self.steer.with_peers(view).with_siblings(siblings);
    }

    /// Keeps early data until the Initial of its flow has come.
    fn hold(&mut self, scene: &mut Scene<'_>, received: Received) {
        let Ok(Datagram::Long(header)) = Datagram::parse(&received.bytes) else {
            return;
        };
        let key = EarlyKey::new(header.destination, received.from);
        let key = key.expect("the verdict looks at the length");
        if self.waiting.hold(scene.now, key, received).is_err() {
            scene.checker.count("waiting full");
        }
    }

    fn release(&mut self, scene: &mut Scene<'_>) {
        if self.waiting.is_empty() {
            return;
        }
        let early = &self.tables.early;
        let known = |key: &EarlyKey| early.get(scene.now, key).is_some();
        for received in self.waiting.release(scene.now, known).known {
            scene.checker.count("released");
            self.arrive(scene, received, Arrival::Direct);
        }
    }

    fn deliver(&mut self, scene: &mut Scene<'_>, worker: u16, received: &Received) {
        self.workers[usize::from(worker)].receive(scene, (self.id, worker), received);
    }

    fn reset(&mut self, scene: &mut Scene<'_>, received: &Received) {
        let Ok(Datagram::Short(rest)) = Datagram::parse(&received.bytes) else {
            return;
        };
        let cid = &rest[..CID_LEN];
        let mut random = [0; RESET_RANDOM];
        self.random.fill(&mut random);
        let token = self.resets.token(cid);
        let packet = stateless_reset(token, received.bytes.len(), random);
        let packet = packet.expect("the verdict looks at the length");
        scene
            .checker
            .reset(scene.now, self.id, &received.bytes, &packet);
        scene.out.push(Action::Answer(answer(received, packet)));
    }

    fn negotiate(&mut self, scene: &mut Scene<'_>, received: &Received) {
        let Ok(Datagram::Long(header)) = Datagram::parse(&received.bytes) else {
            return;
        };
        let mut random = [0; 5];
        self.random.fill(&mut random);
        let packet = version_negotiation(&header, random);
        scene.out.push(Action::Answer(answer(received, packet)));
    }
}

fn answer(to: &Received, bytes: Vec<u8>) -> Sent {
    Sent {
        connection: None,
        to: to.from,
        ecn: Ecn::NotEct,
        bytes,
    }
}

/// A view in which whoever is not heard by this node alone is dead.
fn without_majority(view: &View) -> View {
    let peers = view.peers().iter().map(|peer| {
        let mut peer = *peer;
        if peer.state == PeerState::Silent {
            peer.state = PeerState::Dead;
        }
        peer
    });
    View::new(view.own(), peers).with_siblings(view.siblings().iter().copied())
}

fn shared_reset_key() -> wayhold::fleet::ResetKey {
    let key = crate::keys::fleet_key(0);
    let one_for_all = wayhold::fleet::server_id(NodeId::default(), InstanceId(0));
    key.reset_key(config_of(&key).id(), &one_for_all)
}

/// The address that every node announces.
pub(crate) const SERVICE: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
    443,
);

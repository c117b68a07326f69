//! What a seed means: the fleet, its clients, the weather, and what goes wrong when.

use std::time::Duration;

use wayhold::link::{PerMillion, Profile, Random};

use crate::issuer::CID_LIFETIME;
use crate::tls::Hello;

/// One world, drawn from a seed.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    pub(crate) workers: u16,
    pub(crate) retry: Vec<bool>,
    pub(crate) early_data: EarlyData,
    pub(crate) clients: Vec<ClientPlan>,
    /// The way between clients and the fleet.
    pub(crate) access: Profile,
    /// The way between nodes.
    pub(crate) relay: Profile,
    /// Copies of datagrams that reach a wrong worker of the right process.
    pub(crate) strays: PerMillion,
    pub(crate) faults: Vec<(Duration, Fault)>,
    /// When clients end.
    pub(crate) end: Duration,
    /// How long nodes let connection IDs be used.
    pub(crate) cid_lifetime: Duration,
}

/// Whether address tokens lead early data back to the process that keeps its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EarlyData {
    Off,
    Owner,
}

/// One client.
#[derive(Clone, Debug)]
pub(crate) struct ClientPlan {
    pub(crate) hello: Hello,
    pub(crate) start: Duration,
    /// The node to which its packets go first.
    pub(crate) node: usize,
    /// The datagrams of its first connection that go to another node.
    pub(crate) astray: Vec<Astray>,
}

/// Datagrams of a connection that take another way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Astray {
    /// The index of the first of them.
    pub(crate) from: u32,
    /// How many.
    pub(crate) count: u32,
    pub(crate) node: usize,
}

/// Something that happens to the fleet or to a client.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// The route of a client's packets changes to another node.
    Flip { client: usize, node: usize },
    /// Each of a client's packets takes a way of its own, or no longer.
    Scatter { client: usize },
    /// Nothing that a client sends or is sent arrives for a while.
    Outage { client: usize, time: Duration },
    /// A client's NAT gives it another port.
    Rebind { client: usize },
    /// A client gets another address.
    Migrate { client: usize, network: u8 },
    /// A client changes keys and moves in the middle of that.
    UpdateAndMigrate { client: usize, network: u8 },
    /// A client's packet arrives first with an address that is not the client's.
    Spoof { client: usize },
    /// Someone sends packets that are almost those of a client.
    Mutations { node: usize },
    /// Tunnel packets are sent again.
    Replay { node: usize },
    /// A node hands over new connections for a while.
    Drain { node: usize, time: Duration },
    /// A node drains, and leaves the fleet when it has no connections.
    Leave { node: usize },
    /// A node joins.
    Join,
    /// A new process takes over the sockets of a node.
    Upgrade { node: usize },
    /// A node dies, and perhaps comes back.
    Crash {
        node: usize,
        back_after: Option<Duration>,
    },
    /// Two nodes do not hear each other for a while.
    CutPair {
        one: usize,
        other: usize,
        time: Duration,
    },
    /// A node hears no other and is heard by none for a while.
    Isolate { node: usize, time: Duration },
    /// The fleet's keys change: distributed, used, and the old ones dropped.
    Rotate,
    /// More packets for a connection that is gone than may be answered.
    FloodOfResets { node: usize },
    /// More new connections at a draining node than its peers take.
    FloodOfInitials { node: usize },
}

impl Plan {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5eed);
        let nodes = 3 + below(&mut random, 3);
        let clients = 10 + below(&mut random, 3);
        let mut plan = Self {
            seed,
            nodes,
            workers: 1 + below(&mut random, 3) as u16,
            early_data: if one_in(&mut random, 3) {
                EarlyData::Owner
            } else {
                EarlyData::Off
            },
            retry: (0..=nodes).map(|_| one_in(&mut random, 3)).collect(),
            clients: (0..clients).map(|_| client(&mut random, nodes)).collect(),
            access: weather(&mut random, 5..40),
            relay: weather(&mut random, 1..20),
            strays: PerMillion::percent(2),
            faults: Vec::new(),
            end: Duration::from_secs(5),
            cid_lifetime: CID_LIFETIME,
        };
        plan.draw_faults(&mut random);
        plan
    }

    /// Small things at any time, and one or two large ones after another.
    fn draw_faults(&mut self, random: &mut Random) {
        let large = 1 + below(random, 2);
        for number in 0..large {
            let at = ms(1200 + 4200 * number as u64) + random.up_to(ms(500));
            let fault = self.large(random);
            if matches!(fault, Fault::Rotate) {
                self.end = self.end.max(at + ROTATION);
            }
            self.end = self.end.max(at + ms(4500));
            self.faults.push((at, fault));
        }
        let small = 3 + below(random, 6);
        for _ in 0..small {
            let at = ms(300) + random.up_to(self.end.saturating_sub(ms(1000)));
            let fault = self.small(random);
            self.faults.push((at, fault));
        }
        // Some connect just when something large happens.
        for client in self.clients.iter_mut().take(4) {
            let (at, _) = self.faults[below(random, large)];
            client.start = at.saturating_sub(ms(600)) + random.up_to(ms(400));
            client.start = client.start.saturating_sub(ms(200));
        }
        self.faults.sort_by_key(|(at, _)| *at);
    }

    fn small(&self, random: &mut Random) -> Fault {
        let client = below(random, self.clients.len());
        let node = below(random, self.nodes);
        let network = 1 + below(random, 200) as u8;
        match random.below(11) {
            0 | 1 => Fault::Flip { client, node },
            2 => Fault::Scatter { client },
            3 | 4 => Fault::Rebind { client },
            5 => Fault::Migrate { client, network },
            6 => Fault::UpdateAndMigrate { client, network },
            7 => Fault::Spoof { client },
            8 => Fault::Mutations { node },
            9 => Fault::Outage {
                client,
                time: ms(100) + random.up_to(ms(700)),
            },
            _ => Fault::Replay { node },
        }
    }

    fn large(&self, random: &mut Random) -> Fault {
        let node = below(random, self.nodes);
        let other = (node + 1 + below(random, self.nodes - 1)) % self.nodes;
        let time = ms(800) + random.up_to(ms(2200));
        match random.below(40) {
            0..5 => Fault::Drain { node, time },
            5..9 => Fault::Leave { node },
            9..13 => Fault::Join,
            13..18 => Fault::Upgrade { node },
            18..22 => Fault::Crash {
                node,
                back_after: None,
            },
            22..27 => Fault::Crash {
                node,
                back_after: Some(random.up_to(ms(3000))),
            },
            27..31 => Fault::CutPair {
                one: node,
                other,
                time,
            },
            31..34 => Fault::Isolate { node, time },
            34..38 => Fault::Rotate,
            38 => Fault::FloodOfResets { node },
            _ => Fault::FloodOfInitials { node },
        }
    }
}

fn client(random: &mut Random, nodes: usize) -> ClientPlan {
    let node = below(random, nodes);
    let hello = if one_in(random, 2) {
        Hello::OnePacket
    } else {
        Hello::TwoPackets
    };
    let mut astray = Vec::new();
    if one_in(random, 2) {
        astray.push(Astray {
            from: random.below(10) as u32,
            count: 1 + random.below(6) as u32,
            node: below(random, nodes),
        });
    }
    ClientPlan {
        hello,
        start: random.up_to(ms(3500)),
        node,
        astray,
    }
}

fn weather(random: &mut Random, delay_ms: std::ops::Range<u64>) -> Profile {
    let spread = delay_ms.end - delay_ms.start;
    let mut profile = Profile::of(ms(delay_ms.start) + random.up_to(ms(spread)));
    if one_in(random, 4) {
        return profile;
    }
    profile.jitter = random.up_to(ms(5));
    profile.loss = PerMillion(random.below(20_000) as u32);
    profile.duplication = PerMillion(random.below(20_000) as u32);
    profile.reordering = PerMillion(random.below(50_000) as u32);
    profile.lateness = random.up_to(ms(15));
    profile
}

/// Until a rotation is over and what the key before made has been read for a while by the next alone.
const ROTATION: Duration = Duration::from_secs(29);

pub(crate) fn below(random: &mut Random, end: usize) -> usize {
    random.below(end as u64) as usize
}

pub(crate) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn one_in(random: &mut Random, many: u64) -> bool {
    random.below(many) == 0
}

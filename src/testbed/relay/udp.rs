use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::delay::{DelayLine, until};
use super::issuers::{Issuers, Named};
use super::nat::{Mapping, Nat, Parcel};
use super::{Command, Counts, FlowCounts, Honesty, Move, RelayConfig, tcp};
use crate::testbed::now;
use crate::testbed::socket::{Batch, Socket};

/// Carries datagrams from clients to nodes, and owns everything that moves.
///
/// One task does it all, so a move is one instant for every flow and every count.
#[derive(Debug)]
pub(super) struct Uplink {
    service: Arc<Socket>,
    nodes: Arc<[SocketAddr]>,
    honesty: Honesty,
    nat: Nat,
    tcp: Arc<tcp::Route>,
    flows: Vec<Flow>,
    by_client: HashMap<SocketAddr, usize>,
    line: DelayLine<Travelling>,
    issuers: Arc<Issuers>,
    // Where datagrams go, and where they are counted; they differ in a relay that lies.
    route: usize,
    claimed: usize,
    withdrawn: Vec<bool>,
    counts: Counts,
}

#[derive(Debug)]
struct Flow {
    client: SocketAddr,
    address: Ipv4Addr,
    /// None when the client has been silent for so long that its NAT has forgotten it.
    mapping: Option<Mapping>,
    heard: Instant,
    owner: Option<usize>,
    delivered: Vec<u64>,
}

/// A parcel that has left its NAT: the source address is fixed, the node is not.
#[derive(Debug)]
struct Travelling {
    flow: usize,
    from: Arc<Socket>,
    parcel: Parcel,
}

impl Uplink {
    pub(super) fn new(service: Socket, config: RelayConfig, tcp: Arc<tcp::Route>) -> Self {
        let service = Arc::new(service);
        let nodes: Arc<[SocketAddr]> = config.nodes.into();
        let issuers = Arc::<Issuers>::default();
        let counts = Counts {
            delivered: vec![0; nodes.len()],
            foreign: vec![0; nodes.len()],
            unowned: vec![0; nodes.len()],
            ..Counts::default()
        };
        Self {
            nat: Nat::new(
                Arc::clone(&service),
                Arc::clone(&nodes),
                Arc::clone(&issuers),
                config.delay,
            ),
            service,
            nodes,
            honesty: config.honesty,
            tcp,
            flows: Vec::new(),
            by_client: HashMap::new(),
            line: DelayLine::new(config.delay, MAX_HELD),
            issuers,
            route: 0,
            claimed: 0,
            withdrawn: vec![false; counts.delivered.len()],
            counts,
        }
    }

    /// Runs until the relay is dropped or has no socket for a move.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut batch = Batch::new();
        loop {
            tokio::select! {
                command = commands.recv() => {
                    let Some(command) = command else { return };
                    if self.obey(command).is_err() {
                        return;
                    }
                }
                received = self.service.receive(&mut batch) => {
                    if received.is_err() {
                        return;
                    }
                    self.take(&batch);
                }
                () = until(self.line.due()) => self.deliver(),
            }
        }
    }

    fn obey(&mut self, command: Command) -> io::Result<()> {
        match command {
            Command::Make(event, reply) => answer(reply, self.make(event)?),
            Command::RouteTo(node, reply) => {
                self.lead_to(node % self.nodes.len());
                answer(reply, now());
            }
            Command::Withdraw(node, reply) => {
                self.withdraw(node);
                answer(reply, now());
            }
            Command::Announce(node, reply) => {
                if let Some(withdrawn) = self.withdrawn.get_mut(node) {
                    *withdrawn = false;
                }
                answer(reply, now());
            }
            Command::Counts(reply) => answer(reply, self.count()),
        }
        Ok(())
    }

    fn make(&mut self, event: Move) -> io::Result<Instant> {
        match event {
            Move::Rebind => {
                self.counts.rebinds += 1;
                self.remap(|_, old| old)?;
            }
            Move::Address => {
                self.counts.addresses += 1;
                self.remap(|nat, _| nat.new_address())?;
                self.tcp.come_from(self.nat.new_address());
            }
            Move::Flip => {
                self.counts.flips += 1;
                let next = self.next();
                match self.honesty {
                    Honesty::Honest => self.lead_to(next),
                    Honesty::ClaimsFlips => self.claimed = next,
                }
            }
        }
        self.tcp.cut();
        Ok(now())
    }

    fn lead_to(&mut self, node: usize) {
        self.claimed = node;
        self.route = node;
        self.tcp.lead_to(self.nodes[node]);
    }

    /// The next node in turn that was not withdrawn.
    fn next(&self) -> usize {
        let nodes = self.nodes.len();
        (1..=nodes)
            .map(|step| (self.claimed + step) % nodes)
            .find(|node| !self.withdrawn[*node])
            .unwrap_or(self.claimed)
    }

    fn withdraw(&mut self, node: usize) {
        let others = (0..self.nodes.len()).any(|other| other != node && !self.withdrawn[other]);
        if node >= self.nodes.len() || !others {
            return;
        }
        self.withdrawn[node] = true;
        if [self.route, self.claimed].contains(&node) {
            let next = self.next();
            self.lead_to(next);
            self.tcp.cut();
        }
    }

    fn remap(&mut self, address: impl Fn(&mut Nat, Ipv4Addr) -> Ipv4Addr) -> io::Result<()> {
        let now = now();
        for flow in self.flows.iter_mut().filter(|flow| flow.mapping.is_some()) {
            if now.saturating_duration_since(flow.heard) > FORGET {
                flow.mapping = None;
                continue;
            }
            flow.address = address(&mut self.nat, flow.address);
            flow.mapping = Some(self.nat.map(flow.client, flow.address)?);
        }
        Ok(())
    }

    fn take(&mut self, batch: &Batch) {
        let now = now();
        for received in batch.iter() {
            let datagrams = received.datagrams() as u64;
            let Some((flow, from)) = self.flow(received.from, now) else {
                self.counts.overflowed += datagrams;
                continue;
            };
            let travelling = Travelling {
                flow,
                from,
                parcel: Parcel::copy(received),
            };
            if self.line.push(now, datagrams, travelling).is_err() {
                self.counts.overflowed += datagrams;
            }
        }
    }

    /// The flow of a client, and the socket that it has towards the nodes.
    fn flow(&mut self, client: SocketAddr, now: Instant) -> Option<(usize, Arc<Socket>)> {
        let index = match self.by_client.get(&client) {
            Some(index) => *index,
            None if self.flows.len() >= MAX_FLOWS => return None,
            None => {
                self.flows.push(Flow {
                    client,
                    address: self.nat.new_address(),
                    mapping: None,
                    heard: now,
                    owner: None,
                    delivered: vec![0; self.nodes.len()],
                });
                self.by_client.insert(client, self.flows.len() - 1);
                self.flows.len() - 1
            }
        };
        let flow = &mut self.flows[index];
        flow.heard = now;
        if flow.mapping.is_none() {
            flow.mapping = Some(self.nat.map(client, flow.address).ok()?);
        }
        let mapping = flow.mapping.as_ref()?;
        Some((index, Arc::clone(&mapping.socket)))
    }

    fn deliver(&mut self) {
        let now = now();
        while let Some(travelling) = self.line.pop(now) {
            let Parcel {
                contents,
                stride,
                ecn,
            } = &travelling.parcel;
            let flow = &mut self.flows[travelling.flow];
            // One by one, not as a batch, so that what a node's socket drops is counted exactly.
            for datagram in contents.chunks(*stride) {
                if travelling
                    .from
                    .send(self.nodes[self.route], datagram, *ecn)
                    .is_err()
                {
                    self.counts.overflowed += 1;
                    continue;
                }
                let at = self.claimed;
                flow.delivered[at] += 1;
                self.counts.delivered[at] += 1;
                match (self.issuers.named_by(datagram), flow.owner) {
                    (Named::Node(owner), _) => flow.owner = Some(owner),
                    (Named::Nobody, _) => {
                        flow.owner = None;
                        continue;
                    }
                    (Named::AsBefore, None) => self.counts.unowned[at] += 1,
                    (Named::AsBefore, Some(_)) => {}
                }
                let foreign = flow.owner.is_some_and(|owner| owner != at);
                self.counts.foreign[at] += u64::from(foreign);
            }
        }
    }

    fn count(&self) -> Counts {
        let flows = self.flows.iter().map(|flow| FlowCounts {
            client: flow.client,
            owner: flow.owner,
            delivered: flow.delivered.clone(),
        });
        Counts {
            flows: flows.collect(),
            under_way: self.line.held(),
            overflowed: self.counts.overflowed + self.nat.overflowed(),
            ..self.counts.clone()
        }
    }
}

fn answer<T>(asked: oneshot::Sender<T>, answer: T) {
    // Whoever asked may have stopped listening; what was done is done.
    drop(asked.send(answer));
}

/// Datagrams on the way to the nodes; at 1400 bytes 22 MB, more than all windows in use.
const MAX_HELD: u64 = 16_384;
/// What is kept of a flow whose client is gone are some numbers.
const MAX_FLOWS: usize = 65_536;
/// How long a NAT remembers a client that says nothing.
const FORGET: Duration = Duration::from_secs(15);

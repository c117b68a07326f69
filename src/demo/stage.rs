use std::sync::Arc;
use std::time::{Duration, Instant};

use super::DemoError;
use super::audit::NodeBooks;
use super::files::Files;
use super::guest::Guest;
use super::node::{NodeProcess, rotate};
use super::plan::{Break, NODES, Plan};
use super::workload::SERVICE_NAME;
use crate::client::{Target, Trust, tls_config};
use crate::request::Handler;
use crate::testbed::{Backend, Counts, Honesty, Relay, RelayConfig, now};

/// Everything but the clients: backends, nodes, the relay and the files that the nodes read.
#[derive(Debug)]
pub(super) struct Stage {
    relay: Relay,
    nodes: Vec<StagedNode>,
    guest: Option<Guest>,
    plan: Plan,
    target: Target,
    tls: Arc<rustls::ClientConfig>,
    _backends: Vec<Backend>,
    files: Files,
}

#[derive(Debug)]
struct StagedNode {
    process: NodeProcess,
    /// Datagrams that reached it and that nobody may have read the count of.
    unread: u64,
    /// Connections of processes that gave way, each with the address changes before.
    given_way: Vec<(u64, u64)>,
}

impl Stage {
    /// Starts everything, with backends that answer like this, and waits until the nodes know each other.
    pub(super) async fn set(plan: &Plan, handler: impl Handler + Clone) -> Result<Self, DemoError> {
        let mut backends = Vec::new();
        for _ in 0..BACKENDS {
            backends.push(Backend::start(handler.clone()).await?);
        }
        let mut files = Files::make(plan.fleet_keys())?;
        let nodes = start(&mut files, plan, &backends).await?;
        let guest = plan.soak.map(|_| Guest::reserve(files.host()));
        let guest = guest.transpose()?;
        let addresses = nodes.iter().map(|node| node.process.address());
        let relay = Relay::start(RelayConfig {
            nodes: addresses
                .chain(guest.as_ref().map(Guest::address))
                .collect(),
            delay: DELAY,
            honesty: match plan.fault {
                Some(Break::Relay) => Honesty::ClaimsFlips,
                _ => Honesty::Honest,
            },
        })
        .await?;
        if guest.is_some() {
            relay.withdraw(GUEST).await?;
        }
        Ok(Self {
            target: Target {
                address: relay.address(),
                name: SERVICE_NAME.into(),
            },
            tls: tls_config(&Trust::Certificates(vec![files.certificate().clone()]))?,
            relay,
            nodes,
            guest,
            plan: plan.clone(),
            _backends: backends,
            files,
        })
    }

    pub(super) fn relay(&self) -> &Relay {
        &self.relay
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    pub(super) fn tls(&self) -> &Arc<rustls::ClientConfig> {
        &self.tls
    }

    /// Takes a node out of the route, and drains it.
    pub(super) async fn drain(&self, node: usize) -> Result<(), DemoError> {
        self.relay.withdraw(node).await?;
        self.nodes[node].process.order("drain").await?;
        Ok(())
    }

    /// Takes a drain back.
    pub(super) async fn undrain(&self, node: usize) -> Result<(), DemoError> {
        self.nodes[node].process.order("undrain").await?;
        self.relay.announce(node).await?;
        Ok(())
    }

    /// Lets a new process of a node take over.
    pub(super) async fn upgrade(&mut self, node: usize) -> Result<(), DemoError> {
        let before = self.relay.counts().await?;
        let staged = &mut self.nodes[node];
        let open = staged.process.upgrade().await?;
        staged.given_way.push((open, moves(&before)));
        self.lose_sight(node).await
    }

    /// Makes the fleet's next key, and has every node read it.
    pub(super) async fn rotate(&self) -> Result<(), DemoError> {
        rotate(&self.nodes[0].process, &self.files.key_file()).await?;
        self.reload().await
    }

    /// Has every node read a configuration with its upstreams in another order.
    pub(super) async fn reroute(&mut self) -> Result<(), DemoError> {
        self.files.reroute(NODES)?;
        self.reload().await
    }

    /// Adds the guest to the fleet: every member learns of it before it starts.
    pub(super) async fn join(&mut self) -> Result<(), DemoError> {
        let Some(guest) = &self.guest else {
            return Ok(());
        };
        self.files.add(guest.address())?;
        self.reload().await?;
        if let Some(guest) = &mut self.guest {
            guest.start(&self.files, &self.plan).await?;
            self.relay.announce(GUEST).await?;
        }
        Ok(())
    }

    /// Takes the guest out of the route, and drains it.
    pub(super) async fn leave(&self) -> Result<(), DemoError> {
        self.relay.withdraw(GUEST).await?;
        if let Some(node) = self.guest.as_ref().and_then(Guest::process) {
            node.order("drain").await?;
        }
        Ok(())
    }

    /// Waits until the drained guest has no clients left, takes it out of the fleet, and ends it.
    pub(super) async fn part(&mut self) -> Result<(), DemoError> {
        let Some(node) = self.guest.as_ref().and_then(Guest::process) else {
            return Ok(());
        };
        node.until_left().await?;
        self.files.remove_last()?;
        for node in &self.nodes {
            node.process.order("reload").await?;
        }
        if let Some(guest) = &mut self.guest {
            guest.end().await?;
        }
        Ok(())
    }

    async fn reload(&self) -> Result<(), DemoError> {
        let guest = self.guest.as_ref().and_then(Guest::process);
        for node in self.nodes.iter().map(|node| &node.process).chain(guest) {
            node.order("reload").await?;
        }
        Ok(())
    }

    /// Kills a node and takes it out of the route; the answer is when it was killed.
    pub(super) async fn kill(&mut self, node: usize) -> Result<Instant, DemoError> {
        let killed = self.nodes[node].process.kill().await?;
        self.relay.withdraw(node).await?;
        Ok(killed)
    }

    /// Waits until a node knows that another one is dead; the answer is when it did.
    pub(super) async fn until_dead(&self, node: usize, by: usize) -> Result<Instant, DemoError> {
        self.nodes[by].process.until_dead(node + 1).await?;
        Ok(now())
    }

    /// What the relay and each node have counted so far.
    pub(super) async fn books(&mut self) -> Result<(Counts, Vec<NodeBooks>), DemoError> {
        for node in 0..self.nodes.len() {
            if !self.nodes[node].process.is_alive() {
                self.lose_sight(node).await?;
            }
        }
        let counts = self.relay.counts().await?;
        let mut all = Vec::new();
        for node in &self.nodes {
            let unread = |(open, before): &(u64, u64)| open * (moves(&counts) - before);
            all.push(NodeBooks {
                unread: node.unread,
                unread_changes: node.given_way.iter().map(unread).sum(),
                ..node.process.books().await?
            });
        }
        if let Some(guest) = &self.guest {
            all.push(guest.books().await?);
        }
        Ok((counts, all))
    }

    /// The ends of what the nodes have written.
    pub(super) fn logs(&self) -> Vec<String> {
        let guest = self.guest.as_ref().and_then(Guest::process);
        let nodes = self.nodes.iter().map(|node| &node.process).chain(guest);
        nodes.map(NodeProcess::log).collect()
    }

    /// Of what has reached a node and is not in its books yet, nobody knows whether it ever will be.
    async fn lose_sight(&mut self, node: usize) -> Result<(), DemoError> {
        let delivered = self.relay.counts().await?.delivered[node];
        let staged = &mut self.nodes[node];
        staged.unread = delivered.saturating_sub(staged.process.past().seen());
        Ok(())
    }
}

/// Starts all nodes. Should somebody take a relay port that was free, it starts them again.
async fn start(
    files: &mut Files,
    plan: &Plan,
    backends: &[Backend],
) -> Result<Vec<StagedNode>, DemoError> {
    let mut attempts = 1;
    loop {
        match start_once(files, plan, backends).await {
            Err(error) if error.is_bind() && attempts < BIND_ATTEMPTS => attempts += 1,
            ended => return ended,
        }
    }
}

async fn start_once(
    files: &mut Files,
    plan: &Plan,
    backends: &[Backend],
) -> Result<Vec<StagedNode>, DemoError> {
    files.configure(NODES, backends)?;
    let mut nodes = Vec::new();
    for number in 1..=NODES {
        nodes.push(StagedNode {
            process: NodeProcess::start(number, files, plan).await?,
            unread: 0,
            given_way: Vec::new(),
        });
    }
    for (own, node) in (1..).zip(&nodes) {
        let peers = (1..=NODES).filter(|number| *number != own);
        node.process.until_ready(peers).await?;
    }
    Ok(nodes)
}

/// Changes of every client's address.
fn moves(counts: &Counts) -> u64 {
    counts.rebinds + counts.addresses
}

/// One way between a client's NAT and a node: a round trip takes 20 ms.
pub(super) const DELAY: Duration = Duration::from_millis(10);
/// The guest's place among the nodes that the relay knows.
const GUEST: usize = NODES;
const BACKENDS: usize = 2;
const BIND_ATTEMPTS: u32 = 5;

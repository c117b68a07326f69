//! Where the nodes run that clients dial: gateways of this package on threads of their own, as `wayhold
//! run` would configure them.
//!
//! Each has one worker and one thread, so that the thread's clock shows what it takes. Nodes start when a
//! scenario needs them, and scenarios that differ for the client alone share one.

mod certificate;
mod error;
mod files;
mod node;
mod terms;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use std::{fmt, io};

use rustls::pki_types::CertificateDer;

pub use certificate::Identity;
pub use error::StandError;

use self::files::Files;
use self::node::{Node, NodeParts, Place};
use self::terms::{Membership, Terms};
use super::dial::{Flip, Route};
use super::{Certificate, Scenario};
use crate::testbed::emulator::Network;
use crate::testbed::lab::Host;

/// Nodes, and the network that they are in.
pub struct Stand {
    network: Option<Arc<Network>>,
    files: Files,
    identities: BTreeMap<Certificate, Identity>,
    groups: Vec<Group>,
    started: usize,
}

/// What serves a scenario.
#[derive(Clone, Debug)]
pub struct Served {
    /// Where clients reach it.
    pub node: SocketAddr,
    /// The root of its certificate.
    pub root: CertificateDer<'static>,
    /// How its clients come to reach another node.
    pub flip: Flip,
    /// The kernel's numbers of the threads that serve.
    pub threads: Vec<u32>,
}

/// The nodes of one [`Terms`].
#[derive(Debug)]
struct Group {
    terms: Terms,
    nodes: Vec<Node>,
}

impl Stand {
    /// Makes a stand on this machine's loopback interface, or on the hosts of a network.
    ///
    /// # Errors
    /// [`StandError::Files`].
    pub fn new(network: Option<Arc<Network>>) -> Result<Self, StandError> {
        Ok(Self {
            network,
            files: Files::make().map_err(StandError::Files)?,
            identities: BTreeMap::new(),
            groups: Vec::new(),
            started: 0,
        })
    }

    /// Gives what serves a scenario, and starts it if it does not run yet.
    ///
    /// # Errors
    /// [`StandError`].
    pub fn serve(&mut self, scenario: &Scenario) -> Result<Served, StandError> {
        let terms = Terms::of(scenario);
        let certificate = terms.certificate;
        let root = self.identity(certificate)?.root.clone();
        let running = self.groups.iter().position(|group| group.terms == terms);
        let index = if let Some(index) = running {
            index
        } else {
            let nodes = self.start(&terms)?;
            self.groups.push(Group { terms, nodes });
            self.groups.len() - 1
        };
        let nodes = &self.groups[index].nodes;
        let flip = match (&self.network, &nodes[..]) {
            (_, [_] | []) => Flip::Never,
            (None, [_, other, ..]) => Flip::Destination(other.address),
            (Some(network), _) => Flip::Route(Arc::new(EmulatedRoute(Arc::clone(network)))),
        };
        Ok(Served {
            node: nodes[0].address,
            root,
            flip,
            threads: nodes.iter().map(|node| node.thread).collect(),
        })
    }

    /// Ends all nodes.
    pub fn clear(&mut self) {
        self.groups.clear();
    }

    fn start(&mut self, terms: &Terms) -> Result<Vec<Node>, StandError> {
        if terms.fast_open
            && let Some(network) = &self.network
        {
            let hosts = [&network.client, &network.nodes[0]];
            let set = |host: &Host| host.set_variable("ipv4/tcp_fastopen", "3");
            hosts
                .into_iter()
                .try_for_each(set)
                .map_err(StandError::Network)?;
        }
        if !terms.fleet {
            return Ok(vec![self.node(terms, 0, None)?]);
        }
        let mut relays = Vec::new();
        for index in 0..2 {
            let ip = match self.network {
                Some(_) => Network::peer(index),
                None => Ipv4Addr::LOCALHOST,
            };
            let socket = self.place(index.into()).udp((ip, 0).into());
            relays.push(socket.map_err(StandError::Network)?);
        }
        let mut addresses = [SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)); 2];
        for (relay, address) in relays.iter().zip(&mut addresses) {
            *address = relay.local_addr().map_err(StandError::Network)?;
        }
        let mut nodes = Vec::<Node>::new();
        for (index, relay) in relays.into_iter().enumerate() {
            // In a network both are at one address, between which the route chooses.
            let port = match (&self.network, nodes.first()) {
                (Some(_), Some(first)) => first.address.port(),
                _ => 0,
            };
            let member = Member {
                relays: addresses,
                relay,
                index,
            };
            nodes.push(self.node(terms, port, Some(member))?);
        }
        wait_for_fleet(&nodes)?;
        Ok(nodes)
    }

    fn node(
        &mut self,
        terms: &Terms,
        port: u16,
        member: Option<Member>,
    ) -> Result<Node, StandError> {
        let ip = match self.network {
            Some(_) => Network::SERVICE,
            None => Ipv4Addr::LOCALHOST,
        };
        self.started += 1;
        let (state, key_file) = (self.files.state(self.started), self.files.key_file());
        let membership = member.as_ref().map(|member| Membership {
            key_file: &key_file,
            relays: member.relays,
            index: member.index,
        });
        let index = member.as_ref().map_or(0, |member| member.index);
        let parts = NodeParts {
            config: terms.config((ip, port).into(), &state, membership)?,
            identity: &self.identities[&terms.certificate],
            relay: member.map(|member| member.relay),
        };
        Node::start(self.place(index), parts)
    }

    fn place(&self, index: usize) -> Place<'_> {
        match &self.network {
            Some(network) => Place::Host(&network.nodes[index]),
            None => Place::Here,
        }
    }

    fn identity(&mut self, kind: Certificate) -> Result<&Identity, StandError> {
        Ok(match self.identities.entry(kind) {
            Entry::Occupied(made) => made.into_mut(),
            Entry::Vacant(place) => place.insert(Identity::make(kind)?),
        })
    }
}

impl fmt::Debug for Stand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stand")
            .field("groups", &self.groups)
            .finish_non_exhaustive()
    }
}

struct Member {
    relays: [SocketAddr; 2],
    relay: std::net::UdpSocket,
    index: usize,
}

/// Leads the client's packets to the second node of a network.
struct EmulatedRoute(Arc<Network>);

impl Route for EmulatedRoute {
    fn flip(&self) -> io::Result<()> {
        self.0.emulator().set_route(1)
    }
}

fn wait_for_fleet(nodes: &[Node]) -> Result<(), StandError> {
    for _try in 0..FLEET_TRIES {
        if nodes.iter().all(Node::hears_its_peers) {
            return Ok(());
        }
        thread::sleep(FLEET_PAUSE);
    }
    Err(StandError::Fleet)
}

/// The client's addresses: its first one, and the one that it moves to.
pub(super) fn client_addresses(network: Option<&Network>) -> [IpAddr; 2] {
    match network {
        Some(_) => [Network::CLIENT.into(), Network::OTHER_CLIENT.into()],
        None => [
            Ipv4Addr::LOCALHOST.into(),
            Ipv4Addr::new(127, 0, 0, 2).into(),
        ],
    }
}

/// Members of a fleet hear each other within some heartbeats of 200 ms.
const FLEET_PAUSE: Duration = Duration::from_millis(10);
const FLEET_TRIES: u32 = 1000;

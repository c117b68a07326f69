//! The network of every claim.
//!
//! ```text
//!            home          198.51.100.0/24            10.0.N.0/24
//! client ─────────── nat ─────────────────── router ─────────────── node N, N = 1, 2, 3
//!    192.168.0.0/24                                                   │ 10.1.N.0/24
//!                                          backbone ──────────────────┘
//! ```
//!
//! All nodes hold the service address; which of them gets a packet is for the router to say.

use std::io;
use std::net::Ipv4Addr;

use wayhold::testbed::lab::{End, Host, Prefix, connect};

/// Where clients reach the fleet.
pub(crate) const SERVICE: Prefix = prefix([192, 0, 2, 1], 32);
/// The address that the NAT gives to what comes from behind it, at first.
pub(crate) const PUBLIC: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
/// Another address of the NAT.
pub(crate) const OTHER_PUBLIC: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 3);
/// How many nodes there are.
pub(crate) const NODES: u8 = 3;

/// Hosts and cables. Routes to the service lead to node 1.
pub(crate) struct Network {
    pub(crate) client: Host,
    pub(crate) nat: Host,
    pub(crate) router: Host,
    pub(crate) backbone: Host,
    nodes: Vec<Host>,
}

impl Network {
    /// Connects everything; `mtu` is that of the cables between nodes and backbone.
    pub(crate) fn new(mtu: u16) -> io::Result<Self> {
        let made = Self {
            client: Host::new()?,
            nat: router()?,
            router: router()?,
            backbone: router()?,
            nodes: (0..NODES).map(|_| Host::new()).collect::<Result<_, _>>()?,
        };
        made.connect_client()?;
        for number in 1..=NODES {
            made.connect_node(number, mtu)?;
        }
        made.lead_to(&[1])?;
        Ok(made)
    }

    /// The host of the node with this number, from 1.
    pub(crate) fn node(&self, number: u8) -> &Host {
        &self.nodes[usize::from(number - 1)]
    }

    /// Leads packets to the service to these nodes, each flow to one of them by its ports.
    pub(crate) fn lead_to(&self, numbers: &[u8]) -> io::Result<()> {
        let nodes: Vec<_> = numbers.iter().map(|number| uplink(*number)).collect();
        self.router.set_route(SERVICE, &nodes)
    }

    /// Breaks the link between two nodes, both ways; nothing tells them.
    pub(crate) fn part(&self, a: u8, b: u8) -> io::Result<()> {
        // The router knows no way to a relay address.
        self.lead_between(a, b, |number| Ipv4Addr::new(10, 0, number, 1))
    }

    /// Repairs the link between two nodes.
    pub(crate) fn reunite(&self, a: u8, b: u8) -> io::Result<()> {
        self.lead_between(a, b, crossing)
    }

    fn lead_between(&self, a: u8, b: u8, by: impl Fn(u8) -> Ipv4Addr) -> io::Result<()> {
        for (from, to) in [(a, b), (b, a)] {
            let to = Prefix {
                address: relay(to),
                length: 32,
            };
            self.node(from).set_route(to, &[by(from)])?;
        }
        Ok(())
    }

    fn connect_client(&self) -> io::Result<()> {
        let home = End {
            host: &self.client,
            interface: "home",
            address: prefix([192, 168, 0, 2], 24),
        };
        let inside = End {
            host: &self.nat,
            interface: "inside",
            address: prefix([192, 168, 0, 1], 24),
        };
        connect(home, inside, MTU)?;
        let outside = End {
            host: &self.nat,
            interface: "outside",
            address: Prefix {
                address: PUBLIC,
                length: 24,
            },
        };
        let clients = End {
            host: &self.router,
            interface: "clients",
            address: prefix([198, 51, 100, 1], 24),
        };
        connect(outside, clients, MTU)?;
        let other = Prefix {
            address: OTHER_PUBLIC,
            length: 24,
        };
        self.nat.add_address("outside", other)?;
        self.client
            .set_route(EVERYWHERE, &[inside.address.address])?;
        self.nat.set_route(EVERYWHERE, &[clients.address.address])?;
        self.nat.translate(PUBLIC)
    }

    fn connect_node(&self, number: u8, mtu: u16) -> io::Result<()> {
        let host = self.node(number);
        let up = End {
            host,
            interface: "up",
            address: Prefix {
                address: uplink(number),
                length: 24,
            },
        };
        let gateway = Ipv4Addr::new(10, 0, number, 1);
        let down = End {
            host: &self.router,
            interface: &format!("node{number}"),
            address: Prefix {
                address: gateway,
                length: 24,
            },
        };
        connect(up, down, MTU)?;
        host.set_route(EVERYWHERE, &[gateway])?;
        let peers = End {
            host,
            interface: "peers",
            address: Prefix {
                address: relay(number),
                length: 24,
            },
        };
        let crossing = crossing(number);
        let hub = End {
            host: &self.backbone,
            interface: &format!("node{number}"),
            address: Prefix {
                address: crossing,
                length: 24,
            },
        };
        connect(peers, hub, mtu)?;
        host.set_route(prefix([10, 1, 0, 0], 16), &[crossing])?;
        host.add_address("lo", SERVICE)
    }
}

/// The address at which a node's peers reach it.
pub(crate) const fn relay(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, number, 2)
}

/// The address of the backbone towards a node.
const fn crossing(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, number, 1)
}

/// The address of a node towards the router.
pub(crate) const fn uplink(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, number, 2)
}

/// A host that passes packets on, each flow on one way by its ports, whatever their source.
fn router() -> io::Result<Host> {
    let host = Host::new()?;
    host.set_variable("ipv4/ip_forward", "1")?;
    host.set_variable("ipv4/fib_multipath_hash_policy", "1")?;
    // Interfaces to come take their setting from `default`; the larger of theirs and `all` counts.
    for scope in ["all", "default"] {
        host.set_variable(&format!("ipv4/conf/{scope}/rp_filter"), "0")?;
    }
    Ok(host)
}

const fn prefix([a, b, c, d]: [u8; 4], length: u8) -> Prefix {
    Prefix {
        address: Ipv4Addr::new(a, b, c, d),
        length,
    }
}

const EVERYWHERE: Prefix = prefix([0; 4], 0);
/// Of all cables but those between nodes.
const MTU: u16 = 1500;

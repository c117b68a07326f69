use std::io;
use std::net::Ipv4Addr;

use super::{Emulator, EmulatorPlan, Limits};
use crate::testbed::lab::{End, Host, Prefix, Tap, connect, tap};

/// A client, one or two nodes, and an emulator between them.
///
/// ```text
///                                       10.0.1.2 ── node 1 ── 10.1.0.1
/// client ── 198.51.100.2 ── emulator ──┤                        │
///           198.51.100.3                10.0.2.2 ── node 2 ── 10.1.0.2
/// ```
///
/// Both nodes hold the service address; which of them gets a packet is for the emulator to say. The cable
/// between the nodes is the kernel's alone. There is no IPv6, no offload, and the kernel remembers nothing
/// about TCP connections of before.
#[derive(Debug)]
#[expect(
    clippy::partial_pub_fields,
    reason = "hosts are there to be used, and the emulator goes with the cables"
)]
pub struct Network {
    /// The client's host.
    pub client: Host,
    /// The nodes' hosts.
    pub nodes: Vec<Host>,
    emulator: Emulator,
    mtu: u16,
}

impl Network {
    /// Where nodes are reached.
    pub const SERVICE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    /// The client's address.
    pub const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
    /// Another address of the client.
    pub const OTHER_CLIENT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 3);

    /// Makes the hosts and starts the emulator; `mtu` is that of the cables to it, at most.
    ///
    /// The process has to be [enclosed](crate::testbed::lab::enclose).
    ///
    /// # Errors
    /// There are not one or two nodes, or the system's; see [`Forbidden`](crate::testbed::lab::Forbidden)
    /// for what may be wrong.
    pub fn new(nodes: usize, mtu: u16) -> io::Result<Self> {
        if !(1..=2).contains(&nodes) {
            let text = format!("a network has one or two nodes, not {nodes}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let router = host()?;
        let client = host()?;
        let at_client = connect_client(&client, &router, mtu)?;
        let (mut hosts, mut taps) = (Vec::new(), Vec::new());
        for index in 0..nodes {
            let node = host()?;
            taps.push(connect_node(&node, &router, index, mtu)?);
            hosts.push(node);
        }
        if let [a, b] = &hosts[..] {
            connect(peers(a, 0), peers(b, 1), PEER_MTU)?;
        }
        let emulator = Emulator::start(EmulatorPlan {
            client: at_client,
            nodes: taps,
            mtu,
            limits: Limits::default(),
        })?;
        Ok(Self {
            client,
            nodes: hosts,
            emulator,
            mtu,
        })
    }

    /// What is between the client and the nodes.
    pub fn emulator(&self) -> &Emulator {
        &self.emulator
    }

    /// The address at which the node of this index, 0 or 1, is reached by the other.
    pub const fn peer(index: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 1, 0, index + 1)
    }

    /// Changes the MTU of the hosts' interfaces towards the emulator, which they know, unlike that of a
    /// [profile](crate::link::Profile).
    ///
    /// # Errors
    /// It is larger than at the start, or the system's.
    pub fn set_mtu(&self, mtu: u16) -> io::Result<()> {
        if mtu > self.mtu {
            let text = format!("the network was made for packets of {} bytes", self.mtu);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let hosts = [&self.client].into_iter().chain(&self.nodes);
        hosts.into_iter().try_for_each(|host| host.set_mtu(UP, mtu))
    }
}

fn host() -> io::Result<Host> {
    let host = Host::new()?;
    // What a connection learned must not speed up, or slow down, the next one.
    host.set_variable("ipv4/tcp_no_metrics_save", "1")?;
    // QUIC has CUBIC (RFC 9438). Where the system does not let everybody choose that, Reno begins as it
    // does; what neither is allowed to replace stays.
    for controller in ["cubic", "reno"] {
        if host
            .set_variable("ipv4/tcp_congestion_control", controller)
            .is_ok()
        {
            break;
        }
    }
    match host.set_variable("ipv6/conf/all/disable_ipv6", "1") {
        // A kernel may have none.
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(host),
    }
}

fn connect_client(client: &Host, router: &Host, mtu: u16) -> io::Result<Tap> {
    let gateway = Ipv4Addr::new(198, 51, 100, 1);
    let end = up(client, Network::CLIENT);
    let tap = tap(end, (router, "client"), gateway, mtu)?;
    let other = Prefix {
        address: Network::OTHER_CLIENT,
        length: 24,
    };
    client.add_address(UP, other)?;
    client.set_route(EVERYWHERE, &[gateway])?;
    Ok(tap)
}

fn connect_node(node: &Host, router: &Host, index: usize, mtu: u16) -> io::Result<Tap> {
    let number = u8::try_from(index + 1).map_err(io::Error::other)?;
    let gateway = Ipv4Addr::new(10, 0, number, 1);
    let end = up(node, Ipv4Addr::new(10, 0, number, 2));
    let tap = tap(end, (router, &format!("node{number}")), gateway, mtu)?;
    node.set_route(EVERYWHERE, &[gateway])?;
    let service = Prefix {
        address: Network::SERVICE,
        length: 32,
    };
    node.add_address("lo", service)?;
    Ok(tap)
}

fn up(host: &Host, address: Ipv4Addr) -> End<'_> {
    End {
        host,
        interface: UP,
        address: Prefix {
            address,
            length: 24,
        },
    }
}

fn peers(host: &Host, index: u8) -> End<'_> {
    End {
        host,
        interface: "peers",
        address: Prefix {
            address: Network::peer(index),
            length: 24,
        },
    }
}

const UP: &str = "up";
const EVERYWHERE: Prefix = Prefix {
    address: Ipv4Addr::UNSPECIFIED,
    length: 0,
};
/// What a gateway assumes of the links between nodes without configuration.
const PEER_MTU: u16 = 1500;

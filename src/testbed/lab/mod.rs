//! Networks of the kernel's own making, without privilege: each [`Host`] is a network namespace, and
//! veth pairs are the cables between them.
//!
//! The process has to have called [`isolate`](crate::sys::namespace::isolate) before it started a
//! thread. Everything goes with it when it ends. IPv4 only.

mod enclosure;
mod nat;
mod netlink;

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;
use std::{fs, io, thread};

pub use enclosure::{Enclosure, Forbidden, enclose};
use netlink::{Interface, Netlink};

use crate::sys::link_socket::{HardwareAddress, LinkSocket};
use crate::sys::namespace::NetworkNamespace;

/// A machine's worth of network: interfaces, addresses, routes, and what runs there.
#[derive(Debug)]
pub struct Host(NetworkNamespace);

/// One end of a cable.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// Where it is plugged in.
    pub host: &'a Host,
    /// The interface that it makes there; at most 15 bytes.
    pub interface: &'a str,
    /// The interface's address and how many bits of it name the network.
    pub address: Prefix,
}

/// The end of a cable at which this process reads and writes packets itself, in place of a kernel.
#[derive(Debug)]
pub struct Tap {
    /// Gets every IPv4 packet that comes out of the cable.
    pub socket: LinkSocket,
    /// The address of the interface at the other end.
    pub neighbour: HardwareAddress,
}

/// An address and how many of its bits count, such as `10.0.0.1/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// The address.
    pub address: Ipv4Addr,
    /// At most 32.
    pub length: u8,
}

impl Host {
    /// Makes a host with nothing but a loopback interface.
    ///
    /// # Errors
    /// The system's: without privilege in a user namespace, `PermissionDenied`.
    pub fn new() -> io::Result<Self> {
        let host = Self(NetworkNamespace::new()?);
        host.ask(|netlink| {
            let loopback = netlink.interface("lo")?;
            netlink.bring_up(loopback.index)
        })?;
        Ok(host)
    }

    /// Runs something on a thread of this host; the sockets, processes and threads that it makes
    /// belong to the host for good.
    ///
    /// # Errors
    /// The system's, when it gives no such thread.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        self.0.run(work)
    }

    /// Changes the MTU of an interface, from the next packet on.
    ///
    /// # Errors
    /// The system's.
    pub fn set_mtu(&self, interface: &str, mtu: u16) -> io::Result<()> {
        self.ask(|netlink| {
            let index = netlink.interface(interface)?.index;
            netlink.set_mtu(index, mtu)
        })
    }

    /// Gives an interface one more address.
    ///
    /// # Errors
    /// The system's.
    pub fn add_address(&self, interface: &str, address: Prefix) -> io::Result<()> {
        self.ask(|netlink| {
            let index = netlink.interface(interface)?.index;
            netlink.add_address(index, address)
        })
    }

    /// Takes an address from an interface.
    ///
    /// # Errors
    /// The system's.
    pub fn remove_address(&self, interface: &str, address: Prefix) -> io::Result<()> {
        self.ask(|netlink| {
            let index = netlink.interface(interface)?.index;
            netlink.remove_address(index, address)
        })
    }

    /// Sends packets to a destination to these neighbours, each flow to one of them, from the next
    /// packet on and in place of where they went.
    ///
    /// # Errors
    /// The system's: there is a neighbour, and each is in a network of an interface.
    pub fn set_route(&self, to: Prefix, neighbours: &[Ipv4Addr]) -> io::Result<()> {
        self.ask(|netlink| netlink.set_route(to, neighbours))
    }

    /// Sets a variable of the kernel under `net`, such as `ipv4/ip_forward`.
    ///
    /// # Errors
    /// The system's, such as `NotFound` for a variable that it does not have.
    pub fn set_variable(&self, name: &str, value: &str) -> io::Result<()> {
        let path = format!("/proc/sys/net/{name}");
        self.run(|| fs::write(&path, value))?
            .map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))
    }

    /// Gives all flows that leave this host this address and a random port each, also those that go
    /// on already.
    ///
    /// # Errors
    /// The system's: a kernel may lack `nf_tables`.
    pub fn translate(&self, address: Ipv4Addr) -> io::Result<()> {
        self.ask(|netlink| nat::translate(netlink, address))
    }

    /// Forgets the flows that are translated, so that each goes on from another port.
    ///
    /// # Errors
    /// The system's.
    pub fn forget_flows(&self) -> io::Result<()> {
        self.ask(nat::forget)
    }

    fn ask<T: Send>(
        &self,
        requests: impl FnOnce(&mut Netlink) -> io::Result<T> + Send,
    ) -> io::Result<T> {
        self.run(|| requests(&mut Netlink::new()))?
    }
}

/// Plugs a cable in between two hosts: packets of up to `mtu` bytes, no offloads, and each end knows
/// the other without asking.
///
/// # Errors
/// The system's, such as `AlreadyExists` for a name that the host has.
pub fn connect(a: End<'_>, b: End<'_>, mtu: u16) -> io::Result<()> {
    lay(a, b.host, b.interface)?;
    let (at_a, at_b) = (plug(a, mtu)?, plug(b, mtu)?);
    introduce(a, b.address.address, &at_b)?;
    introduce(b, a.address.address, &at_a)?;
    await_carrier(a.host, a.interface)?;
    await_carrier(b.host, b.interface)
}

/// Plugs a cable in between a host and a tap on another host, of which `end` believes that it is the
/// neighbour with the address `gateway`: packets of up to `mtu` bytes, and no offloads.
///
/// # Errors
/// The system's, such as `AlreadyExists` for a name that the host has.
pub fn tap(
    end: End<'_>,
    (host, interface): (&Host, &str),
    gateway: Ipv4Addr,
    mtu: u16,
) -> io::Result<Tap> {
    lay(end, host, interface)?;
    let neighbour = plug(end, mtu)?;
    introduce(end, gateway, &NOBODY)?;
    let socket = host.ask(|netlink| {
        let interface = set_up(netlink, interface, mtu)?;
        LinkSocket::open(interface.index)
    })?;
    await_carrier(end.host, end.interface)?;
    await_carrier(host, interface)?;
    Ok(Tap {
        socket,
        neighbour: neighbour
            .try_into()
            .map_err(|_longer| io::ErrorKind::InvalidData)?,
    })
}

/// Lays a cable from an end to an interface of another host.
fn lay(a: End<'_>, host: &Host, interface: &str) -> io::Result<()> {
    let to = host.0.as_fd().as_raw_fd();
    a.host.ask(|netlink| {
        netlink.add_pair(a.interface)?;
        let peer = netlink.interface(a.interface)?.peer;
        netlink.move_away(peer, interface, to)
    })
}

/// Sets an interface up and gives its hardware address.
fn plug(end: End<'_>, mtu: u16) -> io::Result<Vec<u8>> {
    end.host.ask(|netlink| {
        let interface = set_up(netlink, end.interface, mtu)?;
        netlink.add_address(interface.index, end.address)?;
        Ok(interface.hardware_address)
    })
}

fn set_up(netlink: &mut Netlink, name: &str, mtu: u16) -> io::Result<Interface> {
    let interface = netlink.interface(name)?;
    netlink.set_mtu(interface.index, mtu)?;
    netlink.disable_offloads(name)?;
    netlink.bring_up(interface.index)?;
    Ok(interface)
}

/// Waits until an interface carries packets. The kernel connects the second end of a pair by and by, and
/// until then drops what is sent there without a word.
fn await_carrier(host: &Host, interface: &str) -> io::Result<()> {
    host.ask(|netlink| {
        for _ in 0..CARRIER_ATTEMPTS {
            if netlink.interface(interface)?.carries {
                return Ok(());
            }
            thread::sleep(CARRIER_PAUSE);
        }
        let text = format!("the interface {interface} does not come up");
        Err(io::Error::new(io::ErrorKind::TimedOut, text))
    })
}

fn introduce(end: End<'_>, neighbour: Ipv4Addr, hardware_address: &[u8]) -> io::Result<()> {
    end.host.ask(|netlink| {
        let index = netlink.interface(end.interface)?.index;
        netlink.add_neighbour(index, neighbour, hardware_address)
    })
}

/// A locally administered address that no interface has: the kernel at a tap takes packets to it for
/// somebody else's and drops them without a look.
const NOBODY: HardwareAddress = [0x02, 0, 0, 0, 0, 0x01];
/// The kernel takes some milliseconds, or a second at the worst.
const CARRIER_ATTEMPTS: u32 = 5000;
const CARRIER_PAUSE: Duration = Duration::from_millis(1);

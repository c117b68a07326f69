use std::io;
use std::net::{SocketAddr, UdpSocket};

use super::builder::Sockets;
use super::{GatewayError, listener};
use crate::admin::Admin;
use crate::config::{AdminAddress, Config, Listen};
use crate::control::{Birth, Registration};
use crate::fleet::InstanceId;
use crate::lifecycle::{Inherited, InheritedError, SocketName};
use crate::sys;

/// Where a gateway's sockets come from: its builder was given them, another process opened them, or
/// they are bound now. A duplicate of each is kept for the process that takes over.
#[derive(Debug)]
pub(super) struct Supply {
    pub(super) given: std::vec::IntoIter<Sockets>,
    pub(super) relay: Option<UdpSocket>,
    pub(super) inherited: Inherited,
    pub(super) held: Inherited,
}

impl Supply {
    /// The sockets of the configuration's listener with this index.
    pub(super) fn listener(
        &mut self,
        index: usize,
        listen: &Listen,
    ) -> Result<Sockets, GatewayError> {
        let failed = |source| GatewayError::Bind {
            address: listen.addr.to_string(),
            source,
        };
        let sockets = match self.given.next() {
            Some(given) => given,
            None => match self.inherited(index, listen)? {
                Some(inherited) => inherited,
                None => listener::bind(listen).map_err(failed)?,
            },
        };
        let udp = sockets.udp.try_clone().map_err(failed)?;
        self.held.push(SocketName::Udp(index), udp);
        if let Some(tcp) = &sockets.tcp {
            let tcp = tcp.try_clone().map_err(failed)?;
            self.held.push(SocketName::Tcp(index), tcp);
        }
        Ok(sockets)
    }

    fn inherited(
        &mut self,
        index: usize,
        listen: &Listen,
    ) -> Result<Option<Sockets>, GatewayError> {
        let mut udp = self.inherited.take_udp(index)?;
        let Some(socket) = udp.pop() else {
            return Ok(None);
        };
        if !udp.is_empty() {
            return Err(GatewayError::Workers {
                listener: index,
                sockets: udp.len() + 1,
            });
        }
        let address = expect(SocketName::Udp(index), listen.addr, socket.local_addr())?;
        let tcp = match self.inherited.take_tcp(index)? {
            Some(tcp) if listen.tcp => {
                expect(SocketName::Tcp(index), address, tcp.local_addr())?;
                Some(tcp)
            }
            Some(_) => return Err(InheritedError::Unused(SocketName::Tcp(index)).into()),
            None if listen.tcp => {
                let failed = |source| GatewayError::Bind {
                    address: address.to_string(),
                    source,
                };
                Some(sys::socket::bind_tcp(address).map_err(failed)?)
            }
            None => None,
        };
        Ok(Some(Sockets { udp: socket, tcp }))
    }

    /// The socket of the tunnel, bound to this address if nobody gave one.
    pub(super) fn relay(&mut self, address: SocketAddr) -> Result<UdpSocket, GatewayError> {
        let failed = |source| GatewayError::Bind {
            address: format!("relay {address}"),
            source,
        };
        let socket = match self.relay.take() {
            Some(given) => given,
            None => match self.inherited.take_relay()? {
                Some(inherited) => {
                    expect(SocketName::Relay, address, inherited.local_addr())?;
                    inherited
                }
                None => listener::bind_udp(address).map_err(failed)?,
            },
        };
        let held = socket.try_clone().map_err(failed)?;
        self.held.push(SocketName::Relay, held);
        Ok(socket)
    }

    /// The admin listener; `None` where it is off.
    pub(super) fn admin(&mut self, address: &AdminAddress) -> Result<Option<Admin>, GatewayError> {
        if *address == AdminAddress::Off {
            return Ok(None);
        }
        let admin = match self.inherited.take_admin()? {
            Some(socket) => Admin::inherited(address, socket)?,
            None => Admin::bind(address)?,
        };
        let held = admin.duplicate().map_err(|source| GatewayError::Bind {
            address: admin.local().to_owned(),
            source,
        })?;
        if let Some(socket) = held {
            self.held.push(SocketName::Admin, socket);
        }
        Ok(Some(admin))
    }
}

/// Registers this process among those of its node. A start that is no upgrade does without where that
/// is impossible; an upgrade cannot.
pub(super) fn register(
    config: &Config,
    predecessor: Option<Birth>,
    random: [u8; 9],
) -> Result<Option<Registration>, GatewayError> {
    let fixed = config.node.instance.map(InstanceId);
    let [draw, lineage @ ..] = random;
    let birth = match predecessor {
        Some(_) if fixed.is_some() => return Err(GatewayError::FixedInstance),
        Some(_) if config.cid.aws_server_id.is_some() => return Err(GatewayError::NoInstances),
        None if config.cid.aws_server_id.is_some() => return Ok(None),
        Some(predecessor) => predecessor.next(),
        None => Birth::first(lineage),
    };
    let node = config.node.id;
    match Registration::new(&config.runtime_dir, node, birth, fixed, draw) {
        Ok(registration) => Ok(Some(registration)),
        Err(error) if predecessor.is_some() => Err(error.into()),
        Err(error) => {
            tracing::warn!(%error, "no other process will be able to take over from this one");
            Ok(None)
        }
    }
}

/// Compares where a socket is with where the configuration wants it.
fn expect(
    name: SocketName,
    wanted: SocketAddr,
    found: io::Result<SocketAddr>,
) -> Result<SocketAddr, GatewayError> {
    let found = found.map_err(|source| GatewayError::Bind {
        address: name.to_string(),
        source,
    })?;
    if found.ip() == wanted.ip() && [0, found.port()].contains(&wanted.port()) {
        Ok(found)
    } else {
        Err(GatewayError::Moved {
            name,
            wanted,
            found,
        })
    }
}

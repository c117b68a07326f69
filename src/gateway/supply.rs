use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroU16;
use std::sync::Arc;

use super::builder::Sockets;
use super::fleet::random;
use super::{GatewayError, listener};
use crate::admin::Admin;
use crate::config::{AdminAddress, Cid, Config, Listen};
use crate::control::{Birth, Registration};
use crate::edge::{Reading, Siblings};
use crate::fleet::{InstanceId, Keyring};
use crate::lifecycle::{Inherited, InheritedError, Kept, SocketName};
use crate::sys;

/// Where a gateway's sockets come from: its builder was given them, another process opened them, or
/// they are bound now. A duplicate of each is kept for the process that takes over.
#[derive(Debug)]
pub(super) struct Supply {
    given: std::vec::IntoIter<Sockets>,
    relay: Option<UdpSocket>,
    pub(super) inherited: Inherited,
    held: Inherited,
}

impl Supply {
    pub(super) fn new(given: Vec<Sockets>, relay: Option<UdpSocket>, inherited: Inherited) -> Self {
        Self {
            given: given.into_iter(),
            relay,
            inherited,
            held: Inherited::default(),
        }
    }

    /// How many workers each listener has: as many as sockets came from outside for the first, if any
    /// did, else as configured.
    ///
    /// # Errors
    /// [`GatewayError::Workers`] in an upgrade under another configuration.
    pub(super) fn workers(&self, config: &Config) -> Result<NonZeroU16, GatewayError> {
        let configured = NonZeroU16::new(config.workers).unwrap_or(NonZeroU16::MIN);
        let outside = match self.given.as_slice().first() {
            Some(given) => given.udp.len(),
            None => self.inherited.count(SocketName::Udp(0)),
        };
        let workers = u16::try_from(outside).ok().and_then(NonZeroU16::new);
        let before = self.inherited.kept();
        let changed = before.is_none_or(|before| before.workers != configured.get());
        match workers {
            Some(workers)
                if workers != configured && changed && self.inherited.birth().is_some() =>
            {
                Err(GatewayError::Workers {
                    listener: 0,
                    sockets: outside,
                    workers: configured,
                })
            }
            workers => Ok(workers.unwrap_or(configured)),
        }
    }

    /// The sockets of the configuration's listener with this index.
    pub(super) fn listener(
        &mut self,
        index: usize,
        listen: &Listen,
        workers: NonZeroU16,
    ) -> Result<Sockets, GatewayError> {
        let failed = |source| GatewayError::Bind {
            address: listen.addr.to_string(),
            source,
        };
        let sockets = match self.given.next() {
            Some(given) => given,
            None => match self.inherited(index, listen)? {
                Some(inherited) => inherited,
                None => listener::bind(listen, workers).map_err(failed)?,
            },
        };
        if sockets.udp.len() != usize::from(workers.get()) {
            return Err(GatewayError::Workers {
                listener: index,
                sockets: sockets.udp.len(),
                workers,
            });
        }
        for udp in &sockets.udp {
            let udp = udp.try_clone().map_err(failed)?;
            self.held.push(SocketName::Udp(index), udp);
        }
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
        let udp = self.inherited.take_udp(index)?;
        let Some(first) = udp.first() else {
            return Ok(None);
        };
        let address = expect(SocketName::Udp(index), listen.addr, first.local_addr())?;
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
        Ok(Some(Sockets { udp, tcp }))
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
    pub(super) fn admin(
        &mut self,
        address: &AdminAddress,
        reading: &Reading,
    ) -> Result<Option<Admin>, GatewayError> {
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
        Ok(Some(admin.reading_with(reading.clone())))
    }

    /// What the process that takes over will need.
    ///
    /// # Errors
    /// When a socket that was handed over has found no use.
    pub(super) fn finish(
        self,
        config: &Config,
        keyring: &Keyring,
    ) -> Result<Inherited, GatewayError> {
        self.inherited.finish()?;
        let mut held = self.held;
        held.keep(Kept {
            workers: config.workers,
            cid: written(config),
        });
        if config.fleet.is_none() {
            held.keep_keyring(keyring.clone());
        }
        Ok(held)
    }
}

/// How the connection IDs of a process with this configuration are written.
fn written(config: &Config) -> String {
    let Cid {
        profile,
        config_id,
        nonce_len,
        first_octet,
        ..
    } = &config.cid;
    let key = config.fleet.as_ref().map_or("own", |_fleet| "fleet");
    format!("{profile:?} {config_id} {nonce_len} {first_octet:?} {key}")
}

/// Registers this process among those of its node, and gives its instance. A start that is no upgrade
/// does without where that is impossible; an upgrade cannot.
pub(super) fn register(
    config: &Config,
    supply: &Supply,
) -> Result<(Option<Arc<Siblings>>, InstanceId), GatewayError> {
    let fixed = config.node.instance.map(InstanceId);
    let predecessor = supply.inherited.birth();
    let kept = supply.inherited.kept();
    let unnamed = config.cid.aws_server_id.is_some();
    let birth = match predecessor {
        Some(_) if fixed.is_some() => return Err(GatewayError::FixedInstance),
        Some(_) if unnamed => return Err(GatewayError::NoInstances),
        Some(_) if kept.is_some_and(|kept| kept.cid != written(config)) => {
            return Err(GatewayError::OtherCids);
        }
        Some(predecessor) => predecessor.next(),
        None => Birth::first(random()?),
    };
    let [draw] = random()?;
    let alone = fixed.unwrap_or(InstanceId(draw));
    if unnamed {
        return Ok((None, alone));
    }
    match Registration::new(&config.runtime_dir, config.node.id, birth, fixed, draw) {
        Ok(registration) => {
            if predecessor.is_some_and(|birth| !registration.finds(birth)) {
                return Err(GatewayError::OtherPlace(config.runtime_dir.clone()));
            }
            let instance = registration.own().instance;
            Ok((Some(Arc::new(Siblings::new(registration))), instance))
        }
        Err(error) if predecessor.is_some() => Err(error.into()),
        Err(error) => {
            tracing::warn!(%error, "no other process will be able to take over from this one");
            Ok((None, alone))
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

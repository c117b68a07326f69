use std::fmt;
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use socket2::{SockRef, Type};

use crate::admin::AdminSocket;
use crate::control::Birth;
use crate::fleet::Keyring;
use crate::sys::activation;

/// Bound sockets that another process opened: the one from which this one takes over, or systemd.
///
/// They are used in place of sockets that the configuration would have bound. The UDP sockets of one
/// listener stand in their order within the kernel's group.
#[derive(Debug, Default)]
pub struct Inherited {
    birth: Option<Birth>,
    keyring: Option<Keyring>,
    kept: Option<Kept>,
    sockets: Vec<(SocketName, OwnedFd)>,
}

/// What a process is configured with, and must be that takes over from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// `workers`. It has fewer or more where systemd opened another number of sockets.
    pub(crate) workers: u16,
    /// How its connection IDs are written. Others could not be read by whoever takes over.
    pub(crate) cid: String,
}

/// What a socket is for. Written as in `FileDescriptorName=` of systemd.socket(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketName {
    /// `listen.N.udp`: one of the UDP sockets of the listener with this index.
    Udp(usize),
    /// `listen.N.tcp`: the TCP socket of the listener with this index.
    Tcp(usize),
    /// `relay`: the socket of the tunnel.
    Relay,
    /// `admin`: the admin listener, which goes from process to process only.
    Admin,
}

/// Why a socket that another process opened cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InheritedError {
    /// The name is none of [`SocketName`].
    #[error("{0:?} names no socket; the names are listen.N.udp, listen.N.tcp and relay")]
    Name(String),
    /// It is of another kind than its name says.
    #[error("the socket {0} is of another kind")]
    Kind(SocketName),
    /// The configuration has no use for it: a listener, the fleet or the admin listener is gone.
    #[error("the configuration has no place for the socket {0}; restart to change the sockets")]
    Unused(SocketName),
    /// The system refused to look at it.
    #[error("the socket {name}: {source}")]
    Io {
        /// The socket.
        name: SocketName,
        /// The system's error.
        source: io::Error,
    },
}

impl Inherited {
    /// Begins an upgrade from the process with this birth, without a socket yet.
    pub(crate) fn from_predecessor(birth: Birth) -> Self {
        Self {
            birth: Some(birth),
            ..Self::default()
        }
    }

    /// Adds the keys of a node without a fleet, which it has from nowhere else.
    pub(crate) fn keep_keyring(&mut self, keyring: Keyring) {
        self.keyring = Some(keyring);
    }

    /// The keys that came with the sockets.
    pub(crate) fn keyring(&self) -> Option<&Keyring> {
        self.keyring.as_ref()
    }

    /// Takes the keys that came with the sockets.
    pub(crate) fn take_keyring(&mut self) -> Option<Keyring> {
        self.keyring.take()
    }

    /// Adds what the process was configured with that has the sockets.
    pub(crate) fn keep(&mut self, kept: Kept) {
        self.kept = Some(kept);
    }

    /// What the process was configured with that has the sockets.
    pub(crate) fn kept(&self) -> Option<&Kept> {
        self.kept.as_ref()
    }

    /// Takes the sockets that systemd opened for this process, if it did. For the start of a program.
    ///
    /// # Errors
    /// [`InheritedError::Name`].
    pub fn from_systemd() -> Result<Self, InheritedError> {
        let mut inherited = Self::default();
        for (name, socket) in activation::take_sockets() {
            match name.parse()? {
                // Its path would belong to nobody who removes it.
                SocketName::Admin => return Err(InheritedError::Name(name)),
                known => inherited.push(known, socket),
            }
        }
        Ok(inherited)
    }

    /// Adds a socket; several [`SocketName::Udp`] of one listener in the order of their group.
    pub fn push(&mut self, name: SocketName, socket: impl Into<OwnedFd>) {
        self.sockets.push((name, socket.into()));
    }

    /// The birth of the process that this one takes over from, if this is an upgrade.
    pub(crate) fn birth(&self) -> Option<Birth> {
        self.birth
    }

    /// All sockets.
    pub(crate) fn sockets(&self) -> &[(SocketName, OwnedFd)] {
        &self.sockets
    }

    /// How many sockets have this name.
    pub(crate) fn count(&self, name: SocketName) -> usize {
        self.sockets
            .iter()
            .filter(|(known, _)| *known == name)
            .count()
    }

    /// Takes the UDP sockets of a listener.
    pub(crate) fn take_udp(&mut self, listener: usize) -> Result<Vec<UdpSocket>, InheritedError> {
        let name = SocketName::Udp(listener);
        let mut sockets = Vec::new();
        while let Some(socket) = self.take(name, Type::DGRAM)? {
            sockets.push(socket.into());
        }
        Ok(sockets)
    }

    /// Takes the TCP socket of a listener.
    pub(crate) fn take_tcp(
        &mut self,
        listener: usize,
    ) -> Result<Option<TcpListener>, InheritedError> {
        let socket = self.take(SocketName::Tcp(listener), Type::STREAM)?;
        Ok(socket.map(TcpListener::from))
    }

    /// Takes the socket of the tunnel.
    pub(crate) fn take_relay(&mut self) -> Result<Option<UdpSocket>, InheritedError> {
        Ok(self
            .take(SocketName::Relay, Type::DGRAM)?
            .map(UdpSocket::from))
    }

    /// Takes the admin listener.
    pub(crate) fn take_admin(&mut self) -> Result<Option<AdminSocket>, InheritedError> {
        let name = SocketName::Admin;
        let Some(socket) = self.take(name, Type::STREAM)? else {
            return Ok(None);
        };
        let local = SockRef::from(&socket)
            .local_addr()
            .map_err(|source| InheritedError::Io { name, source })?;
        Ok(Some(if local.is_unix() {
            AdminSocket::Unix(socket.into())
        } else {
            AdminSocket::Tcp(socket.into())
        }))
    }

    /// Ends the taking.
    ///
    /// # Errors
    /// [`InheritedError::Unused`] when a socket was not taken: it would queue what nobody reads.
    pub(crate) fn finish(self) -> Result<(), InheritedError> {
        match self.sockets.first() {
            Some((name, _)) => Err(InheritedError::Unused(*name)),
            None => Ok(()),
        }
    }

    fn take(&mut self, name: SocketName, kind: Type) -> Result<Option<OwnedFd>, InheritedError> {
        let Some(at) = self.sockets.iter().position(|(other, _)| *other == name) else {
            return Ok(None);
        };
        let (_, socket) = self.sockets.remove(at);
        let failed = |source| InheritedError::Io { name, source };
        let found = SockRef::from(&socket.as_fd()).r#type().map_err(failed)?;
        if found != kind {
            return Err(InheritedError::Kind(name));
        }
        SockRef::from(&socket)
            .set_nonblocking(true)
            .map_err(failed)?;
        Ok(Some(socket))
    }
}

impl fmt::Display for SocketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(listener) => write!(f, "listen.{listener}.udp"),
            Self::Tcp(listener) => write!(f, "listen.{listener}.tcp"),
            Self::Relay => f.write_str("relay"),
            Self::Admin => f.write_str("admin"),
        }
    }
}

impl FromStr for SocketName {
    type Err = InheritedError;

    fn from_str(text: &str) -> Result<Self, InheritedError> {
        let listener = || {
            let (listener, transport) = text.strip_prefix("listen.")?.split_once('.')?;
            let listener = listener.parse().ok()?;
            match transport {
                "udp" => Some(Self::Udp(listener)),
                "tcp" => Some(Self::Tcp(listener)),
                _ => None,
            }
        };
        match text {
            "relay" => Ok(Self::Relay),
            "admin" => Ok(Self::Admin),
            _ => listener().ok_or_else(|| InheritedError::Name(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_others_are_refused() {
        for name in [
            SocketName::Udp(0),
            SocketName::Tcp(12),
            SocketName::Relay,
            SocketName::Admin,
        ] {
            assert_eq!(name.to_string().parse::<SocketName>().unwrap(), name);
        }
        for text in [
            "",
            "wayhold.socket",
            "listen.udp",
            "listen.0.quic",
            "listen.x.udp",
        ] {
            let error = text.parse::<SocketName>().unwrap_err();
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn sockets_are_taken_once_and_in_their_order() {
        let mut inherited = Inherited::default();
        let udp = || UdpSocket::bind("127.0.0.1:0").unwrap();
        let sockets = [udp(), udp()];
        for socket in &sockets {
            inherited.push(SocketName::Udp(1), socket.try_clone().unwrap());
        }
        assert!(inherited.take_udp(0).unwrap().is_empty());
        let taken = inherited.take_udp(1).unwrap();
        let ports = |sockets: &[UdpSocket]| {
            let port = |socket: &UdpSocket| socket.local_addr().unwrap().port();
            sockets.iter().map(port).collect::<Vec<_>>()
        };
        assert_eq!(ports(&taken), ports(&sockets));
        assert!(inherited.take_udp(1).unwrap().is_empty());
        inherited.finish().unwrap();
    }

    #[test]
    fn a_socket_of_another_kind_is_refused() {
        let mut inherited = Inherited::default();
        inherited.push(SocketName::Tcp(0), UdpSocket::bind("127.0.0.1:0").unwrap());
        let error = inherited.take_tcp(0).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the socket listen.0.tcp is of another kind"
        );
        inherited.push(SocketName::Relay, std::fs::File::open("/dev/null").unwrap());
        inherited.take_relay().unwrap_err();
    }

    #[test]
    fn a_socket_that_nobody_takes_is_an_error() {
        let mut inherited = Inherited::default();
        inherited.push(SocketName::Relay, UdpSocket::bind("127.0.0.1:0").unwrap());
        assert!(matches!(
            inherited.finish(),
            Err(InheritedError::Unused(SocketName::Relay))
        ));
    }
}

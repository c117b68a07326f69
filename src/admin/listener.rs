use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::either::Either;

use crate::config::AdminAddress;
use crate::edge::Reading;

/// A bound admin listener that answers nobody yet.
///
/// Dropping it closes the listener and removes its unix socket, unless another process has put a
/// socket of its own in that place.
#[derive(Debug)]
pub struct Admin {
    listener: Listener,
    local: String,
    owner: Owner,
    reading: Reading,
}

/// Whether this process removes the unix socket at its end; shared by all clones.
///
/// Two processes have one socket while an upgrade lasts, and it belongs to the one that reads.
#[derive(Clone, Debug)]
pub(crate) struct Owner(Arc<AtomicBool>);

impl Owner {
    /// Says whether it is this process from here on.
    pub(crate) fn set(&self, own: bool) {
        self.0.store(own, Ordering::Relaxed);
    }
}

/// Why the admin listener could not be bound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The directory of the unix socket could not be made.
    #[error("cannot create the directory {path}: {source}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A live process serves this unix socket; give each process its own `admin.listen`.
    #[error("another process answers on {0}")]
    Occupied(PathBuf),
    /// Something other than a socket has this name; it is left alone.
    #[error("{0} exists and is not a socket")]
    NotASocket(PathBuf),
    /// The TCP address can be reached from other machines, and the listener has no access control.
    #[error("{0} is not a loopback address")]
    NotLoopback(SocketAddr),
    /// The socket that another process opened is at another address than the configuration says.
    #[error("the admin socket that was handed over is not {0}; restart to move it")]
    Elsewhere(String),
    /// The system refused the address.
    #[error("cannot bind {address}: {source}")]
    Bind {
        /// The path or the address.
        address: String,
        /// The system's error.
        source: io::Error,
    },
}

impl Admin {
    /// Binds the listener. Needs a tokio runtime.
    ///
    /// A unix socket has mode 0600 before it takes its first connection, and its directory is made
    /// with mode 0700 where missing. A socket file that nothing answers on is replaced.
    ///
    /// # Errors
    /// An [`AdminError`] names the address and the cause; nothing is left behind.
    pub fn bind(address: &AdminAddress) -> Result<Self, AdminError> {
        let owner = Owner(Arc::new(AtomicBool::new(true)));
        let (listener, local) = match address {
            AdminAddress::Off => (Listener::Off, "off".to_owned()),
            AdminAddress::Unix(path) => {
                let local = format!("unix:{}", path.display());
                (Listener::Unix(bind_unix(path, &owner)?), local)
            }
            AdminAddress::Tcp(address) => {
                let (listener, local) = bind_tcp(*address)?;
                (Listener::Tcp(listener), local.to_string())
            }
        };
        Ok(Self {
            listener,
            local,
            owner,
            reading: Reading::on(),
        })
    }

    /// Takes the socket that another process bound; see [`Owner`]. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`AdminError::Elsewhere`] if it is not at this address.
    pub(crate) fn inherited(
        address: &AdminAddress,
        socket: AdminSocket,
    ) -> Result<Self, AdminError> {
        let owner = Owner(Arc::new(AtomicBool::new(false)));
        let failed = |source| AdminError::Bind {
            address: address.to_string(),
            source,
        };
        let listener = match (address, socket) {
            (AdminAddress::Unix(path), AdminSocket::Unix(socket)) => {
                let local = socket.local_addr().map_err(failed)?;
                if local.as_pathname() != Some(path.as_path()) {
                    return Err(AdminError::Elsewhere(address.to_string()));
                }
                Listener::Unix(OwnedUnixListener {
                    listener: UnixListener::from_std(socket).map_err(failed)?,
                    path: path.clone(),
                    identity: identity(path).map_err(failed)?,
                    owner: owner.clone(),
                })
            }
            (AdminAddress::Tcp(wanted), AdminSocket::Tcp(socket)) => {
                let local = socket.local_addr().map_err(failed)?;
                if local.ip() != wanted.ip() || ![0, local.port()].contains(&wanted.port()) {
                    return Err(AdminError::Elsewhere(address.to_string()));
                }
                Listener::Tcp(TcpListener::from_std(socket).map_err(failed)?)
            }
            (address, _) => return Err(AdminError::Elsewhere(address.to_string())),
        };
        let local = match &listener {
            Listener::Tcp(tcp) => tcp.local_addr().map_err(failed)?.to_string(),
            _ => address.to_string(),
        };
        Ok(Self {
            listener,
            local,
            owner,
            reading: Reading::on(),
        })
    }

    /// Who removes its unix socket.
    pub(crate) fn owner(&self) -> Owner {
        self.owner.clone()
    }

    /// A duplicate of its socket for another process; `None` when it is off.
    pub(crate) fn duplicate(&self) -> io::Result<Option<OwnedFd>> {
        match &self.listener {
            Listener::Off => Ok(None),
            Listener::Unix(unix) => unix.listener.as_fd().try_clone_to_owned().map(Some),
            Listener::Tcp(tcp) => tcp.as_fd().try_clone_to_owned().map(Some),
        }
    }

    /// Where it listens, as the configuration would say it, with a TCP port of 0 resolved.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// Takes connections only while this process reads.
    pub(crate) fn reading_with(mut self, reading: Reading) -> Self {
        self.reading = reading;
        self
    }

    /// Waits for the next connection; forever when the listener is off. Cancel safe.
    pub(super) async fn accept(&self) -> io::Result<Either<UnixStream, TcpStream>> {
        self.reading.next(|| self.accept_next()).await
    }

    async fn accept_next(&self) -> io::Result<Either<UnixStream, TcpStream>> {
        match &self.listener {
            Listener::Off => std::future::pending().await,
            Listener::Unix(unix) => Ok(Either::Left(unix.listener.accept().await?.0)),
            Listener::Tcp(tcp) => Ok(Either::Right(tcp.accept().await?.0)),
        }
    }
}

/// A socket that another process bound for the admin listener.
#[derive(Debug)]
pub(crate) enum AdminSocket {
    /// At a path.
    Unix(std::os::unix::net::UnixListener),
    /// At a loopback address.
    Tcp(std::net::TcpListener),
}

#[derive(Debug)]
enum Listener {
    Off,
    Unix(OwnedUnixListener),
    Tcp(TcpListener),
}

#[derive(Debug)]
struct OwnedUnixListener {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode, which tell this socket from a successor's under the same name.
    identity: (u64, u64),
    owner: Owner,
}

impl Drop for OwnedUnixListener {
    fn drop(&mut self) {
        if self.owner.0.load(Ordering::Relaxed)
            && identity(&self.path).is_ok_and(|found| found == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the admin socket");
        }
    }
}

fn bind_tcp(address: SocketAddr) -> Result<(TcpListener, SocketAddr), AdminError> {
    if !address.ip().to_canonical().is_loopback() {
        return Err(AdminError::NotLoopback(address));
    }
    let bind = || {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let local = listener.local_addr()?;
        Ok((TcpListener::from_std(listener)?, local))
    };
    bind().map_err(|source| AdminError::Bind {
        address: address.to_string(),
        source,
    })
}

fn bind_unix(path: &Path, owner: &Owner) -> Result<OwnedUnixListener, AdminError> {
    if let Some(directory) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|source| AdminError::Directory {
                path: directory.to_owned(),
                source,
            })?;
    }
    let failed = |source| AdminError::Bind {
        address: path.display().to_string(),
        source,
    };
    match listen(path, owner) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            remove_stale(path)?;
            listen(path, owner).map_err(failed)
        }
        result => result.map_err(failed),
    }
}

/// Until `listen` the kernel refuses connections, so nobody can connect before the mode is set.
fn listen(path: &Path, owner: &Owner) -> io::Result<OwnedUnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let serve = || {
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        socket.listen(BACKLOG)?;
        Ok(OwnedUnixListener {
            listener: UnixListener::from_std(socket.into())?,
            path: path.to_owned(),
            identity: identity(path)?,
            owner: owner.clone(),
        })
    };
    serve().inspect_err(|_| drop(fs::remove_file(path)))
}

/// Removes a socket that only a dead process can have left: the kernel refuses connections to it.
fn remove_stale(path: &Path) -> Result<(), AdminError> {
    let failed = |source| AdminError::Bind {
        address: path.display().to_string(),
        source,
    };
    let file = fs::symlink_metadata(path).map_err(failed)?;
    if !file.file_type().is_socket() {
        return Err(AdminError::NotASocket(path.to_owned()));
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
    probe.set_nonblocking(true).map_err(failed)?;
    match probe.connect(&SockAddr::unix(path).map_err(failed)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        // Success, and also a full queue: a process that lives but is slow to accept.
        Ok(()) | Err(_) => Err(AdminError::Occupied(path.to_owned())),
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let file = fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino()))
}

/// Connections that the kernel keeps while all places are taken.
const BACKLOG: i32 = 64;

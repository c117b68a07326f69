//! The sections of the configuration that say how a gateway is operated, as checked types.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The private listener for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Admin {
    /// Where it listens. Default the unix socket `admin.sock` in `state_dir`.
    pub listen: AdminAddress,
}

/// Where the admin listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// Nowhere; written `"off"`.
    Off,
    /// A unix socket, mode 0600; written `"unix:/path"`.
    Unix(PathBuf),
    /// A TCP address; refused by the check unless it is a loopback address.
    Tcp(SocketAddr),
}

/// Logs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Log {
    /// The form of the lines on standard error. Default `text`.
    pub format: LogFormat,
    /// A filter such as `info` or `wayhold=debug,warn`. Default `info`.
    pub level: String,
    /// Whether each request writes a line. Default true.
    pub access: bool,
    /// Where traces of QUIC connections are written. Default none is.
    pub qlog_dir: Option<PathBuf>,
    /// One in this many QUIC connections is traced. Default 1000.
    pub qlog_one_in: u32,
    /// Bytes of all traces in the directory; the oldest make room. Default 256 MiB.
    pub qlog_bytes: u64,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How the process ends.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shutdown {
    /// How long requests under way may take after the first SIGTERM. Default 30 s.
    pub grace: Duration,
}

/// Commands that the gateway runs, such as those that move a route. Each is a program and its
/// arguments, without a shell; an empty one is none.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hooks {
    /// Run when the node welcomes clients: at start, and when a drain is taken back. Default none.
    pub announce: Vec<String>,
    /// Run when clients are to go elsewhere: before a drain or the end changes anything. Default
    /// none.
    pub withdraw: Vec<String>,
    /// How long everything is still served as before after `withdraw`. Default 1 s.
    pub settle: Duration,
    /// A command that runs longer is killed. Default 5 s.
    pub timeout: Duration,
}

/// How another process takes over from this one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Upgrade {
    /// How long the old process keeps its connections before it drains. Default 10 min.
    pub keep: Duration,
    /// How long the new process may take until it is prepared. Default 30 s.
    pub timeout: Duration,
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

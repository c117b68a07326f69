//! The sections of the configuration as checked types.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::operating::{Admin, Hooks, Log, Shutdown, Upgrade};
use super::{ConnectUdp, Dns, Forwarded, Jwt, Listen, Pool, Return, Route, Trace};
use crate::cid::{self, FirstOctet};
use crate::fleet::NodeId;

/// The whole configuration of one gateway process, checked.
///
/// `Config::default()` is what the gateway runs with when no key is set.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Where clients connect; at least one.
    pub listen: Vec<Listen>,
    /// QUIC endpoints of each listener, each with a UDP socket of its own: 1 to 64. Fixed while the
    /// sockets live. Default the number of cores, at most 64.
    pub workers: u16,
    /// Where requests go; empty means the built-in demo origin.
    pub route: Vec<Route>,
    /// The pools that routes name.
    pub pool: Vec<Pool>,
    /// The tokens that routes ask for.
    pub jwt: Vec<Jwt>,
    /// How the names of backends are looked up.
    pub dns: Dns,
    /// Proxies before the gateway.
    pub forwarded: Forwarded,
    /// How requests are followed.
    pub trace: Trace,
    /// Who this node is.
    pub node: Node,
    /// The other nodes, if there are any.
    pub fleet: Option<Fleet>,
    /// The form of connection IDs.
    pub cid: Cid,
    /// Tunnels of UDP, where a route takes them.
    pub connect_udp: ConnectUdp,
    /// The QUIC transport.
    pub quic: Quic,
    /// TLS over TCP.
    pub tcp: Tcp,
    /// Bounds on what clients may hold.
    pub limits: Limits,
    /// Bounds on how long things may take.
    pub timeouts: Timeouts,
    /// The private listener for operators.
    pub admin: Admin,
    /// Logs.
    pub log: Log,
    /// How the process ends.
    pub shutdown: Shutdown,
    /// The operator's own commands.
    pub hooks: Hooks,
    /// How another process takes over.
    pub upgrade: Upgrade,
    /// Where the development certificate and other made files live.
    /// `$XDG_STATE_HOME/wayhold`, else `~/.local/state/wayhold`, else `/var/lib/wayhold`.
    pub state_dir: PathBuf,
    /// Where the live processes of this node find each other; each node has a directory in it, of
    /// mode 0700. Default `run` in `state_dir`.
    pub runtime_dir: PathBuf,
}

/// Who this node is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Node {
    /// The node's ID, unique in the fleet: 0 to 16777215. Default 0.
    pub id: NodeId,
    /// The instance byte of connection IDs; drawn at random at start when absent.
    pub instance: Option<u8>,
    /// Where this node is: backends in the same zone come first. Default nowhere, which is everywhere.
    pub zone: Option<String>,
}

/// The nodes that share one service address. Written in the main file as `[fleet]`, or in a file of
/// its own that every node shares, named by `fleet.file` or `--fleet`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fleet {
    /// The file with the fleet key, mode 0600.
    pub key_file: PathBuf,
    /// All nodes, this one among them.
    pub member: Vec<Member>,
    /// The MTU of the links between nodes in bytes. Default 1500.
    pub link_mtu: u16,
    /// How answers go to clients whose packets reach a peer; written `return`. Default `direct`.
    pub return_by: Return,
    /// Between two heartbeats to each peer. Default 200 ms.
    pub heartbeat: Duration,
    /// A peer that proves nothing for this long is silent. Default 800 ms.
    pub silent_after: Duration,
    /// In a fleet of two, a peer that proves nothing for this long is dead. Default 10 s.
    pub dead_after: Duration,
}

/// One node of the fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// The node's ID.
    pub id: NodeId,
    /// The UDP address at which it takes tunnelled datagrams from its peers.
    pub relay: SocketAddr,
}

/// The form of connection IDs (draft-ietf-quic-load-balancers-21).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cid {
    /// The profile, which sets the other keys' defaults. Default `wayhold`.
    pub profile: Profile,
    /// The config rotation bits: 0 to 6. Default 0.
    pub config_id: cid::ConfigId,
    /// Bytes of nonce: 4 to 18. Default 12; `aws-nlb` 7.
    pub nonce_len: u8,
    /// The first octet's low bits. Default `random`.
    pub first_octet: FirstOctet,
    /// Whether nonces shorter than 8 bytes may be minted under encryption, where they can run out.
    /// Default false.
    pub dangerous_short_nonce: bool,
    /// The server ID of the `aws-nlb` profile, from the environment variable
    /// `AWS_LBC_QUIC_SERVER_ID`; present exactly under that profile.
    pub aws_server_id: Option<[u8; 8]>,
}

/// A set of defaults for connection IDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Encrypted, server ID of 4 bytes (node 3, instance 1), nonce of 12.
    Wayhold,
    /// Plaintext, the 8-byte server ID of the environment variable `AWS_LBC_QUIC_SERVER_ID`.
    AwsNlb,
}

/// The QUIC transport (RFC 9000).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quic {
    /// A connection without any packet for this long ends. Default 120 s.
    pub idle_timeout: Duration,
    /// How long a connection is silent before the gateway pings. Default 25 s.
    pub keep_alive: Keepalive,
    /// Bytes a client may send ahead on one stream. Default 512 KiB.
    pub stream_receive_window: u32,
    /// Bytes a client may send ahead on all streams. Default 512 KiB.
    pub receive_window: u32,
    /// Bytes of responses held for one connection until acknowledged, once its path is known to carry
    /// much. Default 4 MiB.
    pub send_window: u32,
    /// The largest UDP payload that is ever sent; also bounds the MTU search. Default 1400.
    pub max_udp_payload: u16,
    /// The UDP payload with which connections begin: 1200 to `max_udp_payload`. Default 1200.
    pub initial_mtu: u16,
    /// Whether connections look for a larger payload (RFC 8899). Default true.
    pub mtu_discovery: bool,
    /// The round-trip time that is assumed until one is measured (RFC 9002, section 6.2.2).
    /// Default 333 ms.
    pub initial_rtt: Duration,
    /// Answers every new address with a Retry (RFC 9000, section 8.1.2). Otherwise only while more
    /// than half of `limits.handshakes` are under way. Default false.
    pub retry: bool,
    /// How long a Retry's token is good, beside what the nodes' clocks differ. Default 90 s.
    pub retry_token_lifetime: Duration,
    /// Who may send requests before the handshake is complete. Default `off`.
    pub early_data: EarlyData,
    /// Where clients are asked to move once they are connected (RFC 9000, section 9.6): at most one
    /// address of each family. Default none.
    pub preferred_address: Vec<SocketAddr>,
    /// Open connection IDs are replaced after this time. Default 300 s.
    pub cid_lifetime: Duration,
}

/// TLS over TCP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tcp {
    /// Who may send requests before the handshake is complete. Default `off`.
    pub early_data: EarlyData,
    /// Clients whose first data came with their SYN (RFC 7413) and who are not accepted yet, at most; 0
    /// is none at all. Default 0.
    pub fast_open: u16,
}

/// Who may send requests before the handshake is complete (RFC 8446, section 2.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EarlyData {
    /// Nobody; clients resume on every node.
    #[default]
    Off,
    /// A client that resumes at the process that made its session, and only there.
    Owner,
}

/// When the gateway pings a silent client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keepalive {
    /// Never; written `"off"`.
    Off,
    /// After this much silence.
    After(Duration),
}

/// Bounds on what clients may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Open connections, QUIC and TCP counted apart. Default 100000.
    pub connections: u32,
    /// Connections whose handshake is not complete, QUIC and TCP counted apart. Default 1024.
    pub handshakes: u32,
    /// Concurrent requests on one connection. Default 128.
    pub streams: u32,
    /// Bytes of a request's header section (name + value + 32 each, RFC 9114 4.2.2). Default 32 KiB.
    pub header_bytes: u32,
    /// Fields of a request's header section. Default 128.
    pub header_fields: u32,
    /// Bytes of a request body; 0 means no limit. Default 0.
    pub body_bytes: u64,
    /// Bytes of a body each second while the client is waited for; 0 means no rate. Default 16.
    pub body_rate: u32,
    /// The bits of an IPv4 address that tell one client from another, for its rate: 8 to 32. Default 24.
    pub client_ipv4_prefix: u8,
    /// Those of an IPv6 address: 16 to 64. Default 56.
    pub client_ipv6_prefix: u8,
    /// Clients whose requests are counted for each route with a rate of clients. Default 65536.
    pub client_rates: u32,
    /// Idle connections kept to each backend. Default 256.
    pub upstream_idle: u32,
    /// Requests under way to each backend. Default 4096.
    pub upstream_requests: u32,
    /// Datagrams from peers that wait for the endpoint. Default 4096.
    pub tunnel_queue: u32,
    /// Sessions kept where `quic.early_data` or `tcp.early_data` is `owner`. Default 65536.
    pub early_sessions: u32,
}

/// Bounds on how long things may take.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// From the first packet to a complete handshake. Default 10 s.
    pub handshake: Duration,
    /// From the first byte of a request to its complete header section. Default 10 s.
    pub header: Duration,
    /// Between two pieces of a request or response body. Default 60 s.
    pub body_idle: Duration,
    /// A tunnel in which nothing passes either way for this long ends, at the latest after twice as long.
    /// Default 10 min.
    pub tunnel_idle: Duration,
    /// To connect to a backend. Default 2 s.
    pub connect: Duration,
    /// From the request's last sent byte to the response's header section. Default 60 s.
    pub first_byte: Duration,
    /// A connection of a client without a request for this long ends. Default 120 s.
    pub idle: Duration,
    /// An idle connection to a backend is closed after this time. Default 30 s.
    pub upstream_idle: Duration,
    /// From a request's complete header section to the last byte of its response; 0 is any time.
    /// Default 0.
    pub total: Duration,
}

impl Fleet {
    /// Joins these nodes, which must include this one, by links of 1500 bytes.
    pub fn new(key_file: impl Into<PathBuf>, member: Vec<Member>) -> Self {
        Self {
            key_file: key_file.into(),
            member,
            link_mtu: Self::DEFAULT_LINK_MTU,
            return_by: Return::default(),
            heartbeat: Self::DEFAULT_TIMING.interval,
            silent_after: Self::DEFAULT_TIMING.silent_after,
            dead_after: Self::DEFAULT_TIMING.dead_after,
        }
    }
}

impl Member {
    /// Describes a node that takes tunnelled datagrams at `relay`.
    pub fn new(id: NodeId, relay: SocketAddr) -> Self {
        Self { id, relay }
    }
}

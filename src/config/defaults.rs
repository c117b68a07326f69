//! What each section holds when none of its keys is set; docs/config.md explains the numbers.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{
    Admin, AdminAddress, Cid, Config, ConnectUdp, Dns, EarlyData, Fleet, Forwarded, Hooks,
    Keepalive, Limits, Listen, Log, LogFormat, Node, Profile, Quic, Shutdown, Tcp, Timeouts, Trace,
    Upgrade,
};
use crate::cid::{ConfigId, FirstOctet};
use crate::fleet::Timing;

impl Default for Config {
    fn default() -> Self {
        let state_dir = default_state_dir();
        Self {
            listen: vec![Listen::default()],
            workers: default_workers(),
            route: Vec::new(),
            pool: Vec::new(),
            jwt: Vec::new(),
            dns: Dns::default(),
            forwarded: Forwarded::default(),
            trace: Trace::default(),
            node: Node::default(),
            fleet: None,
            cid: Cid::default(),
            connect_udp: ConnectUdp::default(),
            quic: Quic::default(),
            tcp: Tcp::default(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            admin: Admin {
                listen: AdminAddress::in_state_dir(&state_dir),
            },
            log: Log::default(),
            shutdown: Shutdown::default(),
            hooks: Hooks::default(),
            upgrade: Upgrade::default(),
            runtime_dir: runtime_dir(&state_dir),
            state_dir,
        }
    }
}

impl AdminAddress {
    /// The default: the unix socket `admin.sock` in the state directory.
    pub(super) fn in_state_dir(state_dir: &Path) -> Self {
        Self::Unix(state_dir.join("admin.sock"))
    }
}

impl Fleet {
    /// The default of `fleet.link_mtu`.
    pub(super) const DEFAULT_LINK_MTU: u16 = 1500;
    /// The defaults of `fleet.heartbeat`, `fleet.silent_after` and `fleet.dead_after`.
    pub(super) const DEFAULT_TIMING: Timing = Timing::DEFAULT;

    /// How fast it is decided who lives.
    pub fn timing(&self) -> Timing {
        Timing {
            interval: self.heartbeat,
            silent_after: self.silent_after,
            dead_after: self.dead_after,
        }
    }
}

impl Cid {
    /// The default of `cid.nonce_len` under the `aws-nlb` profile.
    pub(super) const AWS_NLB_NONCE_LEN: u8 = 7;
}

impl Default for Cid {
    fn default() -> Self {
        Self {
            profile: Profile::Wayhold,
            config_id: ConfigId::default(),
            nonce_len: 12,
            first_octet: FirstOctet::Random,
            dangerous_short_nonce: false,
            aws_server_id: None,
        }
    }
}

impl Default for Quic {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_mins(2),
            keep_alive: Keepalive::After(Duration::from_secs(25)),
            stream_receive_window: 512 << 10,
            receive_window: 512 << 10,
            send_window: 4 << 20,
            max_udp_payload: 1400,
            initial_mtu: 1200,
            mtu_discovery: true,
            initial_rtt: Duration::from_millis(333),
            retry: false,
            retry_token_lifetime: Duration::from_secs(90),
            early_data: EarlyData::Off,
            preferred_address: Vec::new(),
            cid_lifetime: Duration::from_mins(5),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 100_000,
            handshakes: 1024,
            streams: 128,
            header_bytes: 32 << 10,
            header_fields: 128,
            body_bytes: 0,
            body_rate: 16,
            client_ipv4_prefix: 24,
            client_ipv6_prefix: 56,
            client_rates: 1 << 16,
            upstream_idle: 256,
            upstream_requests: 4096,
            tunnel_queue: 4096,
            early_sessions: 65_536,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(10),
            body_idle: Duration::from_mins(1),
            tunnel_idle: Duration::from_mins(10),
            connect: Duration::from_secs(2),
            first_byte: Duration::from_mins(1),
            idle: Duration::from_mins(2),
            upstream_idle: Duration::from_secs(30),
            total: Duration::ZERO,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            level: "info".into(),
            access: true,
            qlog_dir: None,
            qlog_one_in: 1000,
            qlog_bytes: 256 << 20,
        }
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(30),
        }
    }
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            announce: Vec::new(),
            withdraw: Vec::new(),
            settle: Duration::from_secs(1),
            timeout: Duration::from_secs(5),
        }
    }
}

impl Default for Upgrade {
    fn default() -> Self {
        Self {
            keep: Duration::from_mins(10),
            timeout: Duration::from_secs(30),
        }
    }
}

/// As many workers as there are cores, or one where that is not known.
fn default_workers() -> u16 {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    u16::try_from(cores.min(MAX_WORKERS)).expect("the most workers are few")
}

const MAX_WORKERS: usize = 64;

/// The default of `runtime_dir`: what two gateways on one machine must not share, they have apart in
/// their state directories.
pub(super) fn runtime_dir(state_dir: &Path) -> PathBuf {
    state_dir.join("run")
}

fn default_state_dir() -> PathBuf {
    let from = |name: &str| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    from("XDG_STATE_HOME")
        .or_else(|| from("HOME").map(|home| home.join(".local/state")))
        .map_or_else(
            || PathBuf::from("/var/lib/wayhold"),
            |base| base.join("wayhold"),
        )
}

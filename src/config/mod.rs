//! The gateway's configuration: from a TOML file, the environment and the command line to checked
//! types that need no second look.
//!
//! Loading reads files but binds, connects and writes nothing. Every value knows the file and line,
//! the variable or the flag that it came from, so that an error can name it. docs/config.md is the
//! operator's page.

mod connect_udp;
mod connect_udp_keys;
mod decode;
mod defaults;
mod error;
mod explain;
mod fleet_keys;
mod form;
mod keys;
mod layers;
mod link;
mod listen;
mod listen_keys;
mod load;
mod names;
mod operating;
mod operating_keys;
mod pool;
mod pool_keys;
mod pool_rules;
mod read_routes;
#[cfg(test)]
mod reference;
mod route;
mod route_keys;
mod rules;
mod schema;
mod sections;
#[cfg(test)]
mod test_directory;
mod tree;
mod units;

pub use connect_udp::ConnectUdp;
pub use error::{LoadError, LoadErrors, Origin, UpstreamError};
pub use explain::{Explained, explain};
pub use keys::KEYS;
pub use layers::{FILE_VARIABLE, PREFIX, Setting, SettingError, Sources};
pub use link::{LinkMtuError, Return, max_udp_payload};
pub use listen::{AuthorityRule, Certificate, ClientAuth, Listen, UnknownName};
pub use load::load;
pub use operating::{Admin, AdminAddress, Hooks, Log, LogFormat, Shutdown, Upgrade};
pub use pool::{Backend, HashBy, Pool, Probe, Retry};
pub use route::{Route, Upstream, UpstreamProtocol};
pub use schema::{Key, Kind};
pub use sections::{
    Cid, Config, EarlyData, Fleet, Keepalive, Limits, Member, Node, Profile, Quic, Tcp, Timeouts,
};

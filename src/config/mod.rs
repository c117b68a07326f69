//! The gateway's configuration: from a TOML file, the environment and the command line to checked
//! types that need no second look.
//!
//! Loading reads files but binds, connects and writes nothing. Every value knows the file and line,
//! the variable or the flag that it came from, so that an error can name it. docs/config.md is the
//! operator's page.

mod answer;
mod connect_udp;
mod connect_udp_keys;
mod decode;
mod decode_fields;
mod decode_pools;
mod defaults;
mod dns;
mod dns_keys;
mod error;
mod explain;
mod field_edits;
mod fleet_keys;
mod form;
mod gate;
mod gate_keys;
mod gate_rules;
mod keys;
mod layers;
mod link;
mod listen;
mod listen_keys;
mod load;
mod location;
mod names;
mod operating;
mod operating_keys;
mod pool;
mod pool_keys;
mod pool_rules;
mod provenance;
mod provenance_keys;
mod read_answers;
mod read_gate;
mod read_routes;
#[cfg(test)]
mod reference;
mod route;
mod route_keys;
mod route_rules;
mod rules;
mod schema;
mod sections;
mod template;
#[cfg(test)]
mod test_directory;
mod tree;
mod units;

pub use answer::{Answer, Content};
pub use connect_udp::ConnectUdp;
pub use dns::{Dns, Families};
pub use error::{LoadError, LoadErrors, Origin, UpstreamError};
pub use explain::{Explained, explain};
pub use field_edits::{FieldEdits, FieldLine};
pub use gate::{ClaimTo, Gate, Jwt, JwtAlgorithm, JwtKeys, Rate};
pub use keys::KEYS;
pub use layers::{FILE_VARIABLE, PREFIX, Setting, SettingError, Sources};
pub use link::{LinkMtuError, Return, max_udp_payload};
pub use listen::{AuthorityRule, Certificate, ClientAuth, Listen, UnknownName};
pub use load::load;
pub use location::{Location, LocationError};
pub use operating::{Admin, AdminAddress, Hooks, Log, LogFormat, Shutdown, Upgrade};
pub use pool::{Alpn, Backend, HashBy, Pool, Probe, ProxyProtocol, Retry, UpstreamTls};
pub use provenance::{Forwarded, ForwardedField, Trace, TraceContext};
pub use route::{Rewrite, Route, Upstream, UpstreamProtocol};
pub use schema::{Key, Kind};
pub use sections::{
    Cid, Config, EarlyData, Fleet, Keepalive, Limits, Member, Node, Profile, Quic, Tcp, Timeouts,
};
pub use template::{Part, Template, TemplateError, Variable};

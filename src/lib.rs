//! wayhold is an edge gateway for QUIC and HTTP/3 that keeps its hold on a client while everything
//! under the client moves: its address, its NAT, its network, and the anycast node that its
//! packets reach.
//!
//! The crate is the library behind the `wayhold` command. Its core modules (`cid`, `wire`, `link`,
//! `balance`, `fleet`, `session`, `steer`, `http3`, `connect_udp`) do no IO, read no clock and draw no
//! randomness; they build with `--no-default-features`. Everything that touches a socket stands behind the
//! `gateway` feature.
//!
//! A program embeds a `Gateway`. It answers requests with a `request::Handler`, or takes QUIC
//! connections whole with an `Application`, and can say with a `control::Source` who is in its fleet.

pub mod balance;
pub mod cid;
pub mod connect_udp;
pub mod fleet;
pub mod http3;
pub mod link;
pub mod session;
pub mod steer;
pub mod wire;

#[cfg(feature = "gateway")]
pub mod admin;
#[cfg(feature = "gateway")]
pub mod bridge;
#[cfg(feature = "gateway")]
pub mod config;
#[cfg(feature = "gateway")]
pub mod control;
#[cfg(feature = "gateway")]
mod edge;
#[cfg(feature = "gateway")]
mod gateway;
#[cfg(feature = "gateway")]
pub mod lifecycle;
#[cfg(feature = "gateway")]
mod pem;
#[cfg(feature = "gateway")]
pub mod request;
#[cfg(feature = "gateway")]
pub mod sys;
#[cfg(feature = "gateway")]
pub mod telemetry;

#[cfg(feature = "gateway")]
pub use edge::{Accepted, Application, Fault, QuicConfigs, SnapshotRefused};
#[cfg(feature = "gateway")]
pub use gateway::{
    Applied, DevelopmentCertificate, FleetHandle, FleetReloadError, Gateway, GatewayBuilder,
    GatewayEnded, GatewayError, GatewayHandle, HandOver, LocateError, Protocols, ReloadError,
    Sockets, Upgraded, check,
};
#[cfg(feature = "bench")]
pub mod bench;
#[cfg(feature = "bench")]
pub mod client;
#[cfg(feature = "cli")]
pub mod demo;
#[cfg(feature = "bench")]
pub mod testbed;

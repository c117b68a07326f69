//! Where clients and peers reach the gateway: sockets, QUIC, TLS, the tunnel between nodes, and the
//! HTTP versions.

mod cid_keys;
mod http3;
mod quic;
mod service;
mod session_keys;
mod socket;
mod steering;
mod tcp;
mod tls;
mod tunnel;

pub(crate) use cid_keys::SharedCidKeys;
pub(crate) use http3::{Http3, Rules as Http3Rules};
pub(crate) use quic::{
    AddressTokens, EndpointParts, Issuer, Make, Minters, QuicEdge, QuicParts, endpoint,
};
pub(crate) use service::{Rules, Service};
pub(crate) use session_keys::SharedSessionKeys;
pub(crate) use socket::{Injector, SteeredSocket};
pub use steering::Fault;
pub(crate) use steering::{Steering, declare_reasons};
pub(crate) use tcp::{TcpEdge, TcpParts, alt_svc};
pub(crate) use tls::{EarlySessions, FleetTicketer, Identity, ServerTls, Tickets, TlsError};
pub use tunnel::SnapshotRefused;
pub(crate) use tunnel::{Endpoints, FleetDriver, Followers, Tunnel};

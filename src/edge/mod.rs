//! Where clients and peers reach the gateway: sockets, QUIC, TLS, the tunnel between nodes, and the
//! HTTP versions.

mod cid_keys;
mod course;
mod endpoints;
mod http3;
mod last_in_line;
mod pace;
mod places;
mod quic;
mod reading;
mod service;
mod session_keys;
mod sibling;
mod socket;
mod steering;
mod tcp;
mod tls;
mod tunnel;

pub(crate) use cid_keys::SharedCidKeys;
pub(crate) use course::Course;
pub use course::Phase;
pub(crate) use endpoints::{Endpoint, Endpoints};
pub(crate) use http3::{Http3, Rules as Http3Rules};
pub(crate) use pace::PaceTerms;
pub use quic::{Accepted, Application, QuicConfigs};
pub(crate) use quic::{
    AddressTokens, EndpointParts, Issuer, Make, Minters, Qlog, QuicChange, QuicControl, QuicEdge,
    QuicParts, QuicPlaces, QuicTerms, Served, SharedApplication, configs, endpoint,
};
pub(crate) use reading::Reading;
pub(crate) use service::{Policy, Provenance, Rules, Service};
pub(crate) use session_keys::SharedSessionKeys;
pub(crate) use sibling::{Receiver as SiblingReceiver, Siblings};
pub(crate) use socket::{SocketParts, SteeredSocket};
pub use steering::Fault;
pub(crate) use steering::{Steering, declare_reasons, drop_reasons};
pub(crate) use tcp::{TcpEdge, TcpParts, alt_svc};
pub(crate) use tls::{
    CertificateFacts, Certificates, ClientPolicy, EarlySessions, FleetTicketer, Hosts, Identity,
    ServerTls, TlsConfig, TlsError, now as time_of_day,
};
pub use tunnel::SnapshotRefused;
pub(crate) use tunnel::{FleetDriver, Followers, Tunnel};

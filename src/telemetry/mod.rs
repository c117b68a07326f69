//! What the gateway tells its operator: metrics, the access log, and events.

mod access;
mod gate;
mod handshakes;
mod labels;
mod metrics;
mod pools;
mod udp;

pub use access::{AccessLog, AccessRecord};
pub use gate::{GateMetrics, KeyOutcome, RateLabel, RouteLabel, TokenLabel, TokenReason};
pub use handshakes::CertificateLabel;
pub use labels::{Answered, Early, Informed};
pub use metrics::{
    FleetFinding, HandedOver, Metrics, PathChange, PeerLife, Reason, ReloadOutcome, Transport,
    UdpSocket,
};
pub use pools::{PoolLabel, PoolMetrics, PoolReason};
pub use udp::{UdpDirection, UdpMetrics};

//! What the gateway tells its operator: metrics, the access log, and events.

mod access;
mod labels;
mod metrics;
mod udp;

pub use access::{AccessLog, AccessRecord};
pub use labels::{Answered, Early, Informed, PoolLabel, PoolReason};
pub use metrics::{
    FleetFinding, HandedOver, Metrics, PathChange, PeerLife, Reason, ReloadOutcome, Transport,
    UdpSocket,
};
pub use udp::{UdpDirection, UdpMetrics};

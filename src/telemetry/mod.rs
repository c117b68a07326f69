//! What the gateway tells its operator: metrics, the access log, and events.

mod access;
mod metrics;
mod udp;

pub use access::{AccessLog, AccessRecord};
pub use metrics::{
    Answered, Early, FleetFinding, HandedOver, Metrics, PathChange, PeerLife, Reason,
    ReloadOutcome, Transport, UdpSocket,
};
pub use udp::{UdpDirection, UdpMetrics};

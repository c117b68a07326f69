//! What the gateway tells its operator: metrics, the access log, and events.

mod access;
mod metrics;

pub use access::{AccessLog, AccessRecord};
pub use metrics::{
    Answered, Early, FleetFinding, HandedOver, Informed, Metrics, PathChange, PeerLife, PoolLabel,
    PoolReason, Reason, ReloadOutcome, Transport, UdpSocket,
};

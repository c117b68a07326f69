use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Reason;

/// The metrics of tunnels of UDP (RFC 9298).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct UdpMetrics {
    /// Tunnels open now.
    pub tunnels: Gauge,
    /// Requests for a tunnel that were refused, by reason.
    pub refused: Family<Reason, Counter>,
    /// Tunnels that ended, by reason.
    pub ended: Family<Reason, Counter>,
    /// Packets passed on, by direction.
    pub passed: Family<UdpDirection, Counter>,
    /// Packets dropped, by reason.
    pub dropped: Family<Reason, Counter>,
}

/// The label of a packet in a tunnel, by where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct UdpDirection {
    to: &'static str,
}

impl UdpDirection {
    /// To the target.
    pub const TARGET: Self = Self { to: "target" };
    /// To the client.
    pub const CLIENT: Self = Self { to: "client" };
}

impl UdpMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("udp_tunnels", "Open tunnels of UDP", self.tunnels.clone());
        registry.register(
            "udp_tunnels_refused",
            "Tunnels of UDP that were refused, by reason",
            self.refused.clone(),
        );
        registry.register(
            "udp_tunnels_ended",
            "Tunnels of UDP that ended, by reason",
            self.ended.clone(),
        );
        registry.register(
            "udp_packets",
            "Packets passed on in tunnels of UDP, by where they go",
            self.passed.clone(),
        );
        registry.register(
            "udp_packets_dropped",
            "Packets dropped in tunnels of UDP, by reason",
            self.dropped.clone(),
        );
    }

    /// Counts a packet that was dropped.
    pub(crate) fn drop_one(&self, reason: &'static str) {
        self.dropped.get_or_create(&Reason { reason }).inc();
    }
}

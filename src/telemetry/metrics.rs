use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::labels::{Answered, Early, Informed};
use super::{CertificateLabel, GateMetrics, PoolMetrics, UdpMetrics};
use crate::fleet::{Finding, PeerState};

/// Why something was dropped, refused or failed: one of a fixed set of words in the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    /// The word.
    pub reason: &'static str,
}

/// The label of what there is for QUIC and for TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Transport {
    transport: &'static str,
}

/// The label of a change of a client's address, by what changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PathChange {
    kind: &'static str,
}

/// The label of a UDP socket, by what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct UdpSocket {
    socket: &'static str,
}

/// The label of a reload, by what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReloadOutcome {
    outcome: &'static str,
}

/// The label of peers, by whether they live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PeerLife {
    state: &'static str,
}

/// The label of what is wrong with peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FleetFinding {
    finding: &'static str,
}

/// Every metric of one gateway. Cheap to clone; counters are atomics.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Metrics {
    /// Datagrams that arrived from clients on the service address.
    pub datagrams_received: Counter,
    /// Datagrams that this node's own connections took.
    pub datagrams_local: Counter,
    /// Datagrams sent through the tunnel to their owner.
    pub datagrams_forwarded: Counter,
    /// Datagrams that came out of the tunnel and were accepted.
    pub datagrams_tunnelled: Counter,
    /// Datagrams handed to another process of this node.
    pub datagrams_passed: Counter,
    /// Datagrams dropped, by reason.
    pub datagrams_dropped: Family<Reason, Counter>,
    /// Tunnel datagrams refused before their content was looked at, by reason.
    pub tunnel_refused: Family<Reason, Counter>,
    /// Datagrams that the kernel dropped because a socket's buffer was full, by socket.
    pub socket_drops: Family<UdpSocket, Counter>,
    /// Version negotiation packets sent.
    pub version_negotiations: Counter,
    /// Datagrams that one endpoint of this process received for another, by cause.
    pub handed_over: Family<HandedOver, Counter>,
    /// Answers sent through the tunnel to the node that their client's packets reach.
    pub replies_tunnelled: Counter,
    /// Answers of peers sent on to clients.
    pub replies_emitted: Counter,
    /// Clients whose way back is kept, because their packets do not come in where they first did.
    pub return_paths: Gauge,
    /// How often such a way back was not kept because there was no room.
    pub return_paths_refused: Counter,
    /// Stateless resets sent for connections whose owner is gone.
    pub resets: Counter,
    /// The other members of the fleet, by whether they live.
    pub fleet_peers: Family<PeerLife, Gauge>,
    /// Peers with which something is wrong, by what it is.
    pub fleet_findings: Family<FleetFinding, Gauge>,
    /// The epoch of the fleet key in which connection IDs are issued.
    pub fleet_epoch: Gauge,
    /// QUIC and TCP connections open now, by transport.
    pub connections: Family<Transport, Gauge>,
    /// Retry packets sent to clients that must prove their address first.
    pub retries: Counter,
    /// Times that uses of address tokens were forgotten because there were too many.
    pub address_tokens_forgotten: Counter,
    /// First packets of new connections whose way was not kept for lack of room.
    pub early_entries_refused: Counter,
    /// Requests that came before the end of their handshake, by what became of them.
    pub early_requests: Family<Early, Counter>,
    /// Sessions with early data that were forgotten before their end, because there were too many.
    pub early_sessions_displaced: Counter,
    /// Sessions of clients with long certificate chains, for which there is no ticket.
    pub tickets_too_large: Counter,
    /// When each certificate of each listener ends, in seconds since 1970.
    pub certificate_expiry: Family<CertificateLabel, Gauge>,
    /// Traces of QUIC connections that were begun.
    pub qlog_traces: Counter,
    /// Records of traces that were not written, and traces that were not begun, by reason.
    pub qlog_dropped: Family<Reason, Counter>,
    /// Connections refused at a limit or failed before they were established, by reason.
    pub connections_refused: Family<Reason, Counter>,
    /// Changes of the address that a live connection's packets come from, validated or not, by kind.
    pub path_changes: Family<PathChange, Counter>,
    /// Requests answered, by status class and protocol.
    pub requests: Family<Answered, Counter>,
    /// Requests that ended without their handler's response, by reason.
    pub requests_failed: Family<Reason, Counter>,
    /// What was said of for whom a request is asked, by what became of it; none where nobody is trusted.
    pub forwarded_claims: Family<Reason, Counter>,
    /// Tunnels of UDP.
    pub udp: UdpMetrics,
    /// Informational responses of handlers and backends, by what became of them.
    pub informational: Family<Informed, Counter>,
    /// Tunnels of requests that are open, in one direction or both.
    pub connect_tunnels: Gauge,
    /// Field sections of requests that referred to QPACK's dynamic table.
    pub qpack_references: Counter,
    /// Pools of backends.
    pub pools: PoolMetrics,
    /// Who may pass to a route.
    pub gate: GateMetrics,
    /// Connection tasks that panicked.
    pub panics: Counter,
    /// Reloads, by what came of them.
    pub reloads: Family<ReloadOutcome, Counter>,
    /// The operator's commands that failed, by reason.
    pub hook_failures: Family<Reason, Counter>,
}

/// The label of a datagram that an endpoint received for another one of the process, by why it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HandedOver {
    cause: &'static str,
}

impl HandedOver {
    /// It came by itself: the kernel does not choose the worker.
    pub const DIRECT: Self = Self { cause: "direct" };
    /// The kernel merged it with datagrams before it, the first of which chose the worker.
    pub const MERGED: Self = Self { cause: "merged" };
    /// It is early data, and waited for what told where it belongs.
    pub const WAITED: Self = Self { cause: "waited" };
    /// It came out of the tunnel.
    pub const TUNNEL: Self = Self { cause: "tunnel" };
    /// It came from another process of this node.
    pub const SIBLING: Self = Self { cause: "sibling" };
}

impl Transport {
    /// QUIC over UDP.
    pub const QUIC: Self = Self { transport: "quic" };
    /// TLS over TCP.
    pub const TCP: Self = Self { transport: "tcp" };
}

impl PathChange {
    /// Only the port changed, as when a NAT forgot the client.
    pub const PORT: Self = Self { kind: "port" };
    /// The IP address changed within its family.
    pub const ADDRESS: Self = Self { kind: "address" };
    /// From IPv4 to IPv6 or back.
    pub const FAMILY: Self = Self { kind: "family" };
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::PORT, Self::ADDRESS, Self::FAMILY];
}

impl PeerLife {
    /// The label of each state.
    pub const ALL: [(PeerState, Self); 3] = [
        (PeerState::Live, Self { state: "live" }),
        (PeerState::Silent, Self { state: "silent" }),
        (PeerState::Dead, Self { state: "dead" }),
    ];
}

impl FleetFinding {
    /// The label of a finding.
    pub fn of(finding: Finding) -> Self {
        Self {
            finding: finding.name(),
        }
    }
}

impl UdpSocket {
    /// A listener's socket, which clients send to.
    pub const SERVICE: Self = Self { socket: "service" };
    /// The socket that peers send to.
    pub const TUNNEL: Self = Self { socket: "tunnel" };
}

impl ReloadOutcome {
    /// The new configuration is in force.
    pub const APPLIED: Self = Self { outcome: "applied" };
    /// Nothing has changed.
    pub const REFUSED: Self = Self { outcome: "refused" };
}

impl Metrics {
    /// Creates the metrics and registers each under its name, with the prefix `wayhold`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("wayhold");
        metrics.register_datagrams(registry);
        metrics.register_returns(registry);
        metrics.register_fleet(registry);
        metrics.register_fields(registry);
        metrics.register_handshakes(registry);
        metrics.register_requests(registry);
        metrics.udp.register(registry);
        metrics.pools.register(registry);
        metrics.gate.register(registry);
        metrics
    }

    fn register_datagrams(&self, registry: &mut Registry) {
        registry.register(
            "datagrams_received",
            "Datagrams that arrived from clients",
            self.datagrams_received.clone(),
        );
        registry.register(
            "datagrams_local",
            "Datagrams taken by this node's own connections",
            self.datagrams_local.clone(),
        );
        registry.register(
            "datagrams_forwarded",
            "Datagrams sent through the tunnel to their owner",
            self.datagrams_forwarded.clone(),
        );
        registry.register(
            "datagrams_tunnelled",
            "Datagrams accepted from the tunnel",
            self.datagrams_tunnelled.clone(),
        );
        registry.register(
            "datagrams_passed",
            "Datagrams handed to another process of this node",
            self.datagrams_passed.clone(),
        );
        registry.register(
            "datagrams_dropped",
            "Datagrams dropped, by reason",
            self.datagrams_dropped.clone(),
        );
        registry.register(
            "tunnel_refused",
            "Tunnel datagrams refused, by reason",
            self.tunnel_refused.clone(),
        );
        registry.register(
            "socket_drops",
            "Datagrams that the kernel dropped at a full socket, by socket",
            self.socket_drops.clone(),
        );
        registry.register(
            "version_negotiations",
            "Version negotiation packets sent",
            self.version_negotiations.clone(),
        );
        registry.register(
            "handed_over",
            "Datagrams that one endpoint of this process received for another, by cause",
            self.handed_over.clone(),
        );
        registry.register(
            "resets",
            "Stateless resets sent for connections whose owner is gone",
            self.resets.clone(),
        );
    }

    fn register_fleet(&self, registry: &mut Registry) {
        registry.register(
            "fleet_peers",
            "Other members of the fleet, by whether they live",
            self.fleet_peers.clone(),
        );
        registry.register(
            "fleet_findings",
            "Peers with which something is wrong, by what it is",
            self.fleet_findings.clone(),
        );
        registry.register(
            "fleet_epoch",
            "Epoch of the fleet key in which connection IDs are issued",
            self.fleet_epoch.clone(),
        );
    }

    fn register_returns(&self, registry: &mut Registry) {
        registry.register(
            "replies_tunnelled",
            "Answers sent through the tunnel to the node that their client's packets reach",
            self.replies_tunnelled.clone(),
        );
        registry.register(
            "replies_emitted",
            "Answers of peers sent on to clients",
            self.replies_emitted.clone(),
        );
        registry.register(
            "return_paths",
            "Clients whose way back is kept",
            self.return_paths.clone(),
        );
        registry.register(
            "return_paths_refused",
            "Ways back that were not kept for lack of room",
            self.return_paths_refused.clone(),
        );
    }

    fn register_fields(&self, registry: &mut Registry) {
        registry.register(
            "qpack_references",
            "Field sections of requests that referred to QPACK's dynamic table",
            self.qpack_references.clone(),
        );
        registry.register(
            "forwarded_claims",
            "Requests that say for whom they are, by what became of it",
            self.forwarded_claims.clone(),
        );
    }

    fn register_requests(&self, registry: &mut Registry) {
        registry.register(
            "connections",
            "Open connections, by transport",
            self.connections.clone(),
        );
        registry.register(
            "early_requests",
            "Requests in early data, by when they were answered",
            self.early_requests.clone(),
        );
        registry.register(
            "early_sessions_displaced",
            "Sessions with early data forgotten because there were too many",
            self.early_sessions_displaced.clone(),
        );
        registry.register(
            "connections_refused",
            "Connections refused or failed early, by reason",
            self.connections_refused.clone(),
        );
        registry.register(
            "path_changes",
            "Changes of a client's address, by kind",
            self.path_changes.clone(),
        );
        registry.register(
            "requests",
            "Requests answered, by protocol and status class",
            self.requests.clone(),
        );
        registry.register(
            "requests_failed",
            "Requests without their handler's response, by reason",
            self.requests_failed.clone(),
        );
        registry.register(
            "informational",
            "Informational responses, by outcome",
            self.informational.clone(),
        );
        registry.register(
            "connect_tunnels",
            "Open tunnels of requests",
            self.connect_tunnels.clone(),
        );
        registry.register("reloads", "Reloads, by outcome", self.reloads.clone());
        registry.register(
            "hook_failures",
            "The operator's commands that failed, by reason",
            self.hook_failures.clone(),
        );
        let panics = self.panics.clone();
        registry.register("panics", "Connection tasks that panicked", panics);
    }
}

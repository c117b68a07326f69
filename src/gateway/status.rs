use serde_json::{Value, json};

use super::shared::Shared;
use crate::telemetry::Transport;

/// What `/status` shows.
pub(super) fn status(shared: &Shared) -> Value {
    let metrics = &shared.metrics;
    let open = |transport| metrics.connections.get_or_create(&transport).get();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "phase": shared.lifecycle.phase().name(),
        "node": shared.node.get(),
        "instance": shared.instance.0,
        "uptime_seconds": shared.uptime().as_secs(),
        "listen": shared.addresses,
        "connections": { "quic": open(Transport::QUIC), "tcp": open(Transport::TCP) },
        "datagrams": {
            "received": metrics.datagrams_received.get(),
            "local": metrics.datagrams_local.get(),
            "forwarded": metrics.datagrams_forwarded.get(),
            "tunnelled": metrics.datagrams_tunnelled.get(),
        },
    })
}

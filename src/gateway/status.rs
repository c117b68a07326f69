use serde_json::{Map, Value, json};

use super::fleet_handle::FleetHandle;
use super::shared::Shared;
use crate::edge::drop_reasons;
use crate::telemetry::{Metrics, Reason, ReloadOutcome, Transport};

/// What `/status` shows.
pub(super) fn status(shared: &Shared) -> Value {
    let metrics = &shared.metrics;
    let open = |transport| metrics.connections.get_or_create(&transport).get();
    let reloads = |outcome| metrics.reloads.get_or_create(&outcome).get();
    let steer = shared.steering.current();
    let siblings: Vec<_> = steer.view().siblings().iter().map(|id| id.0).collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "phase": shared.lifecycle.phase().name(),
        "node": shared.node.get(),
        "instance": shared.instance.0,
        "siblings": siblings,
        "uptime_seconds": shared.uptime().as_secs(),
        "listen": shared.addresses,
        "workers": steer.slots().workers(),
        "connections": { "quic": open(Transport::QUIC), "tcp": open(Transport::TCP) },
        "datagrams": {
            "received": metrics.datagrams_received.get(),
            "local": metrics.datagrams_local.get(),
            "forwarded": metrics.datagrams_forwarded.get(),
            "tunnelled": metrics.datagrams_tunnelled.get(),
            "resets": metrics.resets.get(),
        },
        "dropped": dropped(metrics),
        "fleet": shared.fleet.as_ref().map(FleetHandle::status),
        "reloads": {
            "applied": reloads(ReloadOutcome::APPLIED),
            "refused": reloads(ReloadOutcome::REFUSED),
        },
    })
}

/// The reasons for which datagrams have been dropped, and how many.
fn dropped(metrics: &Metrics) -> Map<String, Value> {
    drop_reasons()
        .filter_map(|reason| {
            let counter = metrics.datagrams_dropped.get_or_create(&Reason { reason });
            let count = counter.get();
            (count > 0).then(|| (reason.to_owned(), count.into()))
        })
        .collect()
}

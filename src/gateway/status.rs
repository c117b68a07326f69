use serde_json::{Map, Value, json};

use super::shared::Shared;
use crate::edge::drop_reasons;
use crate::fleet::{PeerState, PeerStatus};
use crate::telemetry::{Metrics, Reason, ReloadOutcome, Transport};

/// What `/status` shows.
pub(super) fn status(shared: &Shared) -> Value {
    let metrics = &shared.metrics;
    let open = |transport| metrics.connections.get_or_create(&transport).get();
    let reloads = |outcome| metrics.reloads.get_or_create(&outcome).get();
    let steer = shared.steering.current();
    let siblings: Vec<_> = steer.view().siblings().iter().map(|id| id.0).collect();
    let fleet = shared.peers.as_ref().map(|peers| peers.status());
    let peers = fleet.iter().flat_map(|fleet| &fleet.peers);
    let peers: Vec<_> = peers.map(peer).collect();
    let epochs = fleet.as_ref().map(|fleet| {
        let in_force: Vec<_> = fleet.epochs.iter().map(|epoch| epoch.0).collect();
        json!({ "in_force": in_force, "minting": fleet.minting.0 })
    });
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
        "key_epochs": epochs,
        "peers": peers,
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

fn peer(peer: &PeerStatus) -> Value {
    let state = match peer.state {
        PeerState::Live => "live",
        PeerState::Silent => "silent",
        PeerState::Dead => "dead",
    };
    let findings = peer.findings.iter();
    json!({
        "node": peer.node.get(),
        "state": state,
        "relay": peer.relay,
        "instance": peer.process.map(|process| process.instance.0),
        "heard_ms_ago": peer.heard.map(|heard| heard.as_millis()),
        "heard_by": peer.heard_by.iter().map(|node| node.get()).collect::<Vec<_>>(),
        "unheard_by": peer.unheard_by.iter().map(|node| node.get()).collect::<Vec<_>>(),
        "welcomes": peer.welcomes,
        "draining": peer.draining,
        "tunnel_version": peer.version,
        "epochs": peer.epochs.map(|epochs| [epochs.lowest.0, epochs.highest.0]),
        "minting": peer.minting.map(|epoch| epoch.0),
        "findings": findings.map(|finding| finding.name()).collect::<Vec<_>>(),
    })
}

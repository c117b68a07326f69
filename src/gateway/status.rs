use std::time::Duration;

use httpdate::fmt_http_date;
use serde_json::{Map, Value, json};

use super::fleet_handle::FleetHandle;
use super::shared::Shared;
use crate::edge::{CertificateFacts, drop_reasons};
use crate::request::BackendReport;
use crate::telemetry::{CertificateLabel, Metrics, Reason, ReloadOutcome, Transport};

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
        "generation": shared.reins.own().map(|own| own.birth.generation),
        "siblings": siblings,
        "uptime_seconds": shared.uptime().as_secs(),
        "listen": shared.addresses,
        "certificates": certificates(shared),
        "workers": steer.slots().workers(),
        "connections": { "quic": open(Transport::QUIC), "tcp": open(Transport::TCP) },
        "datagrams": {
            "received": metrics.datagrams_received.get(),
            "local": metrics.datagrams_local.get(),
            "forwarded": metrics.datagrams_forwarded.get(),
            "tunnelled": metrics.datagrams_tunnelled.get(),
            "passed": metrics.datagrams_passed.get(),
            "resets": metrics.resets.get(),
        },
        "dropped": dropped(metrics),
        "backends": backends(shared),
        "fleet": shared.fleet.as_ref().map(FleetHandle::status),
        "reloads": {
            "applied": reloads(ReloadOutcome::APPLIED),
            "refused": reloads(ReloadOutcome::REFUSED),
        },
    })
}

/// What clients are shown.
fn certificates(shared: &Shared) -> Vec<Value> {
    let certificates = shared.certificates.lock().expect("no holder panics");
    let shown = |(label, facts): &(CertificateLabel, CertificateFacts)| {
        json!({
            "listen": label.listen,
            "certificate": label.certificate,
            "file": facts.path,
            "names": facts.names,
            "expires": fmt_http_date(facts.expires),
        })
    };
    certificates.iter().map(shown).collect()
}

/// What requests are passed to, and how that does.
fn backends(shared: &Shared) -> Vec<Value> {
    let handler = shared.handler.lock().expect("no holder panics").clone();
    let shown = |report: BackendReport| {
        json!({
            "pool": report.pool,
            "backend": *report.backend,
            "name": *report.name,
            "state": report.unfit.unwrap_or("fit"),
            "requests": report.under_way,
            "probe": report.probe.map(|probe| probe.outcome),
            "probed_ms_ago": report.probe.map(|probe| millis(probe.ago)),
            "dns": report.dns,
            "latency_ms": report.latency.map(|mean| (mean.as_secs_f64() * 1e4).round() / 10.0),
        })
    };
    handler.backends().into_iter().map(shown).collect()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
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

use std::time::Duration;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use serde_json::{Value, json};

use super::plan::Minimums;
use super::tally::Totals;
use crate::testbed::Counts;

/// How a run went.
#[derive(Clone, Debug)]
pub struct Report {
    /// Over HTTP/3.
    pub http3: Transport,
    /// Over HTTP/2, TLS and TCP.
    pub tcp_tls: Transport,
    /// What moved.
    pub moves: Moved,
    /// Datagrams that the nodes sent through their tunnel to the owner.
    pub forwarded: u64,
    /// Everything that speaks against the run; empty when it succeeded.
    pub problems: Vec<String>,
}

/// How a run went for one transport.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transport {
    /// The counts.
    pub totals: Totals,
    /// From each move to the next byte or response that a client received after it, sorted.
    pub recovered: Vec<Duration>,
    /// Why the first request failed, if one did.
    pub first_failure: Option<String>,
}

/// How often everything moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// New ports.
    pub rebinds: u64,
    /// New addresses.
    pub addresses: u64,
    /// New nodes.
    pub flips: u64,
    /// Moves that found a body in flight on both transports.
    pub in_flight: u64,
}

impl Moved {
    pub(super) fn new(counts: &Counts, in_flight: u64) -> Self {
        Self {
            rebinds: counts.rebinds,
            addresses: counts.addresses,
            flips: counts.flips,
            in_flight,
        }
    }

    /// All moves.
    pub fn total(&self) -> u64 {
        self.rebinds + self.addresses + self.flips
    }
}

impl Transport {
    /// The time within which this share of all recoveries were made.
    pub fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.recovered.len() * percent).div_ceil(100);
        let index = rank.saturating_sub(1);
        self.recovered.get(index).copied().unwrap_or_default()
    }

    fn json(&self) -> Value {
        let totals = &self.totals;
        json!({
            "requests": totals.requests,
            "lost": totals.lost,
            "truncated": totals.truncated,
            "reconnects": totals.reconnects,
            "bytes": totals.downloaded + totals.uploaded,
            "recover_ms": {
                "p50": milliseconds(self.percentile(50)),
                "p99": milliseconds(self.percentile(99)),
            },
        })
    }

    fn row(&self, name: &str) -> [String; 9] {
        let totals = &self.totals;
        let megabytes = |bytes: u64| format!("{} MB", bytes / 1_000_000);
        [
            name.into(),
            totals.requests.to_string(),
            totals.lost.to_string(),
            totals.truncated.to_string(),
            totals.reconnects.to_string(),
            megabytes(totals.downloaded),
            megabytes(totals.uploaded),
            format!("{:.0} ms", milliseconds(self.percentile(50))),
            format!("{:.0} ms", milliseconds(self.percentile(99))),
        ]
    }

    fn shortfalls<'a>(
        &self,
        name: &'a str,
        minimums: &Minimums,
    ) -> impl Iterator<Item = String> + use<'a> {
        [
            ("requests", self.totals.answered(), minimums.requests),
            ("bytes downloaded", self.totals.downloaded, minimums.bytes),
            ("bytes uploaded", self.totals.uploaded, minimums.bytes),
        ]
        .into_iter()
        .filter(|(_, reached, minimum)| reached < minimum)
        .map(move |(what, reached, minimum)| format!("{name}: {reached} of {minimum} {what}"))
    }
}

impl Report {
    /// Whether nothing speaks against the run.
    pub fn succeeded(&self) -> bool {
        self.problems.is_empty()
    }

    /// The report as one JSON object.
    pub fn json(&self) -> Value {
        json!({
            "http3": self.http3.json(),
            "tcp_tls": self.tcp_tls.json(),
            "moves": {
                "rebind": self.moves.rebinds,
                "address": self.moves.addresses,
                "flip": self.moves.flips,
                "in_flight": self.moves.in_flight,
            },
            "forwarded": self.forwarded,
        })
    }

    /// The report as a table for people.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED).set_header([
            "transport",
            "requests",
            "lost",
            "truncated",
            "reconnects",
            "down",
            "up",
            "recover p50",
            "p99",
        ]);
        table.add_row(self.http3.row("HTTP/3"));
        table.add_row(self.tcp_tls.row("TCP+TLS"));
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let moves = &self.moves;
        format!(
            "{table}\n{} rebinds, {} address changes, {} flips; {} of {} with bodies in flight; \
             {} datagrams forwarded",
            moves.rebinds,
            moves.addresses,
            moves.flips,
            moves.in_flight,
            moves.total(),
            self.forwarded,
        )
    }

    /// What the run fell short of.
    pub(super) fn shortfalls(&self, minimums: &Minimums) -> Vec<String> {
        let moves = &self.moves;
        let moved = [
            ("rebinds", moves.rebinds, minimums.rebinds),
            ("address changes", moves.addresses, minimums.addresses),
            ("flips", moves.flips, minimums.flips),
            (
                "moves with a body in flight",
                moves.in_flight,
                (moves.total() * minimums.in_flight_percent).div_ceil(100),
            ),
        ];
        let moved = moved
            .into_iter()
            .filter(|(_, reached, minimum)| reached < minimum)
            .map(|(what, reached, minimum)| format!("{reached} of {minimum} {what}"));
        self.http3
            .shortfalls("HTTP/3", minimums)
            .chain(self.tcp_tls.shortfalls("TCP+TLS", minimums))
            .chain(moved)
            .collect()
    }

    /// What HTTP/3 lost, of which there must be nothing.
    pub(super) fn losses(&self) -> Vec<String> {
        let Totals {
            lost,
            truncated,
            reconnects,
            ..
        } = self.http3.totals;
        let mut losses = Vec::new();
        if lost > 0 {
            let reason = self.http3.first_failure.as_deref().unwrap_or("unknown");
            losses.push(format!(
                "HTTP/3 lost {lost} requests, {truncated} of them truncated: {reason}"
            ));
        }
        if reconnects > 0 {
            losses.push(format!("HTTP/3 connected again {reconnects} times"));
        }
        losses
    }
}

fn milliseconds(duration: Duration) -> f64 {
    // Tenths are as fine as the relay's timer justifies.
    (duration.as_secs_f64() * 1e4).round() / 10.0
}

use std::time::Duration;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use serde_json::{Value, json};

use super::cast::Performance;
use super::plan::{Event, Minimums, Soak};
use super::tally::{Aftermath, Totals};
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
    /// What happened, by kind, and what came of it.
    pub events: Vec<Happened>,
    /// Datagrams that the nodes sent through their tunnel to the owner.
    pub forwarded: u64,
    /// How long everything took.
    pub elapsed: Duration,
    /// Everything that speaks against the run; empty when it succeeded.
    pub problems: Vec<String>,
    /// Stateless resets that nodes sent.
    pub resets: u64,
    /// What the nodes have written last, if the run failed.
    pub logs: Vec<String>,
}

/// Events of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// The kind.
    pub event: Event,
    /// How many there were.
    pub count: u64,
    /// What HTTP/3 went through after them.
    pub http3: Aftermath,
    /// What TCP went through after them.
    pub tcp_tls: Aftermath,
}

/// How a run went for one transport.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transport {
    /// The counts.
    pub totals: Totals,
    /// From each move to the next byte or response that a client received after it, sorted.
    pub recovered: Vec<Duration>,
    /// What came after each kind of event, in the order of [`Event::ALL`].
    pub after: [Aftermath; Event::ALL.len()],
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

impl Happened {
    /// What happened of these kinds.
    pub(super) fn of(events: &[Event], performance: &Performance) -> Vec<Self> {
        let of = |event: &Event| Self {
            event: *event,
            count: performance.counts[event.index()],
            http3: performance.http3.after[event.index()].clone(),
            tcp_tls: performance.tcp_tls.after[event.index()].clone(),
        };
        events.iter().map(of).collect()
    }

    fn json(&self) -> Value {
        json!({
            "name": self.event.name(),
            "count": self.count,
            "http3": self.http3.json(),
            "tcp_tls": self.tcp_tls.json(),
        })
    }

    fn rows(&self) -> [Vec<String>; 2] {
        let row = |transport: &str, after: &Aftermath| {
            let recovered = |percent| milliseconds(percentile(&after.recovered, percent));
            vec![
                self.event.name().into(),
                self.count.to_string(),
                transport.into(),
                after.in_flight.to_string(),
                after.lost.to_string(),
                after.truncated.to_string(),
                after.reconnects.to_string(),
                after.retried.to_string(),
                format!("{:.0} ms", recovered(50)),
                format!("{:.0} ms", recovered(99)),
            ]
        };
        [row("HTTP/3", &self.http3), row("TCP+TLS", &self.tcp_tls)]
    }
}

impl Aftermath {
    fn json(&self) -> Value {
        json!({
            "in_flight": self.in_flight,
            "lost": self.lost,
            "truncated": self.truncated,
            "reconnects": self.reconnects,
            "retried": self.retried,
            "recovery_p50_ms": milliseconds(percentile(&self.recovered, 50)),
            "recovery_p99_ms": milliseconds(percentile(&self.recovered, 99)),
        })
    }
}

impl Transport {
    /// The time within which this share of all recoveries were made.
    pub fn percentile(&self, percent: usize) -> Duration {
        percentile(&self.recovered, percent)
    }

    fn json(&self) -> Value {
        let totals = &self.totals;
        json!({
            "requests": totals.requests,
            "lost": totals.lost,
            "truncated": totals.truncated,
            "reconnects": totals.reconnects,
            "retried": totals.retried,
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
            "events": self.events.iter().map(Happened::json).collect::<Vec<_>>(),
            "forwarded": self.forwarded,
            "resets": self.resets,
            "seconds": milliseconds(self.elapsed) / 1e3,
            "problems": self.problems,
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
        // A soak is about HTTP/3 alone.
        let compared = self.tcp_tls.totals.requests > 0;
        if compared {
            table.add_row(self.tcp_tls.row("TCP+TLS"));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let mut events = Table::new();
        events.load_style(UTF8_FULL_CONDENSED).set_header([
            "after each",
            "of",
            "transport",
            "in flight",
            "lost",
            "truncated",
            "reconnects",
            "retried",
            "recover p50",
            "p99",
        ]);
        for happened in self.events.iter().filter(|happened| happened.count > 0) {
            let rows = happened.rows().into_iter();
            events.add_rows(rows.take(1 + usize::from(compared)));
        }
        for column in events
            .column_iter_mut()
            .filter(|column| ![0, 2].contains(&column.index))
        {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let moves = &self.moves;
        format!(
            "{table}\n{events}\n{} rebinds, {} address changes, {} flips; {} of {} with bodies in flight; \
             {} datagrams forwarded, {} resets; {:.0} s",
            moves.rebinds,
            moves.addresses,
            moves.flips,
            moves.in_flight,
            moves.total(),
            self.forwarded,
            self.resets,
            self.elapsed.as_secs_f64(),
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

    /// What a soak has not done in its time.
    pub(super) fn soak_shortfall(&self, soak: Option<Soak>) -> Option<String> {
        let (answered, soak) = (self.http3.totals.answered(), soak?);
        (answered < soak.requests).then(|| {
            let Soak { requests, limit } = soak;
            format!("HTTP/3: {answered} of {requests} requests within {limit:?}")
        })
    }

    /// The rules that HTTP/3 has broken: nothing is lost, only a node that goes makes its clients
    /// connect again, and only one that was killed makes them repeat a request.
    pub(super) fn violations(&self) -> Vec<String> {
        let Totals {
            lost, truncated, ..
        } = self.http3.totals;
        let mut found = Vec::new();
        if lost > 0 {
            let reason = self.http3.first_failure.as_deref().unwrap_or("unknown");
            found.push(format!(
                "HTTP/3 lost {lost} requests, {truncated} of them truncated: {reason}"
            ));
        }
        for Happened { event, http3, .. } in &self.events {
            let name = event.name();
            if http3.reconnects > 0 && !event.ends_connections() {
                let reconnects = http3.reconnects;
                found.push(format!(
                    "HTTP/3 connected again {reconnects} times after a {name}"
                ));
            }
            if http3.retried > 0 && *event != Event::Kill {
                let retried = http3.retried;
                found.push(format!("HTTP/3 repeated {retried} requests after a {name}"));
            }
            if *event == Event::Kill && http3.reconnects > 0 && self.resets == 0 {
                found.push("no node told a client that its node is dead".to_owned());
            }
        }
        found
    }
}

pub(super) fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100);
    let index = rank.saturating_sub(1);
    sorted.get(index).copied().unwrap_or_default()
}

pub(super) fn milliseconds(duration: Duration) -> f64 {
    // Tenths are as fine as the relay's timer justifies.
    (duration.as_secs_f64() * 1e4).round() / 10.0
}

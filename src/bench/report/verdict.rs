//! Says in words what records show.

use super::findings::{Factor, Findings, Kind, circumstances, factors, summary};
use super::scale::{bytes, number};
use crate::bench::results::Results;
use crate::bench::{Layer, Metric, Mode, Record, statistics};

/// What QUIC saves in round trips, what it costs in processor time and bytes, from where on it pays, and what
/// moving saves: a sentence or two each, of what there is to say.
pub fn verdict(results: &[Results]) -> Vec<String> {
    let findings = Findings::of(results);
    let mut lines = Vec::new();
    if let Some(layer) = findings.network() {
        lines.extend(saves(&findings, layer));
        lines.extend(costs(&findings, layer));
        lines.extend(breaks_even(&findings, layer));
        lines.extend(moves(&findings, layer));
    }
    lines.extend(floor(&findings));
    lines.extend(load(&findings));
    lines
}

/// How far figures are from themselves, which no difference between modes may be smaller than.
pub fn noise(results: &[Results]) -> String {
    let records: Vec<_> = results.iter().flat_map(|it| it.records.clone()).collect();
    let noise = statistics::noise(&records);
    if noise.is_empty() {
        return "Noise unknown: nothing here was measured against itself.".to_owned();
    }
    let words = noise.iter().map(|(metric, noise)| {
        let percent = |share: f64| number(share * 100.0);
        format!(
            "{metric} {} % (worst of {}: {} %)",
            percent(noise.median),
            noise.scenarios,
            percent(noise.worst)
        )
    });
    format!(
        "Noise, a mode against itself (A/A): {}. A smaller difference says nothing.",
        words.collect::<Vec<_>>().join(", ")
    )
}

/// Everything that casts doubt on some results, each with what it is about. Doubts that differ in their numbers
/// or in the figure alone are said once; the records have each.
pub fn doubts(results: &[Results]) -> Vec<String> {
    let findings = Findings::of(results);
    let mut doubts = Doubts::default();
    for results in results {
        let place = results.path.display().to_string();
        let of_run = results.run.iter().flat_map(|run| &run.doubts);
        for doubt in results.gaps.iter().chain(of_run) {
            doubts.add(doubt, &place);
        }
    }
    for record in &findings.records {
        let name = name(&findings, record);
        for doubt in of_record(record) {
            doubts.add(&doubt, &name);
        }
    }
    doubts.into_words()
}

/// What casts doubt on one record.
pub(super) fn of_record(record: &Record) -> Vec<String> {
    let failures = record.failures.iter();
    let failures = failures.map(|(what, count)| format!("{count} attempts failed: {what}"));
    let partial = record.partial;
    let cut_off = partial.then(|| "cut off before all samples were taken".to_owned());
    let doubts = record.doubts.iter().cloned();
    doubts.chain(failures).chain(cut_off).collect()
}

/// Doubts by their kind: the first of each, and how many more there are.
#[derive(Default)]
struct Doubts(Vec<(String, String, usize)>);

impl Doubts {
    fn add(&mut self, doubt: &str, about: &str) {
        let kind = kind(doubt);
        match self.0.iter_mut().find(|(known, ..)| *known == kind) {
            Some((.., more)) => *more += 1,
            None => self.0.push((kind, format!("{about}: {doubt}"), 0)),
        }
    }

    fn into_words(self) -> Vec<String> {
        let words = |(_, first, more)| match more {
            0 => first,
            more => format!("{first} (and {more} more like this)"),
        };
        self.0.into_iter().map(words).collect()
    }
}

/// A doubt without its numbers and without the figure before it.
fn kind(doubt: &str) -> String {
    let is_figure = |name: &str| name.parse::<Metric>().is_ok();
    let text = match doubt.split_once(": ") {
        Some((name, rest)) if is_figure(name) => rest,
        _ => doubt,
    };
    let is_number = |letter: char| letter.is_ascii_digit() || letter == '.';
    text.chars().filter(|letter| !is_number(*letter)).collect()
}

/// A record's mode, and its factors where they are not the usual ones.
pub(super) fn name(findings: &Findings<'_>, record: &Record) -> String {
    let scenario = &record.scenario;
    let factors = factors(scenario, &findings.centre(scenario.layer));
    let mut words = vec![format!("{} {}", scenario.layer, scenario.mode)];
    words.extend(factors);
    words.join(", ")
}

fn saves(findings: &Findings<'_>, layer: Layer) -> Option<String> {
    let pairs = PAIRS.iter().filter_map(|(name, quic, tcp)| {
        let (quic, tcp) = (
            findings.at_centre(layer, *quic)?,
            findings.at_centre(layer, *tcp)?,
        );
        let (fast, slow) = (
            summary(quic, Metric::FirstByte)?,
            summary(tcp, Metric::FirstByte)?,
        );
        let times = format!("{} ms", number(fast.median));
        let against = format!("{} ms", number(slow.median));
        Some(match (trips(quic), trips(tcp)) {
            (Some(few), Some(many)) => format!(
                "{name} {times} ({}) against {against} ({})",
                round_trips(few),
                round_trips(many)
            ),
            _ => format!("{name} {times} against {against}"),
        })
    });
    let pairs: Vec<_> = pairs.collect();
    let centre = findings.centre(layer);
    (!pairs.is_empty()).then(|| {
        format!(
            "Until the first byte of the response, QUIC against TCP+TLS: {}. ({})",
            pairs.join("; "),
            circumstances(&centre)
        )
    })
}

fn costs(findings: &Findings<'_>, layer: Layer) -> Option<String> {
    let quic = findings.at_centre(layer, Mode::QuicFull)?;
    let tcp = findings.at_centre(layer, Mode::TcpFull)?;
    let mut words = Vec::new();
    for (whose, metric) in [
        ("the node's", Metric::NodeCpu),
        ("the client's", Metric::ClientCpu),
    ] {
        if let (Some(quic), Some(tcp)) = (summary(quic, metric), summary(tcp, metric)) {
            let (dear, cheap) = (quic.p10, tcp.p10);
            words.push(format!(
                "{} µs of {whose} processor against {}{}",
                number(dear),
                number(cheap),
                times(dear, cheap)
            ));
        }
    }
    let (all, fewer) = (exchanged(quic), exchanged(tcp));
    if let (Some(all), Some(fewer)) = (all, fewer) {
        let ratio = times(all, fewer);
        words.push(format!(
            "{} in both directions against {}{ratio}",
            bytes(all),
            bytes(fewer)
        ));
    }
    (!words.is_empty()).then(|| {
        format!(
            "For that, a full QUIC handshake takes {}, each up to the first byte (processor time: p10).",
            words.join(", ")
        )
    })
}

/// Where both transports have the first byte at the same time, if time is a constant and a number of round
/// trips for each. The constants come from the smallest round-trip time that was measured.
fn breaks_even(findings: &Findings<'_>, layer: Layer) -> Option<String> {
    let (fast, slow) = (
        findings.at_centre(layer, Mode::QuicFull)?,
        findings.at_centre(layer, Mode::TcpFull)?,
    );
    let saved = trips(slow)? - trips(fast)?;
    if saved <= 0.0 {
        return Some("QUIC saves no round trip here, so it never pays in time.".to_owned());
    }
    let mut pairs: Vec<_> = findings
        .varied(layer, Mode::QuicFull, Factor::Rtt)
        .into_iter()
        .filter_map(|quic| {
            let same_rtt = findings.varied(layer, Mode::TcpFull, Factor::Rtt);
            let rtt = quic.scenario.rtt_ms;
            let tcp = same_rtt.into_iter().find(|it| it.scenario.rtt_ms == rtt)?;
            let (quic, tcp) = (
                summary(quic, Metric::FirstByte)?,
                summary(tcp, Metric::FirstByte)?,
            );
            Some((rtt, quic.median, tcp.median))
        })
        .collect();
    pairs.sort_by_key(|(rtt, ..)| *rtt);
    let (rtt, quic, tcp) = pairs.first().copied()?;
    let even = f64::from(rtt) - (tcp - quic) / saved;
    let evidence = format!(
        "at {rtt} ms it has the first byte {} ms {} than TCP+TLS",
        number((tcp - quic).abs()),
        if tcp > quic { "earlier" } else { "later" },
    );
    Some(if even <= 0.0 {
        format!("QUIC is ahead at every round-trip time: {evidence}.")
    } else {
        format!(
            "In time, QUIC breaks even at a round-trip time of {} ms{}: {evidence}, and each further \
             millisecond saves {} ms.",
            number(even),
            if rtt > NEAR { ", by extrapolation" } else { "" },
            number(saved)
        )
    })
}

fn moves(findings: &Findings<'_>, layer: Layer) -> Option<String> {
    let of = |mode: Mode| {
        let record = findings.at_centre(layer, mode)?;
        let recovery = summary(record, Metric::Recovery)?.median;
        let trips =
            trips(record).map_or_else(String::new, |trips| format!(" ({})", round_trips(trips)));
        Some(format!("{mode} {} ms{trips}", number(recovery)))
    };
    let [quic, tcp] = [&MOVES_QUIC, &MOVES_TCP]
        .map(|modes| modes.iter().copied().filter_map(of).collect::<Vec<_>>());
    (!quic.is_empty() && !tcp.is_empty()).then(|| {
        format!(
            "After a move a client has its next response over QUIC with {}; over TCP it connects again, \
             with {}.",
            quic.join(", "),
            tcp.join(", ")
        )
    })
}

fn floor(findings: &Findings<'_>) -> Option<String> {
    let ratio = |mode| {
        let record = findings.at_centre(Layer::Floor, mode)?;
        let node = summary(record, Metric::NodeFloorRatio)?.median;
        Some(format!("×{node:.2}"))
    };
    Some(format!(
        "Without a network a full QUIC handshake costs a node {} its cryptography; TLS alone costs {}.",
        ratio(Mode::QuicFull)?,
        ratio(Mode::TlsFull)?
    ))
}

fn load(findings: &Findings<'_>) -> Option<String> {
    let records = findings.ordered(Kind::Load);
    let rates = records.iter().filter_map(|record| {
        let rate = summary(record, Metric::HandshakeRatePerCore)?.median;
        Some(format!("{} {}", record.scenario.mode, number(rate)))
    });
    let rates: Vec<_> = rates.collect();
    (!rates.is_empty()).then(|| {
        let rates = rates.join(", ");
        format!("Handshakes a second that one of the node's processors completes: {rates}.")
    })
}

/// Round trips until the first byte.
pub(super) fn trips(record: &Record) -> Option<f64> {
    record.derived.get("round_trips_first_byte").copied()
}

/// Bytes in both directions until the first byte.
fn exchanged(record: &Record) -> Option<f64> {
    let sides = [Metric::ClientBytes, Metric::NodeBytes];
    let sides = sides.map(|metric| summary(record, metric).map(|bytes| bytes.median));
    sides.into_iter().sum()
}

fn round_trips(count: f64) -> String {
    if (count - 1.0).abs() < f64::EPSILON {
        "1 round trip".to_owned()
    } else {
        format!("{} round trips", number(count))
    }
}

fn times(dear: f64, cheap: f64) -> String {
    if cheap > 0.0 {
        format!(" (×{:.2})", dear / cheap)
    } else {
        String::new()
    }
}

/// What is compared with what, by what a sentence calls it.
const PAIRS: [(&str, Mode, Mode); 3] = [
    ("a full handshake", Mode::QuicFull, Mode::TcpFull),
    ("a resumed one", Mode::QuicResumed, Mode::TcpResumed),
    ("0-RTT", Mode::Quic0Rtt, Mode::Tcp0Rtt),
];
const MOVES_QUIC: [Mode; 3] = [Mode::QuicRebind, Mode::QuicAddress, Mode::QuicFlip];
const MOVES_TCP: [Mode; 3] = [
    Mode::TcpReconnect,
    Mode::TcpReconnectResumed,
    Mode::TcpReconnect0Rtt,
];
/// What is measured at a longer round-trip time says little of where it would be 0, in milliseconds.
const NEAR: u32 = 10;

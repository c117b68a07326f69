//! The pictures of a page, each with what it shows in words.

use super::bars::{Bar, bars};
use super::curve::{curve, lines};
use super::dots::{Row, dots};
use super::findings::{Factor, Findings, Kind, is_move, losses, summary};
use super::ladder::{ladder, left_out};
use super::markup::{Attributes, Markup};
use super::scale::{bytes, number};
use super::verdict::trips;
use crate::bench::results::Results;
use crate::bench::trace::Drawing;
use crate::bench::{Layer, Metric, Mode, Record, Summary};

/// The packets of each mode.
pub(super) fn ladders(out: &mut Markup, results: &[Results]) {
    let mut drawings: Vec<&Drawing> = results.iter().flat_map(|it| &it.traces).collect();
    drawings.sort_by_key(|drawing| drawing.mode);
    drawings.dedup_by_key(|drawing| drawing.mode);
    if drawings.is_empty() {
        missing(out, "bench handshake");
        return;
    }
    out.element("div", &[("class", &"ladders")], |out| {
        for drawing in drawings {
            out.element("figure", &[], |out| {
                out.leaf("figcaption", &[], drawing.mode);
                ladder(out, drawing);
                let more = left_out(drawing);
                if more > 0 {
                    out.leaf("p", &[], format_args!("{more} more packets are not drawn."));
                }
            });
        }
    });
}

/// First byte over the round-trip time.
pub(super) fn first_byte(out: &mut Markup, findings: &Findings<'_>) {
    let lines = lines(findings, Layer::Link, Mode::ALL, Metric::FirstByte);
    if lines.is_empty() {
        missing(out, "bench handshake");
        return;
    }
    let title = "First byte of the response over the round-trip time";
    figure(out, title, |out| curve(out, "first-byte", title, &lines));
}

/// Processor time: without IO by what it is spent on, and over a link by where.
pub(super) fn processor(out: &mut Markup, findings: &Findings<'_>) {
    let parts = split(findings);
    if parts.is_empty() {
        missing(out, "bench floor");
    } else {
        let titles = ("Processor time of a handshake without IO", "µs, p10");
        figure(out, titles.0, |out| {
            bars(out, "processor-floor", titles, &SPENT, &parts);
        });
    }
    let Some(layer) = findings.network() else {
        return;
    };
    let rows = spaces(findings, layer);
    if !rows.is_empty() {
        let titles = (
            "Processor time up to the first byte, over a network",
            "µs, p10; interrupts apart",
        );
        let kinds = [
            "in the program",
            "in the kernel",
            "program and kernel, not told apart",
        ];
        figure(out, titles.0, |out| {
            bars(out, "processor-network", titles, &kinds, &rows);
        });
    }
}

/// First byte by what the node has to send to prove itself.
pub(super) fn credentials(out: &mut Markup, findings: &Findings<'_>) {
    let modes = [Mode::TcpFull, Mode::QuicFull];
    let sent = |record: &Record| {
        summary(record, Metric::NodeBytesHandshake).map_or(0.0, |bytes| bytes.median)
    };
    let label = |record: &Record| {
        let scenario = &record.scenario;
        let size = match sent(record) {
            sent if sent > 0.0 => format!(", {}", bytes(sent)),
            _ => String::new(),
        };
        format!("{} {}{size}", scenario.certificate, scenario.key_exchange)
    };
    let factor = Factor::Credentials;
    let by = |record: &Record| (record.scenario.certificate, record.scenario.key_exchange);
    let mut rows = by_factor(findings, (factor, &modes), Metric::FirstByte, (by, label));
    rows.sort_by(|(a, _), (b, _)| sent(a).total_cmp(&sent(b)));
    chart(
        out,
        (&rows, "bench handshake"),
        "credentials",
        ("First byte by certificate and key exchange", "ms"),
    );
}

/// The first byte after a move.
pub(super) fn recovery(out: &mut Markup, findings: &Findings<'_>) {
    let Some(layer) = findings.network() else {
        missing(out, "bench migrate");
        return;
    };
    let row = |mode: &Mode| {
        let record = findings.at_centre(layer, *mode)?;
        let figure = *summary(record, Metric::Recovery)?;
        let label = match trips(record) {
            Some(trips) => format!("{mode}, {} RTT", number(trips)),
            None => mode.to_string(),
        };
        let dots = vec![(*mode, figure)];
        Some((record, Row { label, dots }))
    };
    let rows: Vec<_> = super::findings::MOVES.iter().filter_map(row).collect();
    let titles = ("From a move to the next byte of a response", "ms");
    chart(out, (&rows, "bench migrate"), "recovery", titles);
    let lines = lines(findings, Layer::Link, Mode::ALL, Metric::Recovery);
    if !lines.is_empty() {
        let title = "Recovery over the round-trip time";
        figure(out, title, |out| curve(out, "recovery-rtt", title, &lines));
    }
}

/// First byte by what the network loses.
pub(super) fn loss(out: &mut Markup, findings: &Findings<'_>) {
    let modes = [Mode::TcpFull, Mode::QuicFull];
    let label = |record: &Record| losses(record.scenario.losses);
    let by = |record: &Record| losses(record.scenario.losses);
    let rows = by_factor(
        findings,
        (Factor::Losses, &modes),
        Metric::FirstByte,
        (by, label),
    );
    let titles = ("First byte by what the network loses", "ms");
    chart(out, (&rows, "bench handshake"), "losses", titles);
}

/// Handshakes a second of one processor.
pub(super) fn load(out: &mut Markup, findings: &Findings<'_>) {
    let records = findings.ordered(Kind::Load);
    let rows = records.iter().filter_map(|record| {
        let rate = summary(record, Metric::HandshakeRatePerCore)?.median;
        Some(Bar {
            label: record.scenario.mode.to_string(),
            parts: vec![(0, rate)],
        })
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        missing(out, "bench load");
        return;
    }
    let titles = (
        "Handshakes a second of one of the node's processors",
        "1/s, median",
    );
    figure(out, titles.0, |out| {
        bars(out, "load", titles, &["handshakes"], &rows);
    });
}

fn figure(out: &mut Markup, title: &str, content: impl FnOnce(&mut Markup)) {
    let place: Attributes<'_> = &[("class", &"scroll"), ("tabindex", &0)];
    out.element("figure", place, |out| {
        out.leaf("figcaption", &[], title);
        content(out);
    });
}

fn missing(out: &mut Markup, command: &str) {
    out.element("p", &[("class", &"missing")], |out| {
        out.prose(&format!("Not measured here; `wayhold {command}` does."));
    });
}

fn chart(
    out: &mut Markup,
    (rows, command): (&[(&Record, Row)], &str),
    id: &str,
    (title, axis): (&str, &str),
) {
    if rows.is_empty() {
        missing(out, command);
        return;
    }
    let rows: Vec<_> = rows.iter().map(|(_, row)| row.clone()).collect();
    let axis = format!("{axis}; a dot is the median, a line p10 to p90, a tick p99");
    figure(out, title, |out| dots(out, id, title, &axis, &rows));
}

/// A row for each value of a factor, with a dot for each mode that has it. One value makes no picture.
fn by_factor<'a, K: PartialEq>(
    findings: &Findings<'a>,
    (factor, modes): (Factor, &[Mode]),
    metric: Metric,
    (key, label): (impl Fn(&Record) -> K, impl Fn(&Record) -> String),
) -> Vec<(&'a Record, Row)> {
    let mut rows: Vec<(&Record, Row)> = Vec::new();
    for mode in modes {
        for record in findings.varied(Layer::Link, *mode, factor) {
            let Some(figure) = summary(record, metric).copied() else {
                continue;
            };
            let dot = (*mode, figure);
            match rows.iter_mut().find(|(known, _)| key(known) == key(record)) {
                // The label is that of QUIC, which the number of bytes is about.
                Some((known, row)) => {
                    row.dots.push(dot);
                    row.label = label(record);
                    *known = record;
                }
                None => rows.push((
                    record,
                    Row {
                        label: label(record),
                        dots: vec![dot],
                    },
                )),
            }
        }
    }
    if rows.len() < 2 {
        rows.clear();
    }
    rows
}

/// A handshake's processor time without IO: cryptography, what TLS adds, what QUIC adds to that.
fn split(findings: &Findings<'_>) -> Vec<Bar> {
    let mut rows = Vec::new();
    for (side, metric) in [("client", Metric::ClientCpu), ("node", Metric::NodeCpu)] {
        let time = |mode| {
            let record = findings.at_centre(Layer::Floor, mode)?;
            summary(record, metric).map(|figure: &Summary| figure.p10)
        };
        let mut row = |mode: Mode, parts: Vec<(usize, f64)>| {
            rows.push(Bar {
                label: format!("{side}, {mode}"),
                parts,
            });
        };
        let crypto = time(Mode::Crypto);
        for (tls, quic) in FLOORS {
            let Some(tls_time) = time(tls) else { continue };
            let inner = match crypto {
                Some(crypto) if tls == Mode::TlsFull => {
                    vec![(0, crypto), (1, (tls_time - crypto).max(0.0))]
                }
                _ => vec![(3, tls_time)],
            };
            row(tls, inner.clone());
            if let Some(quic_time) = time(quic) {
                let transport = (2, (quic_time - tls_time).max(0.0));
                row(quic, [inner, vec![transport]].concat());
            }
        }
    }
    rows
}

/// Processor time over a network, in the program and in the kernel.
fn spaces(findings: &Findings<'_>, layer: Layer) -> Vec<Bar> {
    let sides = [
        ("client", Metric::ClientCpu, Metric::ClientKernel),
        ("node", Metric::NodeCpu, Metric::NodeKernel),
    ];
    let mut rows = Vec::new();
    for (side, whole, kernel) in sides {
        for mode in Mode::ALL.iter().filter(|mode| !is_move(**mode)) {
            let Some(record) = findings.at_centre(layer, *mode) else {
                continue;
            };
            let Some(whole) = summary(record, whole).map(|figure| figure.p10) else {
                continue;
            };
            // A kernel that only samples its own share says 0 of most handshakes.
            let kernel = summary(record, kernel).map(|figure| figure.p10);
            let parts = match kernel.filter(|kernel| *kernel > 0.0) {
                Some(kernel) => vec![(0, (whole - kernel).max(0.0)), (1, kernel.min(whole))],
                None => vec![(2, whole)],
            };
            rows.push(Bar {
                label: format!("{side}, {mode}"),
                parts,
            });
        }
    }
    rows
}

/// What processor time without IO is spent on.
const SPENT: [&str; 4] = [
    "cryptography",
    "the rest of TLS",
    "transport",
    "TLS with its cryptography",
];
const FLOORS: [(Mode, Mode); 3] = [
    (Mode::TlsFull, Mode::QuicFull),
    (Mode::TlsResumed, Mode::QuicResumed),
    (Mode::Tls0Rtt, Mode::Quic0Rtt),
];

//! Tables of a page: an overview with a row for each scenario, and every figure with all its quantiles.

use super::figures::{Column, KINDS, columns, heading};
use super::findings::{Findings, Kind, circumstances, factors};
use super::markup::{Attributes, Markup};
use super::scale::{number, range};
use super::verdict::of_record;
use crate::bench::{Layer, Record, Scenario};

/// A table for each kind of measurement and each layer that there is, of the scenarios at its centre.
pub(super) fn overview(out: &mut Markup, findings: &Findings<'_>) {
    for (kind, mut records) in groups(findings) {
        let centre = findings.centre(records[0].scenario.layer);
        records.retain(|record| factors(&record.scenario, &centre).is_empty());
        if !records.is_empty() {
            scenarios(out, kind, &centre, &records);
        }
    }
}

/// A table for each kind of measurement and each layer that there is, of all scenarios.
pub(super) fn by_factor(out: &mut Markup, findings: &Findings<'_>) {
    for (kind, records) in groups(findings) {
        let centre = findings.centre(records[0].scenario.layer);
        scenarios(out, kind, &centre, &records);
    }
}

fn scenarios(out: &mut Markup, kind: Kind, centre: &Scenario, records: &[&Record]) {
    let varied = records
        .iter()
        .any(|record| !factors(&record.scenario, centre).is_empty());
    let columns: Vec<_> = columns(kind)
        .iter()
        .filter(|column| records.iter().any(|it| (column.value)(it).is_some()))
        .collect();
    let caption = format!(
        "{} ({}: {})",
        heading(kind),
        centre.layer,
        circumstances(centre)
    );
    table(out, &caption, |out| {
        let titles: &[_] = if varied {
            &["mode", "factors"]
        } else {
            &["mode"]
        };
        let titles = titles.iter().copied();
        head(out, titles.chain(columns.iter().map(|column| column.title)));
        out.element("tbody", &[], |out| {
            for record in records {
                let words = factors(&record.scenario, centre).join(", ");
                row(out, record, varied.then_some(words), &columns);
            }
        });
    });
}

/// Everything that was measured, folded away under the factors of each scenario.
pub(super) fn details(out: &mut Markup, findings: &Findings<'_>) {
    for (kind, records) in groups(findings) {
        let centre = findings.centre(records[0].scenario.layer);
        let same = |a: &&Record, b: &&Record| {
            factors(&a.scenario, &centre) == factors(&b.scenario, &centre)
        };
        for records in records.chunk_by(same) {
            let words = factors(&records[0].scenario, &centre);
            let words = if words.is_empty() {
                circumstances(&centre)
            } else {
                words.join(", ")
            };
            let name = format!("{}, {}: {words}", short(kind), centre.layer);
            out.element("details", &[], |out| {
                out.leaf("summary", &[], &name);
                table(out, &name, |out| {
                    head(out, QUANTILES.into_iter());
                    for record in records {
                        figures(out, record);
                    }
                });
                doubted(out, records);
            });
        }
    }
}

/// A table that can be scrolled by itself, also with a keyboard.
pub(super) fn table(out: &mut Markup, caption: &str, content: impl FnOnce(&mut Markup)) {
    let place: Attributes<'_> = &[
        ("class", &"scroll"),
        ("tabindex", &0),
        ("role", &"region"),
        ("aria-label", &caption),
    ];
    out.element("div", place, |out| {
        out.element("table", &[], |out| {
            out.leaf("caption", &[], caption);
            content(out);
        });
    });
}

pub(super) fn head(out: &mut Markup, titles: impl Iterator<Item = &'static str>) {
    out.element("thead", &[], |out| {
        out.element("tr", &[], |out| {
            for title in titles {
                out.leaf("th", &[("scope", &"col")], title);
            }
        });
    });
}

fn groups<'a>(findings: &Findings<'a>) -> Vec<(Kind, Vec<&'a Record>)> {
    let mut groups = Vec::new();
    for kind in KINDS {
        let ordered = findings.ordered(kind);
        for layer in Layer::ALL {
            let records = ordered.iter().copied();
            let records: Vec<_> = records
                .filter(|record| record.scenario.layer == *layer)
                .collect();
            if !records.is_empty() {
                groups.push((kind, records));
            }
        }
    }
    groups
}

fn row(out: &mut Markup, record: &Record, factors: Option<String>, columns: &[&Column]) {
    out.element("tr", &[], |out| {
        out.leaf("th", &[("scope", &"row")], record.scenario.mode);
        if let Some(factors) = factors {
            out.leaf("td", &[("class", &"words")], factors);
        }
        for column in columns {
            let value = (column.value)(record).unwrap_or_else(|| "–".to_owned());
            out.leaf("td", &[], value);
        }
    });
}

fn figures(out: &mut Markup, record: &Record) {
    out.element("tbody", &[], |out| {
        let mut first = true;
        let mut line = |out: &mut Markup, name: &str, values: [String; 6]| {
            out.element("tr", &[], |out| {
                let mode = if std::mem::take(&mut first) {
                    record.scenario.mode.to_string()
                } else {
                    String::new()
                };
                out.leaf("th", &[("scope", &"row")], mode);
                out.leaf("td", &[("class", &"words")], name);
                for value in values {
                    out.leaf("td", &[], value);
                }
            });
        };
        for (name, value) in &record.derived {
            let mut values = [const { String::new() }; 6];
            values[2] = number(*value);
            line(out, name, values);
        }
        for (metric, figure) in &record.metrics {
            let values = [
                figure.n.to_string(),
                number(figure.p10),
                number(figure.median),
                number(figure.p90),
                number(figure.p99),
                range(figure.median_interval),
            ];
            line(out, metric.name(), values);
        }
        for comparison in &record.comparisons {
            let interval = comparison.interval;
            let mut values = [const { String::new() }; 6];
            values[2] = format!("×{:.3}", comparison.ratio);
            values[5] = format!("×{:.3} to ×{:.3}", interval.low, interval.high);
            let name = format!("{} over {}", comparison.metric, comparison.to);
            line(out, &name, values);
        }
    });
}

fn doubted(out: &mut Markup, records: &[&Record]) {
    let doubts = records.iter().flat_map(|record| {
        let mode = record.scenario.mode;
        let doubts = of_record(record).into_iter();
        doubts.map(move |doubt| format!("{mode}: {doubt}"))
    });
    let doubts: Vec<_> = doubts.collect();
    if !doubts.is_empty() {
        out.element("ul", &[("class", &"doubted")], |out| {
            for doubt in doubts {
                out.leaf("li", &[], doubt);
            }
        });
    }
}

fn short(kind: Kind) -> &'static str {
    match kind {
        Kind::Handshake => "Handshakes",
        Kind::Move => "Moves",
        Kind::Load => "Load",
        Kind::Floor => "Floor",
    }
}

const QUANTILES: [&str; 8] = [
    "mode",
    "figure",
    "n",
    "p10",
    "median",
    "p90",
    "p99",
    "95 % interval of the median",
];

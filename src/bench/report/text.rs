use std::fmt::Write as _;

use super::figures::{KINDS, columns, heading};
use super::findings::{Findings, Kind, circumstances, factors};
use super::{doubts, noise, verdict};
use crate::bench::results::Results;
use crate::bench::{Layer, Record};

/// Tables for a terminal, with what casts doubt on them and the verdict below.
///
/// A row stands for a mode under the factors before it; a factor without a word has the value that stands
/// above the table. Times are medians, processor time is the p10, `95 %` the interval of the median; `c/n`
/// is the client and the node.
pub fn text(results: &[Results]) -> String {
    let findings = Findings::of(results);
    let mut out = String::new();
    for kind in KINDS {
        for layer in Layer::ALL {
            let records = findings.ordered(kind);
            let of_layer = |record: &&&Record| record.scenario.layer == *layer;
            let records: Vec<_> = records.iter().filter(of_layer).copied().collect();
            if !records.is_empty() {
                table(&mut out, &findings, kind, &records);
            }
        }
    }
    let mut line = |text: &str| writeln!(out, "{text}").expect("a string takes everything");
    line(&noise(results));
    for doubt in doubts(results) {
        line(&format!("doubt: {doubt}"));
    }
    for sentence in verdict(results) {
        line(&sentence);
    }
    out
}

fn table(out: &mut String, findings: &Findings<'_>, kind: Kind, records: &[&Record]) {
    let centre = findings.centre(records[0].scenario.layer);
    let columns = columns(kind).iter();
    let columns: Vec<_> = columns
        .filter(|column| records.iter().any(|it| (column.value)(it).is_some()))
        .collect();
    let titles = ["factors", "mode"].into_iter();
    let titles = titles.chain(columns.iter().map(|column| column.title));
    let mut rows = vec![titles.map(str::to_owned).collect::<Vec<_>>()];
    let mut last = None;
    for record in records {
        let factors = factors(&record.scenario, &centre).join(", ");
        let is_same = last.as_ref() == Some(&factors);
        let mode = record.scenario.mode.to_string();
        let mut row = vec![
            if is_same {
                String::new()
            } else {
                factors.clone()
            },
            mode,
        ];
        let value = |column: &&super::figures::Column| {
            (column.value)(record).unwrap_or_else(|| "-".to_owned())
        };
        row.extend(columns.iter().map(value));
        rows.push(row);
        last = Some(factors);
    }
    let (heading, layer) = (heading(kind), centre.layer);
    let about = circumstances(&centre);
    writeln!(out, "{heading} ({layer}: {about})").expect("a string takes everything");
    grid(out, &rows);
    out.push('\n');
}

/// Aligns words to the left and numbers to the right.
pub(super) fn grid(out: &mut String, rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..rows[0].len()).map(width).collect();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            if column < WORDS {
                write!(line, "{cell:width$}  ").expect("a string takes everything");
            } else {
                write!(line, "{cell:>width$}  ").expect("a string takes everything");
            }
        }
        writeln!(out, "{}", line.trim_end()).expect("a string takes everything");
    }
}

/// The first columns hold words.
const WORDS: usize = 2;

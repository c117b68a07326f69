use std::fmt::Write as _;

use super::LoadReport;
use crate::bench::statistics::Measured;
use crate::bench::{Metric, Record};

impl LoadReport {
    /// Says what the run measured and what it refuses to say, for a terminal. The records are those of
    /// [`LoadReport::measured`].
    pub fn table(&self, records: &[Record]) -> String {
        let mut table = String::new();
        rates(&mut table, records);
        memory(&mut table, &self.measured);
        for refused in &self.refused {
            line(
                &mut table,
                &format!(
                    "no figures for {} at {} a second: {}",
                    refused.mode, refused.step, refused.reason
                ),
            );
        }
        for record in records {
            for (failure, times) in &record.failures {
                let mode = record.scenario.mode;
                line(&mut table, &format!("{mode}: {times} failed: {failure}"));
            }
        }
        table
    }
}

fn rates(table: &mut String, records: &[Record]) {
    let rows: Vec<_> = records
        .iter()
        .filter(|record| record.scenario.offered_per_second.is_some())
        .collect();
    if rows.is_empty() {
        return;
    }
    line(
        table,
        "mode          begun/s  done/s  node us  per core/s   latency ms: median     p90     p99",
    );
    for record in rows {
        let median = |metric: Metric| figure(record, metric, |summary| summary.median);
        let latency = |of: fn(&crate::bench::Summary) -> f64| figure(record, Metric::Latency, of);
        line(
            table,
            &format!(
                "{:<13} {:>7} {:>7} {:>8} {:>11} {:>20} {:>7} {:>7}",
                record.scenario.mode,
                record.scenario.offered_per_second.unwrap_or_default(),
                median(Metric::HandshakeRate),
                median(Metric::NodeCpu),
                median(Metric::HandshakeRatePerCore),
                latency(|summary| summary.median),
                latency(|summary| summary.p90),
                latency(|summary| summary.p99),
            ),
        );
    }
}

fn memory(table: &mut String, measured: &[Measured]) {
    let of = |measured: &Measured| -> Vec<f64> {
        let taken = measured.taken.iter();
        taken
            .filter_map(|taken| taken.sample.metrics.get(&Metric::ConnectionMemory).copied())
            .collect()
    };
    for measured in measured {
        let slopes = of(measured);
        if !slopes.is_empty() {
            let slopes: Vec<_> = slopes.iter().map(|slope| format!("{slope:.1}")).collect();
            line(
                table,
                &format!(
                    "{}: {} KiB of the node for each more idle connection, between the steps",
                    measured.scenario.mode,
                    slopes.join(" and ")
                ),
            );
        }
    }
}

fn figure(record: &Record, metric: Metric, of: fn(&crate::bench::Summary) -> f64) -> String {
    let summary = record.metrics.get(&metric);
    summary.map_or_else(|| "-".into(), |summary| format!("{:.1}", of(summary)))
}

fn line(table: &mut String, text: &str) {
    writeln!(table, "{text}").expect("a string takes everything");
}

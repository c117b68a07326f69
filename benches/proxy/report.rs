//! What was measured, as tables and with its doubts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::gateway::Found;
use super::row::{Row, Work};

/// The samples of every row and gateway: processor time of one operation.
#[derive(Debug, Default)]
pub(crate) struct Samples(BTreeMap<(String, String), Vec<Duration>>);

#[derive(Clone, Copy, Debug)]
struct Figures {
    p10: Duration,
    median: Duration,
    count: usize,
}

impl Samples {
    pub(crate) fn add(&mut self, row: Row, gateway: &str, sample: Duration) {
        let samples = self.0.entry((row.name(), gateway.to_owned())).or_default();
        samples.push(sample);
    }

    fn figures(&self, row: Row, gateway: &str) -> Option<Figures> {
        let mut samples = self.0.get(&(row.name(), gateway.to_owned()))?.clone();
        samples.sort_unstable();
        Some(Figures {
            p10: *samples.get(samples.len() / 10)?,
            median: *samples.get(samples.len() / 2)?,
            count: samples.len(),
        })
    }

    /// A table for each row, with ratios to the first gateway.
    pub(crate) fn tables(&self, rows: &[Row], gateways: &[Found]) -> String {
        let mut text = String::new();
        for row in rows {
            let unit = match row.work {
                Work::Download => "ms",
                Work::Connection | Work::OneAtATime | Work::ManyAtOnce => "us",
            };
            line(
                &mut text,
                &format!("\n{}, {unit} of processor time", row.name()),
            );
            let first = gateways
                .first()
                .and_then(|gateway| self.figures(*row, &gateway.name));
            let head = format!(
                "  {:<10} {:>9} {:>9}   {:>6} {:>6}   {:>7}",
                "", "p10", "median", "x p10", "x med", "samples"
            );
            line(&mut text, &head);
            for gateway in gateways {
                let Some(figures) = self.figures(*row, &gateway.name) else {
                    line(&mut text, &format!("  {:<10} {:>9}", gateway.name, "-"));
                    continue;
                };
                let beside = first.unwrap_or(figures);
                let entry = format!(
                    "  {:<10} {:>9.1} {:>9.1}   {:>6.2} {:>6.2}   {:>7}{}",
                    gateway.name,
                    in_unit(figures.p10, row.work),
                    in_unit(figures.median, row.work),
                    ratio(figures.p10, beside.p10),
                    ratio(figures.median, beside.median),
                    figures.count,
                    doubt(figures),
                );
                line(&mut text, &entry);
            }
        }
        text
    }

    /// In which rows the first gateway is not the cheapest, by p10. Its other builds are no gateways.
    pub(crate) fn verdict(&self, rows: &[Row], gateways: &[Found]) -> String {
        let Some((first, others)) = gateways.split_first() else {
            return String::new();
        };
        let mut text = String::from("\n");
        for row in rows {
            let rivals = others.iter().filter(|gateway| !gateway.is_like(first));
            let best = rivals.filter_map(|gateway| {
                let figures = self.figures(*row, &gateway.name)?;
                Some((figures.p10, &gateway.name))
            });
            let (Some(own), Some((best, name))) = (self.figures(*row, &first.name), best.min())
            else {
                continue;
            };
            let word = if own.p10 <= best {
                "cheapest"
            } else {
                "dearer"
            };
            let ratio = ratio(own.p10, best);
            let entry = format!(
                "{:<28} {} is {word}: {ratio:.2} of the best other, {name}",
                row.name(),
                first.name
            );
            line(&mut text, &entry);
        }
        text
    }
}

/// Says when samples lie so far apart that something else was measured too.
fn doubt(figures: Figures) -> String {
    let spread = ratio(figures.median, figures.p10);
    if figures.count < FEW {
        format!("  few samples, median/p10 {spread:.2}")
    } else if spread > WIDE {
        format!("  noisy: median/p10 {spread:.2}")
    } else {
        String::new()
    }
}

fn in_unit(time: Duration, work: Work) -> f64 {
    match work {
        Work::Download => time.as_secs_f64() * 1e3,
        Work::Connection | Work::OneAtATime | Work::ManyAtOnce => time.as_secs_f64() * 1e6,
    }
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64().max(f64::MIN_POSITIVE)
}

fn line(text: &mut String, entry: &str) {
    writeln!(text, "{entry}").expect("a string takes everything");
}

/// A tenth of fewer samples is the smallest, which is luck.
const FEW: usize = 20;
const WIDE: f64 = 1.25;

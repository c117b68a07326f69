use std::fmt::{Display, Write as _};

use crate::bench::{Losses, Record, Scenario};

/// The figures of records as comma-separated values, with a row for each figure of each scenario.
///
/// A row without `versus` is a figure, or a value derived from traces, which is a median and nothing else.
/// A row with `versus` is the ratio to that mode, as median, with its interval. No value has a comma in it.
pub fn csv(records: &[Record]) -> String {
    let mut out = format!("{COLUMNS}\n");
    for record in records {
        let scenario = factors(record);
        for (metric, summary) in &record.metrics {
            let interval = summary.median_interval;
            let quantiles = [summary.p10, summary.median, summary.p90, summary.p99];
            let [p10, median, p90, p99] = quantiles.map(|value| value.to_string());
            let n = summary.n;
            let (low, high) = (interval.low, interval.high);
            let row = format_args!("{metric},,{n},{p10},{median},{p90},{p99},{low},{high}");
            line(&mut out, &scenario, &row);
        }
        for (name, median) in &record.derived {
            line(&mut out, &scenario, &format_args!("{name},,,,{median},,,,"));
        }
        for comparison in &record.comparisons {
            let (metric, to) = (comparison.metric, comparison.to);
            let (ratio, interval) = (comparison.ratio, comparison.interval);
            let (low, high) = (interval.low, interval.high);
            let row = format_args!("{metric},{to},,,{ratio},,,{low},{high}");
            line(&mut out, &scenario, &row);
        }
    }
    out
}

fn line(out: &mut String, scenario: &str, row: &dyn Display) {
    writeln!(out, "{scenario},{row}").expect("a string takes everything");
}

fn factors(record: &Record) -> String {
    let Scenario {
        layer,
        mode,
        rtt_ms,
        losses,
        rate_mbit,
        mtu,
        certificate,
        key_exchange,
        mtu_discovery,
        initial_mtu,
        initial_rtt_ms,
        offered_per_second,
    } = &record.scenario;
    let losses = match losses {
        Losses::None => "none".to_owned(),
        Losses::Random(thousandths) => format!("random:{thousandths}"),
        Losses::Bursts(thousandths) => format!("bursts:{thousandths}"),
        Losses::Client(number) => format!("client:{number}"),
        Losses::Node(number) => format!("node:{number}"),
    };
    let rate = rate_mbit.map_or_else(String::new, |rate| rate.to_string());
    let offered = offered_per_second.map_or_else(String::new, |offered| offered.to_string());
    let Record {
        samples,
        late,
        partial,
        ..
    } = record;
    format!(
        "{layer},{mode},{rtt_ms},{losses},{rate},{mtu},{certificate},{key_exchange},{mtu_discovery},\
         {initial_mtu},{initial_rtt_ms},{offered},{samples},{late},{partial}"
    )
}

const COLUMNS: &str = "layer,mode,rtt_ms,losses,rate_mbit,mtu,certificate,key_exchange,mtu_discovery,\
    initial_mtu,initial_rtt_ms,offered_per_second,samples,late,partial,\
    figure,versus,n,p10,median,p90,p99,low,high";

use std::fmt::Write as _;

use super::findings::{Findings, factors};
use super::scale::number;
use super::text::grid;
use crate::bench::results::{Compared, Difference, Judgement, Results};
use crate::bench::{Metric, Scenario};

/// Which figures of a comparison are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Those by which transports are judged, and whatever became better or worse.
    Headlines,
    /// All.
    All,
}

/// A table of how two runs differ, and what that comes to in words.
pub fn comparison(compared: &Compared, before: &[Results], shown: Shown) -> String {
    let findings = Findings::of(before);
    let name = |scenario: &Scenario| {
        let mut words = vec![format!("{} {}", scenario.layer, scenario.mode)];
        words.extend(factors(scenario, &findings.centre(scenario.layer)));
        words.join(", ")
    };
    let mut rows = vec![TITLES.map(str::to_owned).to_vec()];
    let differences = compared.differences.iter();
    for difference in differences.filter(|it| shown == Shown::All || is_headline(it)) {
        rows.push(row(name(&difference.scenario), difference));
    }
    let mut out = String::new();
    if rows.len() > 1 {
        grid(&mut out, &rows);
    }
    let mut line = |text: String| writeln!(out, "{text}").expect("a string takes everything");
    let left_out = compared.differences.len() - (rows.len() - 1);
    if left_out > 0 {
        line(format!(
            "{left_out} more figures are alike (--all shows them)"
        ));
    }
    for scenario in &compared.only_before {
        line(format!("only in the first: {}", name(scenario)));
    }
    for scenario in &compared.only_after {
        line(format!("only in the second: {}", name(scenario)));
    }
    for remark in &compared.remarks {
        line(format!("note: {remark}"));
    }
    let count = |judgement| {
        let judged = compared.differences.iter();
        judged.filter(|it| it.judgement == judgement).count()
    };
    let (worse, better) = (count(Judgement::Worse), count(Judgement::Better));
    let alike = count(Judgement::Alike);
    line(format!("{worse} worse, {better} better, {alike} alike"));
    out
}

fn row(name: String, difference: &Difference) -> Vec<String> {
    let figure = if difference.share < 0.5 {
        format!("{} p10", difference.figure)
    } else {
        difference.figure.clone()
    };
    let interval = difference.interval;
    let judgement = match difference.judgement {
        Judgement::Alike => "",
        Judgement::Better => "better",
        Judgement::Worse => "WORSE",
    };
    vec![
        name,
        figure,
        number(difference.before),
        number(difference.after),
        format!("{:.3}", difference.ratio),
        format!("{:.3}..{:.3}", interval.low, interval.high),
        judgement.to_owned(),
    ]
}

fn is_headline(difference: &Difference) -> bool {
    let mut headlines = HEADLINES.iter();
    difference.judgement != Judgement::Alike
        || headlines.any(|metric| metric.name() == difference.figure)
}

const TITLES: [&str; 7] = [
    "scenario",
    "figure",
    "first",
    "second",
    "ratio",
    "95 %",
    "judgement",
];
const HEADLINES: [Metric; 7] = [
    Metric::FirstByte,
    Metric::Recovery,
    Metric::ClientCpu,
    Metric::NodeCpu,
    Metric::Latency,
    Metric::HandshakeRatePerCore,
    Metric::ConnectionMemory,
];

//! Where and with what results were measured, as a table.

use super::markup::Markup;
use super::scale::number;
use super::tables::table;
use crate::bench::results::{Lateness, Results, Run};

/// A table for each run of which the circumstances are known.
pub(super) fn facts(out: &mut Markup, results: &[Results]) {
    for results in results {
        let place = results.path.display().to_string();
        match &results.run {
            None => out.element("p", &[], |out| {
                out.text(format_args!("Nothing is known of the machine of {place}."));
            }),
            Some(run) => table(out, &place, |out| {
                out.element("tbody", &[], |out| {
                    for (name, value) in rows(run) {
                        out.element("tr", &[], |out| {
                            out.leaf("th", &[("scope", &"row")], name);
                            out.leaf("td", &[("class", &"words")], value);
                        });
                    }
                });
            }),
        }
    }
}

fn rows(run: &Run) -> Vec<(String, String)> {
    let (software, machine, setting) = (&run.software, &run.machine, &run.setting);
    let mut rows = Vec::new();
    let mut row = |name: &str, value: String| {
        if !value.is_empty() {
            rows.push((name.to_owned(), value));
        }
    };
    row("command", run.command.join(" "));
    row("begun", run.started.clone());
    row("took", format!("{} s", number(run.seconds)));
    row("seed", run.seed.to_string());
    row(
        "wayhold",
        format!("{}, {} build", software.wayhold, software.build),
    );
    row("commit", software.revision.clone().unwrap_or_default());
    row("compiler", software.rustc.clone());
    row("crates", pairs(&software.crates));
    let processors = machine.processors;
    row("processor", format!("{} × {processors}", machine.processor));
    row("kernel", machine.kernel.clone());
    row(
        "load average before",
        machine.load_before.map_or_else(String::new, number),
    );
    row(
        "load average after",
        machine.load_after.map_or_else(String::new, number),
    );
    row("network", setting.network.clone());
    row("target", setting.target.clone().unwrap_or_default());
    row("cryptography of both sides", setting.provider.clone());
    row("congestion control", pairs(&setting.congestion));
    row("initial window", pairs(&setting.initial_window));
    row("offload", pairs(&setting.offload));
    row(
        "lateness of the link emulator",
        run.emulator.map_or_else(String::new, lateness),
    );
    for (name, value) in &machine.network {
        row(&format!("net/{name}"), value.clone());
    }
    rows
}

fn pairs(pairs: &std::collections::BTreeMap<String, String>) -> String {
    let words = pairs.iter().map(|(name, value)| format!("{name} {value}"));
    words.collect::<Vec<_>>().join(", ")
}

fn lateness(late: Lateness) -> String {
    format!(
        "median {} µs, p99 {} µs, at most {} µs; {} of {} packets later than {} µs; {} dropped by the \
         kernel, {} beyond the queue, {} refused",
        number(late.median_us),
        number(late.p99_us),
        number(late.worst_us),
        late.late,
        late.packets,
        number(late.limit_us),
        late.dropped,
        late.overflowed,
        late.refused
    )
}

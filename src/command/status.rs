//! `wayhold status`.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde_json::Value;
use wayhold::config;

use super::{ConfigArgs, Exit, operator};

/// Arguments of `wayhold status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 the gateway answered, 1 it did not, 2 wrong usage")]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[expect(clippy::print_stdout, reason = "this is the command's output")]
pub(crate) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    let config = match config::load(&args.config.sources()) {
        Ok(config) => config,
        Err(errors) => {
            super::refuse(&errors);
            return Ok(Exit::Failure.into());
        }
    };
    let answer = operator::ask(&config.admin.listen, "GET", "/status")?;
    if answer.status != 200 {
        bail!("{}", answer.body.trim_end());
    }
    if args.json {
        print!("{}", answer.body);
    } else {
        let status = serde_json::from_str(&answer.body).context("what answers is no gateway")?;
        print!("{}", table(&status));
    }
    Ok(Exit::Clean.into())
}

/// One line for each member; those of an object beside each other, a list of objects as rows under
/// their names. An object that holds such a list has its members among the others.
fn table(status: &Value) -> String {
    let mut out = String::new();
    let mut members = Vec::new();
    collect(status, &mut members);
    let width = members.iter().map(|(name, _)| name.len()).max();
    let width = width.unwrap_or(0);
    let place = |name: &str| ORDER.iter().position(|known| *known == name);
    members.sort_by_key(|(name, _)| place(name).unwrap_or(ORDER.len()));
    for (name, value) in members {
        let rows = match value {
            Value::Array(items) if is_list(value) => grid(items),
            value => vec![line(value)],
        };
        for (index, row) in rows.iter().enumerate() {
            let name = if index == 0 {
                name.replace('_', " ")
            } else {
                String::new()
            };
            writeln!(out, "{name:width$}  {row}").expect("a string takes everything");
        }
    }
    out
}

fn collect<'v>(value: &'v Value, members: &mut Vec<(&'v str, &'v Value)>) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let nested = value.as_object();
        if nested.is_some_and(|nested| nested.values().any(is_list)) {
            collect(value, members);
        } else {
            members.push((name, value));
        }
    }
}

fn is_list(value: &Value) -> bool {
    value
        .as_array()
        .is_some_and(|items| items.iter().any(Value::is_object))
}

/// Objects with the same members: the names, and a row for each object.
fn grid(items: &[Value]) -> Vec<String> {
    let place = |name: &str| COLUMNS.iter().position(|known| *known == name);
    let members = items.first().and_then(Value::as_object);
    let names = members.into_iter().flat_map(|members| members.keys());
    let mut names: Vec<_> = names.filter(|name| *name != NOT_SHOWN).collect();
    names.sort_by_key(|name| place(name).unwrap_or(COLUMNS.len()));
    let title = names.iter().map(|name| name.replace('_', " ")).collect();
    let row = |item: &Value| names.iter().map(|name| line(&item[name])).collect();
    let rows: Vec<Vec<String>> = std::iter::once(title)
        .chain(items.iter().map(row))
        .collect();
    let widths: Vec<_> = (0..names.len())
        .map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0))
        .collect();
    let aligned = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let cells: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(aligned).collect()
}

fn line(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Object(members) if members.is_empty() => "none".to_owned(),
        Value::Object(members) => {
            let members = members
                .iter()
                .map(|(name, value)| format!("{} {}", name.replace('_', " "), line(value)));
            members.collect::<Vec<_>>().join(", ")
        }
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::Array(items) => items.iter().map(line).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// What is printed first; anything else follows by name.
const ORDER: [&str; 9] = [
    "phase",
    "version",
    "node",
    "instance",
    "generation",
    "siblings",
    "uptime_seconds",
    "workers",
    "listen",
];

/// The columns of backends and peers, those first that tell whether all is well; anything else follows by name.
const COLUMNS: [&str; 19] = [
    "pool",
    "backend",
    "name",
    "node",
    "state",
    "dns",
    "probe",
    "probed_ms_ago",
    "findings",
    "heard_ms_ago",
    "heard_by",
    "unheard_by",
    "draining",
    "welcomes",
    "epochs",
    "minting_epoch",
    "tunnel_version",
    "instance",
    "relay",
];
/// It serves to tell processes apart, which `instance` does in less room.
const NOT_SHOWN: &str = "boot";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_member_has_its_line_and_every_peer_too() {
        let status = json!({
            "phase": "ready",
            "uptime_seconds": 7,
            "connections": { "quic": 3, "tcp": 1 },
            "dropped": {},
            "fleet": {
                "peers": [
                    { "boot": "00", "findings": [], "heard_by": [2, 3], "node": 1, "state": "live" },
                    { "boot": "11", "findings": ["other_key"], "heard_by": [], "node": 20, "state": "dead" },
                ],
            },
        });
        let expected = "\
phase           ready
uptime seconds  7
connections     quic 3, tcp 1
dropped         none
peers           node  state  findings   heard by
                1     live   none       2 3
                20    dead   other_key  none
";
        assert_eq!(table(&status), expected);
    }
}

//! `wayhold where`.

use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use serde_json::{Map, Value, json};
use wayhold::cid::Cid;
use wayhold::config::{self, Config};
use wayhold::fleet::split_server_id;

use super::forms::Forms;
use super::{ConfigArgs, Exit, operator};

/// Arguments of `wayhold where`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 the connection ID was read, 1 it was not, 2 wrong usage")]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// The connection ID in hexadecimal, as a packet capture shows it
    #[arg(value_name = "CID")]
    cid: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Asks the running gateway, or reads the connection ID alone where none runs.
#[expect(clippy::print_stdout, reason = "this is the command's output")]
pub(crate) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    let cid = args.cid.parse::<Cid>().context("the connection ID")?;
    let config = match config::load(&args.config.sources()) {
        Ok(config) => config,
        Err(errors) => {
            super::refuse(&errors);
            return Ok(Exit::Failure.into());
        }
    };
    let target = format!("/where?cid={cid}");
    let location = match operator::ask(&config.admin.listen, "GET", &target) {
        Ok(answer) if answer.status == 200 => {
            serde_json::from_str(&answer.body).context("what answers is no gateway")?
        }
        Ok(answer) => bail!("{}", answer.body.trim_end()),
        Err(error) if operator::is_absent(&error) => alone(&config, &cid)?,
        Err(error) => return Err(error),
    };
    if args.json {
        println!("{}", Value::Object(location));
    } else {
        for name in ORDER {
            match location.get(name) {
                None | Some(Value::Null) => {}
                Some(Value::String(text)) => println!("{:9}  {text}", name.replace('_', " ")),
                Some(value) => println!("{:9}  {value}", name.replace('_', " ")),
            }
        }
    }
    Ok(Exit::Clean.into())
}

/// What the configuration and the key file tell without a running gateway.
fn alone(config: &Config, cid: &Cid) -> anyhow::Result<Map<String, Value>> {
    let (decoded, epoch) = Forms::of(config)?.decode(cid)?;
    let owner = split_server_id(&decoded.server_id);
    let (node, instance) = owner.unzip();
    let member = |fleet: &config::Fleet| fleet.member.iter().any(|member| Some(member.id) == node);
    let why = match &config.fleet {
        _ if node == Some(config.node.id) => "a process of this node issued it",
        Some(fleet) if member(fleet) => "a node of this fleet issued it",
        _ => "it names no node of this fleet",
    };
    let location = json!({
        "cid": cid.to_string(),
        "config_id": decoded.config_id.get(),
        "epoch": epoch.map(|epoch| epoch.0),
        "server_id": decoded.server_id.to_string(),
        "node": node.map(wayhold::fleet::NodeId::get),
        "instance": instance.map(|instance| instance.0),
        "verdict": "unknown",
        "why": format!("{why}; no gateway runs here, so nobody knows who lives"),
    });
    match location {
        Value::Object(members) => Ok(members),
        other => Err(anyhow!("{other} is no object")),
    }
}

/// The members in the order in which they are printed.
const ORDER: [&str; 11] = [
    "cid",
    "config_id",
    "epoch",
    "server_id",
    "node",
    "instance",
    "listener",
    "worker",
    "verdict",
    "reason",
    "why",
];

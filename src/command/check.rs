//! `wayhold check`.

use std::io::{self, Write};
use std::process::ExitCode;

use wayhold::config::{self, AdminAddress, Config, Listen, Route};

use super::{ConfigArgs, Exit};

/// Arguments of `wayhold check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 the configuration is right, 1 it is not, 2 wrong usage")]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

pub(crate) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    let config = match config::load(&args.config.sources()) {
        Ok(config) => config,
        Err(errors) => {
            super::refuse(&errors);
            return Ok(Exit::Failure.into());
        }
    };
    let warnings = wayhold::check(&config)?;
    let mut out = io::stdout().lock();
    summarise(&config, &mut out)?;
    for warning in warnings {
        writeln!(out, "warning {warning}")?;
    }
    Ok(Exit::Clean.into())
}

fn summarise(config: &Config, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "ok")?;
    for listen in &config.listen {
        writeln!(out, "listen  {}", describe_listen(listen))?;
    }
    for route in &config.route {
        writeln!(out, "route   {}", describe_route(route))?;
    }
    if config.route.is_empty() {
        writeln!(out, "route   every request to the built-in demo origin")?;
    }
    match &config.fleet {
        Some(fleet) => writeln!(out, "node    {} of {}", config.node.id, fleet.member.len())?,
        None => writeln!(out, "node    {}, alone", config.node.id)?,
    }
    writeln!(out, "admin   {}", describe_admin(&config.admin.listen))
}

fn describe_listen(listen: &Listen) -> String {
    let protocols = if listen.tcp {
        "HTTP/3, HTTP/2, HTTP/1.1"
    } else {
        "HTTP/3"
    };
    let certificate = listen.cert.as_ref().map_or_else(
        || "a development certificate".to_owned(),
        |cert| cert.display().to_string(),
    );
    format!("{} {protocols} with {certificate}", listen.addr)
}

fn describe_route(route: &Route) -> String {
    let host = route.host.as_deref().unwrap_or("every host");
    if route.connect_udp.is_some() {
        return format!("{host} {} takes tunnels of UDP", route.path);
    }
    if let Some(pool) = &route.pool {
        return format!("{host} {} to pool {pool}", route.path);
    }
    let backends = route.to.len();
    let noun = if backends == 1 { "backend" } else { "backends" };
    format!("{host} {} to {backends} {noun}", route.path)
}

fn describe_admin(address: &AdminAddress) -> String {
    match address {
        AdminAddress::Off => "off".to_owned(),
        AdminAddress::Unix(path) => format!("unix:{}", path.display()),
        AdminAddress::Tcp(address) => address.to_string(),
    }
}
